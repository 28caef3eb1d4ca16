//! A pod as JSON, looked at without a typed struct: what is not known here is still there afterwards.
//!
//! The API server has checked the shapes before it calls, but offline commands have not, and later API servers may know
//! more: whatever has another shape than expected reads as absent here and is refused where that matters.

use std::collections::HashSet;

use serde_json::Value;

/// The most characters of a name that a message repeats; no valid one is longer. A pod is looked at before its names are
/// checked, and one message for each of thousands of mounts must not repeat a megabyte.
const LONGEST_NAME: usize = 63;

/// The lists of containers in a pod's spec, in the order in which they start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum List {
    /// `initContainers`, native sidecars among them.
    Init,
    /// `containers`.
    Main,
    /// `ephemeralContainers`.
    Ephemeral,
}

impl List {
    /// Every list.
    pub const ALL: [Self; 3] = [Self::Init, Self::Main, Self::Ephemeral];

    /// The field of the spec.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Init => "initContainers",
            Self::Main => "containers",
            Self::Ephemeral => "ephemeralContainers",
        }
    }
}

/// One container and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    /// The list.
    pub list: List,
    /// The place in it, from 0.
    pub index: usize,
    /// The container.
    pub json: &'a Value,
}

impl<'a> Container<'a> {
    /// Its name; empty where there is none.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.json.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// Where it stands, for people: `containers[0] "workload"`.
    #[must_use]
    pub fn place(&self) -> String {
        let name = self.name();
        let end = name.char_indices().nth(LONGEST_NAME).map_or(name.len(), |(end, _)| end);
        format!("{}[{}] {:?}", self.list.field(), self.index, &name[..end])
    }

    /// Where it stands, as the start of a JSON Pointer: `/spec/containers/0`.
    #[must_use]
    pub fn pointer(&self) -> String {
        format!("/spec/{}/{}", self.list.field(), self.index)
    }
}

/// Every container of a pod's `spec`, in all three lists.
pub fn containers(spec: &Value) -> impl Iterator<Item = Container<'_>> {
    List::ALL.into_iter().flat_map(move |list| {
        elements(spec, list.field()).enumerate().map(move |(index, json)| Container { list, index, json })
    })
}

/// The elements of the array `field`; none where it is absent, null or something else.
pub fn elements<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// The text at `pointer`, if there is one. Pointers are paths of fields here: nothing in them is escaped, and none leads
/// into a list.
///
/// `serde_json`'s own copies each part of the pointer twice, which for pods with thousands of mounts is most of the work.
#[must_use]
pub fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    let mut fields = pointer.split('/').skip(1);
    fields.try_fold(object, |value, field| value.as_object()?.get(field))?.as_str()
}

/// Whether `true` stands at `pointer`.
#[must_use]
pub fn is_true(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer) == Some(&Value::Bool(true))
}

/// The element of a list with this `name`.
#[must_use]
pub fn named<'a>(object: &'a Value, field: &str, name: &str) -> Option<(usize, &'a Value)> {
    elements(object, field).enumerate().find(|(_, element)| element.get("name").and_then(Value::as_str) == Some(name))
}

/// The names of a list's elements, to look many of them up.
#[must_use]
pub fn names<'a>(object: &'a Value, field: &str) -> HashSet<&'a str> {
    elements(object, field).filter_map(|element| element.get("name")?.as_str()).collect()
}

/// A token of a JSON Pointer with `~` and `/` escaped (RFC 6901, 3).
#[must_use]
pub fn escaped(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_of_all_lists_are_seen_and_odd_shapes_are_none() {
        let spec = json!({
            "initContainers": [{"name": "a"}],
            "containers": [{"name": "b"}, {}],
            "ephemeralContainers": null,
        });
        let places: Vec<String> = containers(&spec).map(|container| container.place()).collect();
        assert_eq!(places, [r#"initContainers[0] "a""#, r#"containers[0] "b""#, r#"containers[1] """#]);
        assert_eq!(containers(&json!({"containers": {"name": "x"}})).count(), 0);
    }

    #[test]
    fn a_name_that_no_container_may_have_is_cut_where_people_read_it() {
        let (longest, longer) = ("ä".repeat(LONGEST_NAME), "ä".repeat(LONGEST_NAME + 1));
        let json = json!({"name": longer});
        let container = Container { list: List::Main, index: 0, json: &json };
        assert_eq!(container.place(), format!("containers[0] {longest:?}"));
        assert_eq!(container.name(), longer);
    }

    #[test]
    fn a_text_is_found_along_fields_only() {
        let pod = json!({"a": {"b": "text", "c": ["text"]}, "d": "text"});
        assert_eq!(text(&pod, "/a/b"), Some("text"));
        for pointer in ["/a", "/a/x", "/a/b/c", "/a/c/0", "/d/d", ""] {
            assert_eq!(text(&pod, pointer), None, "{pointer}");
        }
        assert_eq!(text(&json!("text"), ""), Some("text"));
    }

    #[test]
    fn pointers_are_escaped() {
        assert_eq!(escaped("sandgate.dev/a~b"), "sandgate.dev~1a~0b");
    }
}
