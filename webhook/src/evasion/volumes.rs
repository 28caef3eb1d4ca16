//! What lets a program out through a volume: the node mounts it, from its own network, where no proxy and no NetworkPolicy
//! of the pod is asked.

use serde_json::Value;

use crate::decision::Refusal;
use crate::pod::{self, elements};
use crate::reason::Reason;

/// What a volume may be: the kinds of Pod Security "restricted", and images. Every other one (`nfs`, `iscsi`, `cephfs` and
/// the like) names a server, a driver or a device of the author's choice. `hostPath` is refused by "baseline" already.
const KINDS: [&str; 10] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "hostPath",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Volumes of another kind.
pub(super) fn check_pod(pod: &Value) -> Vec<Refusal> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let volumes = elements(spec, "volumes").enumerate();
    let odd = volumes.filter_map(|(index, volume)| {
        let fields = volume.as_object()?.iter().filter(|(_, value)| !value.is_null());
        let (kind, _) = fields.into_iter().find(|(field, _)| *field != "name" && !KINDS.contains(&field.as_str()))?;
        Some((index, pod::text(volume, "/name").unwrap_or_default(), kind))
    });
    odd.map(|(index, name, kind)| {
        let message = format!(
            "volumes[{index}] {name:?} is mounted by the node itself ({kind}), around the required sidecar; have the \
             administrator provide it as a PersistentVolume, and use a persistentVolumeClaim"
        );
        Refusal::new(Reason::NodeVolume, message)
    })
    .collect()
}
