//! What a pod of a required namespace may not do, because it would go around the sidecar or take it over.
//!
//! The key and the policy are safe as long as nobody else has the sidecar's volumes (`clash`), its processes, or the node.
//! What leads to the node is Pod Security's "baseline"; what leads to its processes, or lets the node's own connections out
//! in the pod's place, is here.
//!
//! Looked at and let in:
//! - Its group (`runAsGroup`, `fsGroup`, `supplementalGroups`): the files that it writes are in volumes that nobody else
//!   mounts, or public; a group gives no right over processes.
//! - Mounts above the trust path (`/etc`): runtimes mount in the order of depth, so that the trust files lie on top. Who
//!   brings a writable `/etc` can only mislead itself about whom to trust.
//! - `hostAliases`, `dnsConfig`: they reach the sidecar's files, which it does not read.
//! - `resourceClaims`, CSI and persistent volumes, runtime classes, `localhost/` profiles: what they may do to a node is
//!   decided by who installed the driver, class or profile there. The same goes for annotations that a runtime or CNI is
//!   configured to heed.
//! - Ports that a container binds without declaring them: the sidecar, which starts first, has them.

mod baseline;
pub(crate) mod path;
mod processes;
mod volumes;

use sandgate_contract::TRUST_DIR;
use serde_json::Value;

use crate::decision::Refusal;
use crate::genuine::{self, TrustMounts};
use crate::pod::{self, Container, containers, elements};
use crate::reason::Reason;
use crate::situation::Situation;

/// Everything in `pod` that evades the sidecar, each with a message of its own. For required namespaces only.
#[must_use]
pub fn check(situation: &Situation<'_>, pod: &Value) -> Vec<Refusal> {
    let mut refusals = baseline::check_pod(pod);
    refusals.extend(volumes::check_pod(pod));
    refusals.extend(check_containers(situation, pod, |_| true));
    refusals
}

/// The same for the `chosen` containers of a running pod alone: its new ephemeral ones, and whose processes they would
/// see.
#[must_use]
pub fn check_containers(
    situation: &Situation<'_>,
    pod: &Value,
    chosen: impl Fn(&Container<'_>) -> bool,
) -> Vec<Refusal> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let sidecar = genuine::running_sidecar(situation, pod);
    let trust_mounts = TrustMounts::new(situation);
    let others = containers(spec).filter(|container| !sidecar.is(container) && chosen(container));
    let mut refusals: Vec<Refusal> = processes::check_pod(spec).into_iter().collect();
    refusals.extend(others.flat_map(|container| check_container(situation, spec, &trust_mounts, &container)));
    refusals
}

/// Everything in one container, which is not the sidecar, that evades it.
fn check_container(
    situation: &Situation<'_>,
    spec: &Value,
    trust_mounts: &TrustMounts<'_>,
    container: &Container<'_>,
) -> Vec<Refusal> {
    let mut refusals = baseline::check_container(container);
    refusals.extend(processes::check_container(situation.config.sidecar.uid, spec, container));
    refusals.extend(trust_path(trust_mounts, container));
    refusals
}

/// Mounts, devices and the termination message (which the kubelet mounts as a file) at or below the trust path.
fn trust_path(trust_mounts: &TrustMounts<'_>, container: &Container<'_>) -> Vec<Refusal> {
    let mounts = elements(container.json, "volumeMounts").filter(|mount| !trust_mounts.has(mount));
    let mounts = mounts.filter_map(|mount| Some(("volumeMounts", pod::text(mount, "/mountPath")?)));
    let devices = elements(container.json, "volumeDevices");
    let devices = devices.filter_map(|device| Some(("volumeDevices", pod::text(device, "/devicePath")?)));
    let message = pod::text(container.json, "/terminationMessagePath").map(|path| ("terminationMessagePath", path));
    let own = mounts.chain(devices).chain(message);
    own.filter(|(_, own)| path::is_within(&path::normal(own), TRUST_DIR))
        .map(|(field, own)| {
            let message = format!(
                "{} puts {own:?} of its own ({field}) over the proxy's trust files in {TRUST_DIR}; choose a path outside of it",
                container.place()
            );
            Refusal::new(Reason::TrustPath, message)
        })
        .collect()
}

#[cfg(test)]
mod tests;
