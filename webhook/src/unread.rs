//! Labels and annotations with our prefix that nothing reads: on the wrong object, of the wrong kind, or misspelt. Only
//! ever a warning; nothing is decided by them.

use serde_json::{Map, Value};

use crate::names::{INJECT_LABEL, POD_POLICY_ANNOTATION, POLICY_ANNOTATION, RESOURCES_ANNOTATION, STATUS_ANNOTATION};

const PREFIX: &str = "sandgate.dev/";
/// How many of one object are told, and how long a name is at most: more is no mistake of a person's.
const MOST: usize = 4;
const LONGEST: usize = 80;

/// Whose metadata it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// A pod's.
    Pod,
    /// A namespace's.
    Namespace,
}

impl Of {
    const fn annotations(self) -> [&'static str; 3] {
        match self {
            Self::Pod => [POLICY_ANNOTATION, RESOURCES_ANNOTATION, STATUS_ANNOTATION],
            Self::Namespace => [POLICY_ANNOTATION, RESOURCES_ANNOTATION, POD_POLICY_ANNOTATION],
        }
    }

    fn advice(self, key: &str, is_label: bool) -> &'static str {
        match key {
            INJECT_LABEL => "make it a label",
            POD_POLICY_ANNOTATION if self == Self::Pod => "it belongs to the namespace",
            _ if is_label && self.annotations().contains(&key) => "make it an annotation",
            _ => "it may be misspelt",
        }
    }
}

/// What to say about the labels and annotations of an object, a sentence for each of the first few.
#[must_use]
pub fn unread(object: &Value, of: Of) -> Vec<String> {
    let keys = |field: &str| object.pointer(field).and_then(Value::as_object).into_iter().flat_map(Map::keys);
    let labels = keys("/metadata/labels").filter(|key| *key != INJECT_LABEL).map(|key| ("label", key));
    let annotations = keys("/metadata/annotations").filter(|key| !of.annotations().contains(&key.as_str()));
    labels
        .chain(annotations.map(|key| ("annotation", key)))
        .filter(|(_, key)| key.starts_with(PREFIX) && is_name(key))
        .map(|(kind, key)| format!("the {kind} {key} is not read: {}", of.advice(key, kind == "label")))
        .take(MOST)
        .collect()
}

/// Whether a key can be one at all. The API server refuses others, after the webhook; no warning repeats them.
fn is_name(key: &str) -> bool {
    key.len() <= LONGEST && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
}
