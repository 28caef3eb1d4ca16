//! What a pod may not bring along wherever the sidecar is put in: our names, our ports, our volumes, the CA's Secret.
//!
//! Asked before any patch: a mount of a volume that is not there yet is invalid by itself, and our patch would make it
//! valid.

mod secret;
mod shape;

use sandgate_contract::{CONTAINER_NAME, TRUST_DIR};
use serde_json::Value;

use crate::config::Sidecar;
use crate::decision::Refusal;
use crate::genuine::{self, Genuine, TrustMounts};
use crate::names::{TRUST_VOLUME, VOLUMES};
use crate::pod::{self, Container, containers, elements};
use crate::reason::Reason;
use crate::situation::Situation;

/// Everything in `pod` that clashes with what we put in, each with a message of its own.
///
/// A pod that carries a sidecar of ours along, genuine or to be made anew, may carry our volumes and the trust files'
/// mounts along too: they are what we made, or are replaced together with it.
#[must_use]
pub fn check(situation: &Situation<'_>, pod: &Value) -> Vec<Refusal> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let malformed = shape::check(spec);
    if !malformed.is_empty() {
        return malformed;
    }
    let sidecar = genuine::sidecar(situation, pod);
    let mut refusals = Vec::new();
    refusals.extend(foreign_container(&sidecar));
    refusals.extend(VOLUMES.iter().filter_map(|name| foreign_volume(&sidecar, spec, name)));
    refusals.extend(in_containers(situation, &sidecar, spec, |_| true));
    refusals.extend(secret::in_spec(&situation.config.ca.secret_name, &sidecar, spec));
    refusals
}

/// The same for the `chosen` containers of a running pod alone: its new ephemeral ones.
#[must_use]
pub fn check_containers(
    situation: &Situation<'_>,
    pod: &Value,
    chosen: impl Fn(&Container<'_>) -> bool,
) -> Vec<Refusal> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let malformed = shape::check(spec);
    if !malformed.is_empty() {
        return malformed;
    }
    in_containers(situation, &genuine::running_sidecar(situation, pod), spec, chosen)
}

fn in_containers(
    situation: &Situation<'_>,
    sidecar: &Genuine<'_>,
    spec: &Value,
    chosen: impl Fn(&Container<'_>) -> bool,
) -> Vec<Refusal> {
    let trust_mounts = TrustMounts::new(situation);
    let others = containers(spec).filter(|container| !sidecar.is(container) && chosen(container));
    others.flat_map(|container| check_container(situation, sidecar, &trust_mounts, &container)).collect()
}

/// Everything in one container, which is not the sidecar, that clashes with what we put in.
fn check_container(
    situation: &Situation<'_>,
    sidecar: &Genuine<'_>,
    trust_mounts: &TrustMounts<'_>,
    container: &Container<'_>,
) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let carried = sidecar.index().is_some();
    refusals.extend(elements(container.json, "volumeMounts").filter_map(|mount| {
        let is_ours = carried && trust_mounts.has(mount);
        (!is_ours).then(|| our_volume(container, mount, "/name", "volumeMounts")).flatten()
    }));
    refusals.extend(
        elements(container.json, "volumeDevices")
            .filter_map(|device| our_volume(container, device, "/name", "volumeDevices")),
    );
    refusals.extend(
        elements(container.json, "env")
            .filter_map(|variable| our_volume(container, variable, "/valueFrom/fileKeyRef/volumeName", "env")),
    );
    refusals.extend(
        elements(container.json, "ports").filter_map(|port| port_taken(&situation.config.sidecar, container, port)),
    );
    refusals.extend(secret::in_container(&situation.config.ca.secret_name, container));
    refusals
}

fn foreign_container(sidecar: &Genuine<'_>) -> Option<Refusal> {
    let Genuine::Foreign { place, difference } = sidecar else { return None };
    let message = format!(
        "{place} is not the sidecar that Sandgate makes ({difference}); the name {CONTAINER_NAME:?} is Sandgate's: \
         rename the container or leave it out"
    );
    Some(Refusal::new(Reason::ForeignContainer, message))
}

fn foreign_volume(sidecar: &Genuine<'_>, spec: &Value, name: &str) -> Option<Refusal> {
    let count = elements(spec, "volumes").filter(|volume| pod::text(volume, "/name") == Some(name)).count();
    let fault = match (count, sidecar.index()) {
        (0, _) | (1, Some(_)) => return None,
        (1, None) => "is not one that Sandgate made, for the pod has no sidecar of its",
        _ => "is there more than once",
    };
    let message = format!(
        "volume {name:?} {fault}; the name is Sandgate's: rename the volume, or leave it and its mounts out, for Sandgate \
         adds its own"
    );
    Some(Refusal::new(Reason::ForeignVolume, message))
}

/// A reference at `pointer` to a volume with one of our names.
///
/// `env[].valueFrom.fileKeyRef` (Kubernetes 1.34) reads a file of an emptyDir without mounting it.
fn our_volume(container: &Container<'_>, reference: &Value, pointer: &str, field: &str) -> Option<Refusal> {
    let name = pod::text(reference, pointer).filter(|name| VOLUMES.contains(name))?;
    let instead = if name == TRUST_VOLUME {
        format!("the trust files are in {TRUST_DIR} of every container without it")
    } else {
        "it is the sidecar's alone".to_owned()
    };
    let message =
        format!("{} uses Sandgate's volume {name:?} in {field}; leave that out: {instead}", container.place());
    Some(Refusal::new(Reason::OurVolumeMounted, message))
}

fn port_taken(sidecar: &Sidecar, container: &Container<'_>, port: &Value) -> Option<Refusal> {
    let number = port.get("containerPort").and_then(Value::as_u64)?;
    let is_tcp = matches!(pod::text(port, "/protocol"), None | Some("TCP" | ""));
    let setting = match number {
        _ if !is_tcp => return None,
        number if number == u64::from(sidecar.proxy_port) => "sidecar.proxyPort",
        number if number == u64::from(sidecar.health_port) => "sidecar.healthPort",
        _ => return None,
    };
    let message = format!(
        "{} declares port {number}, where the sidecar listens ({setting}), and could not bind it; let it listen elsewhere, \
         or have the administrator change {setting}",
        container.place()
    );
    Some(Refusal::new(Reason::PortTaken, message))
}

#[cfg(test)]
mod tests;
