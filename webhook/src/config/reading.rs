//! From the YAML tree to the settings of a table: every key is one of the table's, every value well formed, or there is a
//! problem with its line and key. It knows no setting by name.

use std::collections::{BTreeMap, HashSet};

use sandgate_policy::Problem;
use sandgate_policy::yaml::{self, Entry, Node, Value};

use super::Config;
use super::table::{Row, SECTIONS};

/// The longest list. Every entry goes into pods, or is looked for in each.
const MAX_ITEMS: usize = 100;

/// What is wrong so far, and where each setting of the file stands.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
    /// What is wrong only together with another setting.
    contradictions: Vec<Problem>,
    lines: BTreeMap<&'static str, usize>,
}

impl Problems {
    fn add(&mut self, line: usize, field: &str, message: impl Into<String>) {
        self.found.push(Problem { line, field: field.to_owned(), message: message.into() });
    }

    /// Says what several settings can't be together, at the first of them that the file has. Nothing is said where one of
    /// them is wrong by itself: then its value is not the one that was meant.
    pub(super) fn refuse_together(&mut self, fields: &[&str], message: impl Into<String>) {
        if self.found.iter().any(|problem| fields.contains(&problem.field.as_str())) {
            return;
        }
        let place = fields.iter().find_map(|field| Some((*field, *self.lines.get(field)?)));
        let (field, line) = place.unwrap_or((fields.first().copied().unwrap_or_default(), 0));
        self.contradictions.push(Problem { line, field: field.to_owned(), message: message.into() });
    }

    /// The problems by line, those of one line in the order in which they were found.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.append(&mut self.contradictions);
        self.found.sort_by_key(|problem| problem.line);
        self.found
    }
}

/// A value of the file and its setting.
pub(super) struct Field<'a> {
    node: &'a Node,
    path: String,
}

impl<'a> Field<'a> {
    pub(super) fn refuse(&self, problems: &mut Problems, message: impl Into<String>) {
        problems.add(self.node.line, &self.path, message);
    }

    /// The text that stands here, as `parse` reads it.
    pub(super) fn parse<T>(&self, problems: &mut Problems, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.is_null() => self.refuse(problems, "has no value; write one or remove it"),
            Value::Scalar(scalar) => match parse(&scalar.text) {
                Ok(value) => return Some(value),
                Err(message) => self.refuse(problems, message),
            },
            _ => self.refuse(problems, "has to be a single value"),
        }
        None
    }

    /// As [`Self::parse`]; null is nothing.
    pub(super) fn parse_unless_null<T>(
        &self,
        problems: &mut Problems,
        parse: fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let is_null = matches!(&self.node.value, Value::Scalar(scalar) if scalar.is_null());
        if is_null { None } else { self.parse(problems, parse) }
    }

    /// The items of a list, each as `parse` reads it, none of them twice.
    pub(super) fn parse_items<T>(&self, problems: &mut Problems, parse: fn(&str) -> Result<T, String>) -> Vec<T> {
        let Value::Sequence(nodes) = &self.node.value else {
            self.refuse(problems, "has to be a list; write it as [..], or one item a line after a dash");
            return Vec::new();
        };
        if nodes.len() > MAX_ITEMS {
            self.refuse(problems, format!("has {} items; at most {MAX_ITEMS} are read", nodes.len()));
            return Vec::new();
        }
        let mut seen = HashSet::new();
        let mut items = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let item = Field { node, path: format!("{}[{index}]", self.path) };
            if let Value::Scalar(scalar) = &node.value
                && !seen.insert(scalar.text.as_str())
            {
                item.refuse(problems, format!("{:?} stands twice; remove one", scalar.text));
                continue;
            }
            items.extend(item.parse(problems, parse));
        }
        items
    }
}

/// Reads a file into the settings of the table. With problems, the configuration holds what could be read of it.
pub(super) fn read(text: &[u8]) -> (Config, Problems) {
    let (mut config, mut problems) = (Config::default(), Problems::default());
    let parsed = yaml::parse(text);
    for fault in parsed.faults {
        problems.add(fault.line, "", fault.message);
    }
    let mut found = BTreeMap::new();
    if let Some(root) = &parsed.root {
        walk("", root, &mut found, &mut problems);
    }
    problems.lines = found.iter().map(|(path, node)| (*path, node.line)).collect();
    // In the table's order, not the file's: a row may count on those before it.
    for row in rows() {
        if let Some(node) = found.get(row.path) {
            (row.read)(&mut config, &Field { node, path: row.path.to_owned() }, &mut problems);
        }
    }
    (config, problems)
}

fn rows() -> impl Iterator<Item = &'static Row> {
    SECTIONS.iter().flat_map(|section| section.rows)
}

/// Finds the settings at and below `path`.
fn walk<'a>(path: &str, node: &'a Node, found: &mut BTreeMap<&'static str, &'a Node>, problems: &mut Problems) {
    let known = keys_below(path);
    let entries = match &node.value {
        Value::Mapping(entries) => entries,
        // A section whose settings are all commented out.
        Value::Scalar(scalar) if scalar.is_null() => return,
        _ => {
            let keys = known.join(", ");
            return problems.add(node.line, path, format!("has to be a mapping with the keys {keys}"));
        }
    };
    for entry in entries {
        let below = join(path, &entry.key);
        if let Some(row) = rows().find(|row| row.path == below) {
            found.insert(row.path, &entry.value);
        } else if known.contains(&entry.key.as_str()) {
            walk(&below, &entry.value, found, problems);
        } else {
            problems.add(entry.line, &below, unknown(entry, &known));
        }
    }
}

fn unknown(entry: &Entry, known: &[&str]) -> String {
    let elsewhere = || rows().find(|row| row.path.rsplit('.').next() == Some(&entry.key)).map(|row| row.path);
    let hint = match (yaml::nearest(&entry.key, known), elsewhere()) {
        (Some(name), _) => format!("did you mean {name}?"),
        (None, Some(path)) => format!("did you mean {path}?"),
        (None, None) => format!("the keys here are {}", known.join(", ")),
    };
    format!("there is no such key; {hint}")
}

/// The keys that may stand below `path`, in the table's order.
fn keys_below(path: &str) -> Vec<&'static str> {
    let below = |row: &'static Row| match path {
        "" => Some(row.path),
        path => row.path.strip_prefix(path)?.strip_prefix('.'),
    };
    let mut keys: Vec<&str> = rows().filter_map(below).filter_map(|rest| rest.split('.').next()).collect();
    keys.dedup();
    keys
}

fn join(path: &str, key: &str) -> String {
    let key: String = key.chars().take(64).flat_map(char::escape_debug).collect();
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
