//! The mount of the trust files in a container.

use sandgate_contract::TRUST_DIR;
use serde_json::Value;

use super::draft::Draft;
use crate::pod::{self, Container};

/// Mounts the trust files, once. Unless the sidecar is required, a container that has something else there keeps it: two
/// mounts at one path are no pod. Where it is required such a pod is refused before.
pub(super) fn patch(draft: &mut Draft, container: &Container<'_>, ours: &Value, required: bool) {
    let mounts = || pod::elements(container.json, "volumeMounts");
    let has_ours = |mount: &Value| {
        ours.as_object().is_some_and(|fields| fields.iter().all(|(field, value)| mount.get(field) == Some(value)))
    };
    if mounts().any(has_ours) {
        return;
    }
    if !required && mounts().any(is_at_trust_dir) {
        let name = container.name();
        draft.warn(format!(
            "container {name:?} mounts its own {TRUST_DIR}: without ca.crt and bundle.crt there, TLS fails"
        ));
        return;
    }
    draft.append(&container.pointer(), container.json, "volumeMounts", vec![ours.clone()]);
}

fn is_at_trust_dir(mount: &Value) -> bool {
    mount.get("mountPath").and_then(Value::as_str).is_some_and(|path| path.trim_end_matches('/') == TRUST_DIR)
}
