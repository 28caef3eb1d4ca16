//! What is added to a policy, as lines of YAML. Texts come in the few characters of canonical hosts, globs and methods, so
//! nothing that a program asked for begins a line, a comment or a value.

use sandgate_policy::destination::Scheme;
use sandgate_policy::scalar;

use super::addition::{Destination, Refused};
use super::entry::{Entry, requests_in_words};

/// A destination as an item of a list whose dashes are behind `indent`.
pub(super) fn destination(new: &Destination, indent: &str, lines: &mut Vec<String>) {
    lines.push([indent, "- id: ", &scalar(&new.id), "  # ", &requests_in_words(new.requests)].concat());
    for field in fields(new) {
        lines.push([indent, "  ", &field].concat());
    }
    if let Some(remark) = new.remark {
        lines.push([indent, "  # ", remark].concat());
    }
    if !new.allow.is_empty() {
        lines.push([indent, "  allow:"].concat());
        let inner = [indent, "    "].concat();
        for new in &new.allow {
            entry(new, &inner, lines);
        }
    }
}

/// The fields of a destination but for its id and list.
fn fields(new: &Destination) -> Vec<String> {
    let mut fields = vec!["host: ".to_owned() + &scalar(&new.place.host)];
    let scheme = if new.place.scheme == Scheme::Http.as_str() { Scheme::Http } else { Scheme::Https };
    if new.place.port != scheme.default_port() {
        fields.push(format!("ports: [{}]", new.place.port));
    }
    if scheme == Scheme::Http {
        fields.push("scheme: http".to_owned());
    }
    if new.is_passthrough {
        fields.push("tls: passthrough".to_owned());
    }
    if !new.private_cidrs.is_empty() {
        let ranges: Vec<_> = new.private_cidrs.iter().map(|range| format!("\"{range}\"")).collect();
        fields.push(format!("private_cidrs: [{}]", ranges.join(", ")));
    }
    fields
}

/// An entry of an allow list whose dashes are behind `indent`.
pub(super) fn entry(new: &Entry, indent: &str, lines: &mut Vec<String>) {
    let requests = requests_in_words(new.requests);
    if let Some(method) = &new.method {
        lines.push([indent, "- methods: [", &scalar(method), "]  # ", &requests].concat());
    }
    let Some(paths) = &new.paths else { return };
    lines.push(match new.method {
        None => [indent, "- paths:  # ", &requests, ", with a method that the log has only in part"].concat(),
        Some(_) => [indent, "  paths:"].concat(),
    });
    for (glob, used) in paths {
        lines.push([indent, "    - \"", glob, "\"  # ", &used.words(glob)].concat());
    }
}

/// A destination in braces, and the comment that follows it.
pub(super) fn destination_in_braces(new: &Destination) -> (String, String) {
    let mut all = vec!["id: ".to_owned() + &scalar(&new.id)];
    all.extend(fields(new));
    if !new.allow.is_empty() {
        let entries: Vec<_> = new.allow.iter().map(|new| entry_in_braces(new).0).collect();
        all.push(["allow: [", &entries.join(", "), "]"].concat());
    }
    let requests = requests_in_words(new.requests);
    let comment = new.remark.map_or(requests.clone(), |remark| [&requests, "; ", remark].concat());
    (["{", &all.join(", "), "}"].concat(), comment)
}

/// An entry in braces, and the comment that follows it.
pub(super) fn entry_in_braces(new: &Entry) -> (String, String) {
    let mut all = Vec::new();
    if let Some(method) = &new.method {
        all.push(["methods: [", &scalar(method), "]"].concat());
    }
    if let Some(paths) = &new.paths {
        let globs: Vec<&str> = paths.iter().map(|(glob, _)| &**glob).collect();
        all.push(["paths: [\"", &globs.join("\", \""), "\"]"].concat());
    }
    (["{", &all.join(", "), "}"].concat(), requests_in_words(new.requests))
}

/// How the items of a list are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In lines, with dashes behind these blanks.
    Lines(String),
    /// In brackets.
    Brackets,
}

impl Form {
    /// That of a list within an item of this one, where it is of our writing.
    pub(super) fn inner(&self) -> Self {
        match self {
            Self::Lines(indent) => Self::Lines([indent, "    "].concat()),
            Self::Brackets => Self::Brackets,
        }
    }
}

/// What would allow something that was refused, as comments: without their marks it can be put into a list of this form.
/// The first line says what it is about.
pub(super) fn refused(refused: &Refused, form: &Form) -> Vec<String> {
    let place = if *form == Form::Brackets { ", behind the bracket that opens the list" } else { "" };
    let mut lines = Vec::new();
    let in_braces = |(item, comment): (String, String)| ["  ", &item, ",  # ", &comment].concat();
    match refused {
        Refused::Destination(new) => {
            let host = format!("Refused: {}:{}. This destination would allow it", new.place.host, new.place.port);
            lines.push([&host, place, ":"].concat());
            match form {
                Form::Lines(indent) => destination(new, indent, &mut lines),
                Form::Brackets => lines.push(in_braces(destination_in_braces(new))),
            }
        }
        Refused::Entries(rule, entries) => {
            let words = "Refused by the destination ";
            lines.push([words, rule, ". These entries in its allow list would allow it", place, ":"].concat());
            for new in entries {
                match form {
                    Form::Lines(indent) => entry(new, indent, &mut lines),
                    Form::Brackets => lines.push(in_braces(entry_in_braces(new))),
                }
            }
        }
    }
    for line in &mut lines {
        line.insert_str(0, "# ");
    }
    lines
}
