//! The settings file: a flat YAML map from the flags' names to their values. Knows no setting by name.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sandgate_policy::yaml::{self, Entry, MAX_BYTES, Node, Value};

use super::layers::{Layers, Origin, meant_by};
use super::{Kind, Setting, TABLE};

impl Layers {
    /// Adds the settings of the file at `path`, which `named_by` named. What is wrong with its form is a problem even
    /// where a stronger layer has the setting.
    pub fn add_file(&mut self, named_by: &dyn fmt::Display, path: &Path) {
        let shown = path.display().to_string();
        let text = match read(path) {
            Ok(text) => text,
            Err(error) => return self.refuse(named_by, &format!("{shown}: {error}")),
        };
        let parsed = yaml::parse(&text);
        for fault in &parsed.faults {
            self.refuse(&format_args!("{shown}:{}", fault.line), &fault.message);
        }
        match parsed.root.map(|root| (root.line, root.value)) {
            None => {}
            Some((_, Value::Scalar(scalar))) if scalar.is_null() => {}
            Some((_, Value::Mapping(entries))) => self.add_entries(&shown, &entries),
            Some((line, _)) => {
                self.refuse(&format_args!("{shown}:{line}"), "expected a map of settings, such as: log-level: debug");
            }
        }
    }

    fn add_entries(&mut self, path: &str, entries: &[Entry]) {
        let mut seen = HashSet::new();
        for entry in entries {
            let place = format!("{path}:{}", entry.line);
            let name = entry.key.replace('_', "-");
            let Some(setting) = TABLE.iter().find(|setting| setting.name == name) else {
                let meant = meant_by(&name, |setting| setting.name.to_owned());
                self.refuse(&place, &format!("{} is not a setting{meant}", entry.key));
                continue;
            };
            if !seen.insert(setting.name) {
                self.refuse(&place, &format!("{} stands twice, with - and with _: keep one", setting.name));
                continue;
            }
            match values(setting, path, &entry.value) {
                Ok(values) => self.add(setting, values),
                Err(reason) => self.refuse(&place, &format!("{}: {reason}", setting.name)),
            }
        }
    }
}

fn values(setting: &'static Setting, path: &str, node: &Node) -> Result<Vec<(Origin, String)>, &'static str> {
    let nodes = match &node.value {
        Value::Sequence(items) if setting.kind == Kind::Many => items.as_slice(),
        Value::Sequence(_) => return Err("takes one value, not a list"),
        _ => std::slice::from_ref(node),
    };
    let value = |node: &Node| match &node.value {
        Value::Scalar(scalar) if scalar.is_null() => Err("a value is missing"),
        Value::Scalar(scalar) => {
            let origin = Origin::File { path: path.to_owned(), line: node.line, key: setting.name };
            Ok((origin, scalar.text.clone()))
        }
        _ => Err("takes plain values, not lists or maps inside"),
    };
    nodes.iter().map(value).collect()
}

/// The file's bytes, up to one more than are read as YAML, so that a larger one is seen to be too large.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}
