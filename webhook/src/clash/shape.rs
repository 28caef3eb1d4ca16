//! Lists and objects of a pod that have a shape that no pod has. The API server never sends them; a file may.
//!
//! What reads as absent elsewhere is refused here, so that nothing is overlooked because it is oddly written.

use serde_json::Value;

use crate::decision::Refusal;
use crate::pod::{List, elements};
use crate::reason::Reason;

/// Fields of a container that are lists of objects.
const CONTAINER_LISTS: [&str; 5] = ["volumeMounts", "volumeDevices", "env", "envFrom", "ports"];

/// Every oddly shaped field that a decision looks into.
pub(super) fn check(spec: &Value) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if !spec.is_object() {
        refusals.push(refusal("spec", "object"));
    }
    let lists = List::ALL.map(List::field);
    refusals.extend(lists.into_iter().chain(["volumes"]).filter_map(|field| list(spec, "spec", field)));
    refusals.extend(object(spec, "spec", "securityContext"));
    for field in lists {
        for (index, container) in elements(spec, field).enumerate() {
            let place = format!("spec.{field}[{index}]");
            refusals.extend(CONTAINER_LISTS.into_iter().filter_map(|field| list(container, &place, field)));
            refusals.extend(object(container, &place, "securityContext"));
        }
    }
    refusals
}

fn list(parent: &Value, place: &str, field: &str) -> Option<Refusal> {
    let is_sound = match parent.get(field) {
        None | Some(Value::Null) => true,
        Some(Value::Array(elements)) => elements.iter().all(Value::is_object),
        Some(_) => false,
    };
    (!is_sound).then(|| refusal(&format!("{place}.{field}"), "list of objects"))
}

fn object(parent: &Value, place: &str, field: &str) -> Option<Refusal> {
    let is_sound = parent.get(field).is_none_or(|value| value.is_null() || value.is_object());
    (!is_sound).then(|| refusal(&format!("{place}.{field}"), "object"))
}

fn refusal(place: &str, kind: &str) -> Refusal {
    Refusal::new(Reason::Malformed, format!("{place} is no {kind}; write it as the Pod API has it"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_null_and_empty_are_sound() {
        for spec in [
            json!({}),
            json!({"containers": null, "initContainers": [], "volumes": null, "securityContext": null}),
            json!({"containers": [{"name": "x", "volumeMounts": null, "env": [], "securityContext": null}]}),
        ] {
            assert_eq!(check(&spec), [], "{spec}");
        }
    }

    #[test]
    fn odd_shapes_are_refused_by_the_place_of_each() {
        for (spec, place) in [
            (json!(null), "spec is no object"),
            (json!({"containers": {"name": "x"}}), "spec.containers is no list of objects"),
            (json!({"initContainers": ["x"]}), "spec.initContainers is no list of objects"),
            (json!({"ephemeralContainers": "x"}), "spec.ephemeralContainers is no list of objects"),
            (json!({"volumes": [null]}), "spec.volumes is no list of objects"),
            (
                json!({"containers": [{}, {"volumeMounts": {"name": "x"}}]}),
                "spec.containers[1].volumeMounts is no list",
            ),
            (json!({"containers": [{"env": [1]}]}), "spec.containers[0].env is no list of objects"),
            (json!({"containers": [{"securityContext": []}]}), "spec.containers[0].securityContext is no object"),
        ] {
            let refusals = check(&spec);
            assert_eq!(refusals[0].reason, Reason::Malformed);
            assert!(refusals[0].message.starts_with(place), "{}", refusals[0].message);
        }
    }
}
