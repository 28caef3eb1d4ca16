//! The mount of the trust files in a container.

use sandgate_contract::TRUST_DIR;
use serde_json::Value;

use super::draft::Draft;
use crate::evasion::path;
use crate::genuine::TrustMounts;
use crate::mode::Mode;
use crate::pod::{self, Container};
use crate::situation::Situation;

/// Mounts the trust files, once. Unless the sidecar is required, a container that has something else there keeps it: two
/// mounts at one path are no pod. Where it is required such a pod is refused before.
pub(super) fn patch(
    draft: &mut Draft,
    situation: &Situation<'_>,
    trust_mounts: &TrustMounts<'_>,
    container: &Container<'_>,
) {
    let mounts = || pod::elements(container.json, "volumeMounts");
    if mounts().any(|mount| trust_mounts.has(mount)) {
        return;
    }
    if situation.mode != Mode::Required && mounts().any(is_at_trust_dir) {
        let name = container.name();
        draft.warn(format!(
            "container {name:?} mounts its own {TRUST_DIR}: without our ca.crt and bundle.crt there, TLS fails"
        ));
        return;
    }
    draft.append(&container.pointer(), container.json, "volumeMounts", vec![situation.rendering.trust_mount.clone()]);
}

fn is_at_trust_dir(mount: &Value) -> bool {
    pod::text(mount, "/mountPath").is_some_and(|place| path::normal(place) == TRUST_DIR)
}
