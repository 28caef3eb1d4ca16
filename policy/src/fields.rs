//! Typed access to the YAML tree: what is asked for is there and well formed, or becomes a problem with its line and
//! field. It knows no field of the policy by name.

use crate::problem::Problems;
use crate::yaml::{self, Entry, Node, Value};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    node: &'a Node,
    /// As in `destinations[0].ports`.
    path: String,
}

impl<'a> Field<'a> {
    pub(crate) fn root(node: &'a Node) -> Self {
        Self { node, path: String::new() }
    }

    pub(crate) fn line(&self) -> usize {
        self.node.line
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn refuse(&self, problems: &mut Problems, message: impl Into<String>) {
        problems.add(self.node.line, self.path.clone(), message);
    }

    /// The mapping that stands here; fields outside `known` are problems.
    pub(crate) fn mapping(&self, problems: &mut Problems, known: &[&str]) -> Option<Fields<'a>> {
        let Value::Mapping(entries) = &self.node.value else {
            self.refuse(problems, format!("has to be a mapping with the fields {}", known.join(", ")));
            return None;
        };
        let fields = Fields { line: self.node.line, path: self.path.clone(), entries };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let hint = match yaml::nearest(&entry.key, known) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("the fields here are {}", known.join(", ")),
            };
            problems.add(entry.line, fields.path_of(&entry.key), format!("there is no such field; {hint}"));
        }
        Some(fields)
    }

    /// The items of the list that stands here.
    pub(crate) fn list(&self, problems: &mut Problems) -> Vec<Field<'a>> {
        let Value::Sequence(items) = &self.node.value else {
            self.refuse(problems, "has to be a list; write it as [..], or one item a line after a dash");
            return Vec::new();
        };
        let item = |(index, node)| Field { node, path: format!("{}[{index}]", self.path) };
        items.iter().enumerate().map(item).collect()
    }

    /// As [`Self::list`]; an empty list is a problem, for `why`.
    pub(crate) fn filled_list(&self, problems: &mut Problems, why: &str) -> Vec<Field<'a>> {
        if matches!(&self.node.value, Value::Sequence(items) if items.is_empty()) {
            self.refuse(problems, format!("is an empty list; {why}"));
        }
        self.list(problems)
    }

    /// The text that stands here; nothing, a list or a mapping is a problem.
    pub(crate) fn text(&self, problems: &mut Problems) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.is_null() => self.refuse(problems, "has no value; write one or remove it"),
            Value::Scalar(scalar) => return Some(&scalar.text),
            _ => self.refuse(problems, "has to be a single value"),
        }
        None
    }

    /// The text that stands here, as `parse` reads it; its error is a problem.
    pub(crate) fn parse<T>(
        &self,
        problems: &mut Problems,
        parse: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(problems)?;
        parse(text).map_err(|message| self.refuse(problems, message)).ok()
    }

    /// The items of a list, each as `parse` reads it.
    pub(crate) fn parse_items<T>(
        &self,
        problems: &mut Problems,
        parse: impl Fn(&'a str) -> Result<T, String>,
    ) -> Vec<T> {
        let items = self.list(problems);
        items.iter().filter_map(|item| item.parse(problems, &parse)).collect()
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, problems: &mut Problems, choices: &[(&str, T)]) -> Option<T> {
        self.parse(problems, |text| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            found.ok_or_else(|| format!("{text:?} is not known; write {}", words.join(" or ")))
        })
    }
}

/// The fields of one mapping.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    line: usize,
    path: String,
    entries: &'a [Entry],
}

impl<'a> Fields<'a> {
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    pub(crate) fn get(&self, key: &str) -> Option<Field<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Field { node: &entry.value, path: self.path_of(key) })
    }

    /// The field, which has to be there; `example` is what to write otherwise.
    pub(crate) fn require(&self, problems: &mut Problems, key: &str, example: &str) -> Option<Field<'a>> {
        let field = self.get(key);
        if field.is_none() {
            problems.add(self.line, self.path_of(key), format!("is missing; write {example}"));
        }
        field
    }

    fn path_of(&self, key: &str) -> String {
        let key: String = key.chars().take(64).flat_map(char::escape_debug).collect();
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }
}
