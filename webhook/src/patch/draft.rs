//! A patch while it is made: operations in their order, and what people are told about them.

use std::collections::HashSet;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::Value;

/// Names that a warning lists; past that it says how many more there are.
const MAX_LISTED: usize = 6;

/// Operations and warnings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The operations, in the order in which they are applied.
    pub operations: Vec<PatchOperation>,
    /// What people see in kubectl.
    pub warnings: Vec<String>,
}

impl Draft {
    /// Sets a member of an object, whether it is there or not, or puts an element in before the one at its place.
    pub(super) fn add(&mut self, path: String, value: Value) {
        self.operations.push(PatchOperation::Add(AddOperation { path: pointer(path), value }));
    }

    /// Replaces what is there.
    pub(super) fn replace(&mut self, path: String, value: Value) {
        self.operations.push(PatchOperation::Replace(ReplaceOperation { path: pointer(path), value }));
    }

    /// Removes what is there.
    pub(super) fn remove(&mut self, path: String) {
        self.operations.push(PatchOperation::Remove(RemoveOperation { path: pointer(path) }));
    }

    /// Puts `values` at the end of the array `field` of `object`, which stands at `path`; makes the array where it is
    /// absent or null. Only once for one array.
    pub(super) fn append(&mut self, path: &str, object: &Value, field: &str, values: Vec<Value>) {
        if values.is_empty() {
            return;
        }
        match object.get(field) {
            Some(Value::Array(_)) => values.into_iter().for_each(|value| self.add(format!("{path}/{field}/-"), value)),
            _ => self.add(format!("{path}/{field}"), Value::Array(values)),
        }
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }
}

/// `a, b and 3 more`, each once.
pub(super) fn listed(names: &[&str]) -> String {
    let mut seen = HashSet::new();
    let unique: Vec<&str> = names.iter().copied().filter(|name| seen.insert(*name)).collect();
    let shown = unique[..unique.len().min(MAX_LISTED)].join(", ");
    match unique.len().saturating_sub(MAX_LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn pointer(path: String) -> PointerBuf {
    PointerBuf::parse(path).expect("paths are made of field names, places and escaped keys")
}
