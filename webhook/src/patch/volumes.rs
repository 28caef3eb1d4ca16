//! Our volumes among those of the pod.

use serde_json::Value;

use super::draft::Draft;
use crate::names::VOLUMES;
use crate::pod;

/// Puts `ours` in: a volume of the same name becomes ours, the others come last. One of our names that is not among
/// them leaves.
pub(super) fn patch(draft: &mut Draft, spec: &Value, ours: Vec<Value>) {
    let mut missing = Vec::new();
    let mut kept = Vec::new();
    for volume in ours {
        let name = volume.get("name").and_then(Value::as_str).unwrap_or_default();
        match pod::named(spec, "volumes", name) {
            None => missing.push(volume),
            Some((index, present)) => {
                kept.push(index);
                if *present != volume {
                    draft.replace(format!("/spec/volumes/{index}"), volume);
                }
            }
        }
    }
    let is_stale =
        |volume: &Value| volume.get("name").and_then(Value::as_str).is_some_and(|name| VOLUMES.contains(&name));
    let volumes: Vec<&Value> = pod::elements(spec, "volumes").collect();
    for (index, volume) in volumes.into_iter().enumerate().rev() {
        if is_stale(volume) && !kept.contains(&index) {
            draft.remove(format!("/spec/volumes/{index}"));
        }
    }
    draft.append("/spec", spec, "volumes", missing);
}
