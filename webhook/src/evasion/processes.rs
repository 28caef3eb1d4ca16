//! What brings a workload to the sidecar's processes: one process namespace, or its user.

use sandgate_contract::CONTAINER_NAME;
use serde_json::Value;

use crate::decision::Refusal;
use crate::pod::{self, Container};
use crate::reason::Reason;

/// One process namespace for all containers: each sees the sidecar's memory and files in /proc.
pub(super) fn check_pod(spec: &Value) -> Option<Refusal> {
    pod::is_true(spec, "/shareProcessNamespace").then(|| {
        let message = "shareProcessNamespace is true, which would show the sidecar's processes to every container; leave it \
                       out (kubectl debug --copy-to does with --share-processes=false)";
        Refusal::new(Reason::SharedProcesses, message)
    })
}

/// A declared UID that is the sidecar's, the container's own or the pod's where the container has none; and an ephemeral
/// container that joins the sidecar's processes.
///
/// A UID alone is no boundary (a root workload takes any, and an image's USER is invisible here); declared, it is
/// somebody's intention: it shares the sidecar's limits per user, and could bind its port beside it (SO_REUSEPORT).
pub(super) fn check_container(uid: u32, spec: &Value, container: &Container<'_>) -> Vec<Refusal> {
    let declared = |object: &Value| {
        let user = object.pointer("/securityContext/runAsUser").filter(|user| !user.is_null())?;
        Some(user.as_u64() == Some(u64::from(uid)))
    };
    let (is_sidecars, field) = match (declared(container.json), declared(spec)) {
        (Some(own), _) => (own, "securityContext.runAsUser"),
        (None, pods) => (pods.unwrap_or(false), "the pod's securityContext.runAsUser"),
    };
    let mut refusals = Vec::new();
    if is_sidecars {
        let message = format!(
            "{} runs as the sidecar's UID {uid} by {field}; choose another, or have the administrator change sidecar.uid",
            container.place()
        );
        refusals.push(Refusal::new(Reason::SidecarUid, message));
    }
    if pod::text(container.json, "/targetContainerName") == Some(CONTAINER_NAME) {
        let message = format!(
            "{} is to share the processes of the sidecar (targetContainerName {CONTAINER_NAME:?}) and could read its key; \
             choose another target, or none",
            container.place()
        );
        refusals.push(Refusal::new(Reason::SidecarTarget, message));
    }
    refusals
}
