//! A policy file with additions. What stands in it stays byte for byte: text is put between its lines, and into a line only
//! where a list in brackets ends on it. What comes out is read again before anyone gets it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sandgate_policy::yaml::{self, Node, Value};
use sandgate_policy::{Policy, PolicyErrors};
use thiserror::Error;

use super::addition::Additions;
use super::comments::{Forms, comments};
use super::fragment::{self, Form};
use super::source::Source;

/// What a new file begins with.
const HEAD: &str = "\
# Learnt by sandgate-sidecar. Look at it before you use it: what a program asked for need not be what it should get.
# The number behind a line says how often it was used while it was learnt.
version: 1
destinations:";

/// What stands before the dashes of a new list.
pub(super) const INDENT: &str = "  ";

/// Why there is no text.
#[derive(Debug, Error)]
pub(super) enum DocumentError {
    /// The policy that is there is none.
    #[error("is not a valid policy:\n{0}")]
    Invalid(PolicyErrors),
    /// The policy would be larger than what is read, or is written in a way that cannot be extended.
    #[error("cannot be extended: {0}")]
    Unextendable(String),
}

/// A policy of what was learnt alone.
///
/// # Errors
/// [`DocumentError::Unextendable`], where it would be too large.
pub(super) fn new(additions: &Additions) -> Result<String, DocumentError> {
    let mut lines: Vec<String> = HEAD.lines().map(str::to_owned).collect();
    if additions.destinations.is_empty() {
        lines.pop();
        lines.push("destinations: []".to_owned());
    }
    for new in &additions.destinations {
        fragment::destination(new, INDENT, &mut lines);
    }
    let forms = Forms { destinations: Form::Lines(INDENT.to_owned()), entries: BTreeMap::new() };
    lines.extend(comments(additions, "", &forms));
    let text = lines.join("\n") + "\n";
    verified(text, None, additions)
}

/// The policy of `text` with the additions, which were made for it.
///
/// # Errors
/// [`DocumentError`].
pub(super) fn extended(text: &str, additions: &Additions) -> Result<String, DocumentError> {
    let base = Policy::parse(text.as_bytes()).map_err(DocumentError::Invalid)?;
    let source = Source::new(text);
    let list = yaml::parse(text.as_bytes()).root.and_then(|root| take(root, "destinations"));
    let list = list.ok_or_else(|| unextendable("the list of destinations is not found"))?;
    // In the order of the text; what ends at one place goes there from the inside out.
    let mut edits = Vec::new();
    for entries in additions.entries.chunk_by(|one, other| one.index == other.index) {
        let Value::Sequence(items) = &list.value else { continue };
        let allow = items.get(entries[0].index).and_then(|item| field(item, "allow"));
        let allow = allow.ok_or_else(|| unextendable("an allow list is not found"))?;
        edits.push(source.entries(allow, entries));
    }
    edits.extend(source.destinations(&list, additions));
    edits.extend(source.comments(comments(additions, text, &forms(&source, &list, &base))));
    verified(source.with(edits), Some(&base), additions)
}

/// How the lists of the file are written.
fn forms(source: &Source<'_>, list: &Node, base: &Policy) -> Forms {
    let items: &[Node] = if let Value::Sequence(items) = &list.value { items } else { &[] };
    let rules = items.iter().zip(base.rules());
    let entries = rules.filter_map(|(item, rule)| Some((Arc::clone(&rule.id), source.form(field(item, "allow")?))));
    // An empty list in brackets loses them.
    let destinations = if items.is_empty() { Form::Lines(INDENT.to_owned()) } else { source.form(list) };
    Forms { destinations, entries: entries.collect() }
}

fn unextendable(why: &str) -> DocumentError {
    DocumentError::Unextendable(why.to_owned())
}

/// The text, if it says what it has to.
fn verified(text: String, base: Option<&Policy>, additions: &Additions) -> Result<String, DocumentError> {
    let policy = Policy::parse(text.as_bytes()).map_err(|errors| DocumentError::Unextendable(errors.to_string()))?;
    let known = base.map_or(&[][..], Policy::rules);
    let ids = known.iter().map(|rule| &*rule.id).chain(additions.destinations.iter().map(|new| &*new.id));
    if !policy.rules().iter().map(|rule| &*rule.id).eq(ids) {
        return Err(unextendable("its destinations are written in a way that learn cannot add to"));
    }
    for (index, rule) in known.iter().enumerate() {
        let added = additions.entries.iter().filter(|new| new.index == index).count();
        let entries = |rule: &sandgate_policy::Rule| rule.access.allow().map_or(0, <[_]>::len);
        if entries(&policy.rules()[index]) != entries(rule) + added {
            return Err(unextendable("an allow list is written in a way that learn cannot add to"));
        }
    }
    Ok(text)
}

fn take(node: Node, key: &str) -> Option<Node> {
    let Value::Mapping(entries) = node.value else { return None };
    entries.into_iter().find(|entry| entry.key == key).map(|entry| entry.value)
}

fn field<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let Value::Mapping(entries) = &node.value else { return None };
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}
