//! Where two JSON values differ, apart from defaults: the first field, and both values. Nothing is tolerated here.

use std::fmt::{self, Write};

use serde_json::{Map, Value};

use crate::genuine::defaults::is_absent;
use crate::resources::Quantity;

/// How much of a value goes into a message, in characters.
const SHOWN: usize = 200;

/// The fields of a JSON object.
pub(super) type Fields = Map<String, Value>;

/// Whether two values of `parent` are the same but for defaults. The same question as [`difference`] asks, without words.
pub(crate) fn same(parent: &str, expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let covers = |a: &Fields, b: &Fields| {
                a.iter().filter(|(key, value)| !is_absent(parent, key, value)).all(|(key, value)| {
                    b.get(key)
                        .filter(|other| !is_absent(parent, key, other))
                        .is_some_and(|other| same(key, value, other))
                })
            };
            covers(expected, found) && covers(found, expected)
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().zip(found).all(|(a, b)| same(parent, a, b))
        }
        (expected, found) => expected == found || is_same_size(parent, Some(expected), Some(found)),
    }
}

/// The first difference, named from `path`; `parent` is the field that holds the value. Both are present or absent with
/// their defaults considered.
pub(super) fn difference(path: &str, parent: &str, expected: Option<&Value>, found: Option<&Value>) -> Option<String> {
    match (expected, found) {
        (Some(Value::Object(expected)), Some(Value::Object(found))) => {
            fields(path, parent, expected, found, &Map::new())
        }
        (Some(Value::Array(expected)), Some(Value::Array(found))) => {
            let length = expected.len().max(found.len());
            (0..length).find_map(|index| {
                difference(&format!("{path}[{index}]"), parent, expected.get(index), found.get(index))
            })
        }
        (expected, found) if expected == found || is_same_size(parent, expected, found) => None,
        (expected, found) => Some(format!("{path} is {} instead of {}", shown(found), shown(expected))),
    }
}

/// The first field in which two objects differ. What `instead` has for a field is taken for what was found there.
pub(super) fn fields(path: &str, parent: &str, expected: &Fields, found: &Fields, instead: &Fields) -> Option<String> {
    let added = found.keys().filter(|key| !expected.contains_key(*key));
    expected.keys().chain(added).find_map(|key| {
        let present = |value: &&Value| !is_absent(parent, key, value);
        let expected = expected.get(key).filter(present);
        let found = instead.get(key).or_else(|| found.get(key)).filter(present);
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        difference(&path, key, expected, found)
    })
}

/// The API server writes quantities in its own way: `1024Ki` comes back as `1Mi`.
fn is_same_size(field: &str, expected: Option<&Value>, found: Option<&Value>) -> bool {
    let quantity = |value: Option<&Value>| value.and_then(Value::as_str).and_then(|text| Quantity::parse(text).ok());
    field == "sizeLimit" && quantity(expected).is_some_and(|expected| quantity(found) == Some(expected))
}

/// A value for people. No more of it is written than is shown: it may be as long as a pod.
fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "absent".to_owned() };
    let mut start = Start { text: String::new(), left: SHOWN };
    match write!(start, "{value}") {
        Ok(()) => start.text,
        Err(_full) => format!("{}…", start.text),
    }
}

/// The start of what is written, in characters.
struct Start {
    text: String,
    left: usize,
}

impl Write for Start {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        for character in more.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(character);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_is_named_with_both_values() {
        for (expected, found, message) in [
            (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), "a.b is 2 instead of 1"),
            (json!({"a": [1, 2]}), json!({"a": [1]}), "a[1] is absent instead of 2"),
            (json!({"a": [1]}), json!({"a": [1, {"n": "x"}]}), r#"a[1] is {"n":"x"} instead of absent"#),
            (json!({}), json!({"restartPolicyRules": [{}]}), "restartPolicyRules is [{}] instead of absent"),
            (json!({"a": "1"}), json!({"a": 1}), r#"a is 1 instead of "1""#),
            (
                json!({"a": [{"n": "x"}, {"n": "y"}]}),
                json!({"a": [{"n": "y"}, {"n": "x"}]}),
                r#"a[0].n is "y" instead of "x""#,
            ),
            (json!({"a": "é"}), json!({"a": "e\u{301}"}), "a is \"e\u{301}\" instead of \"é\""),
        ] {
            assert_eq!(difference("", "", Some(&expected), Some(&found)).as_deref(), Some(message));
            assert!(!same("", &expected, &found) && same("", &expected, &expected));
        }
    }

    #[test]
    fn sizes_are_compared_by_their_value() {
        let limit = |text: &str| json!({"sizeLimit": text});
        assert!(same("emptyDir", &limit("1024Ki"), &limit("1Mi")));
        assert!(!same("emptyDir", &limit("1Mi"), &limit("2Mi")));
        assert!(!same("emptyDir", &limit("1Mi"), &json!({})));
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        let text = "ä".repeat(500);
        assert_eq!(shown(Some(&json!(text))).chars().count(), SHOWN + 1);
    }
}
