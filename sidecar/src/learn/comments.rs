//! What was not learnt, as comments of a policy file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use sandgate_policy::Addition;

use super::addition::{ANY_METHOD, Additions, Refused};
use super::entry::requests_in_words;
use super::fragment::{self, Form};
use super::learner::{ALSO_PASSTHROUGH, DECISION_MISSING, NO_REQUEST, NOT_ENDED, UNNAMED};
use crate::refusal::Code;
use crate::summary::Advice;

/// The most comments on what was not learnt, and on what was refused.
const MAX_COMMENTS: usize = 200;
/// What is said of a range that a destination of the file lacks.
const LACKING: &str = "# Reached at a private address that is not listed; to allow it, add to ";

/// The forms of the lists of a file.
pub(super) struct Forms {
    /// That of its destinations.
    pub(super) destinations: Form,
    /// Those of allow lists, by the id of the destination; of new destinations there are none.
    pub(super) entries: BTreeMap<Arc<str>, Form>,
}

impl Forms {
    fn of(&self, refused: &Refused) -> Cow<'_, Form> {
        match refused {
            Refused::Destination(_) => Cow::Borrowed(&self.destinations),
            Refused::Entries(rule, _) => {
                self.entries.get(rule).map_or_else(|| Cow::Owned(self.destinations.inner()), Cow::Borrowed)
            }
        }
    }
}

/// What was not learnt, as comments; without those that `text` has already.
pub(super) fn comments(additions: &Additions, text: &str, forms: &Forms) -> Vec<String> {
    let mut comments = Vec::new();
    // What stands there already but for its counts is not said again.
    let mut add = |starts: &[&str], lines: &[String]| {
        let is_there = |start: &&str| text.split(['\r', '\n']).any(|line| line.starts_with(start));
        if !starts.iter().all(is_there) {
            comments.extend_from_slice(lines);
        }
    };
    for (authority, code, count) in additions.notes.iter().take(MAX_COMMENTS) {
        let start = ["# Not learnt: ", authority, ": ", words(code)].concat();
        let mut line = [&start, ", ", &requests_in_words(*count)].concat();
        if *code == Code::AddressNotAllowed.as_str() {
            for Advice { add, to } in additions.remedies.get(authority).into_iter().flatten() {
                line.extend(["; to allow it, add to ", to, ": ", add]);
            }
        }
        add(&[&start], &[line]);
    }
    for (rule, range) in additions.ranges.iter().take(MAX_COMMENTS) {
        let addition = Addition::Range { rule: Arc::clone(rule), range: *range };
        let line = [LACKING, &addition.place(), ": ", &addition.yaml()].concat();
        add(&[&line], std::slice::from_ref(&line));
    }
    for refused in additions.refused.iter().take(MAX_COMMENTS) {
        if matches!(refused, Refused::Entries(_, entries) if entries.is_empty()) {
            continue;
        }
        let lines = fragment::refused(refused, &forms.of(refused));
        let starts: Vec<&str> = lines.iter().filter_map(|line| line.split("  # ").next()).collect();
        add(&starts, &lines);
    }
    let further = |count: usize| count.saturating_sub(MAX_COMMENTS);
    let further = further(additions.notes.len()) + further(additions.ranges.len()) + further(additions.refused.len());
    if further > 0 {
        add(&["# And "], &[format!("# And {further} more of these, which are not listed.")]);
    }
    if additions.left_out > 0 {
        let start = "# Left out, as too many different hosts, methods and paths were asked for";
        add(&[start], &[[start, ": ", &requests_in_words(additions.left_out)].concat()]);
    }
    comments
}

/// What a code means here, where its name does not say it.
fn words(code: &'static str) -> &'static str {
    match code {
        NO_REQUEST => "there were tunnels to it, and no request in them",
        ALSO_PASSTHROUGH => "a passthrough, beside requests that were seen",
        ANY_METHOD => "a method that no entry can name, and its destination judges no paths",
        NOT_ENDED => "a request had not ended",
        UNNAMED => "a method or target that no entry can name",
        DECISION_MISSING => "its decision is missing",
        code => code,
    }
}
