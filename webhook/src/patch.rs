//! Every operation of a patch (RFC 6902). Operations are written out by hand, for fields that are ours and the few that
//! the specification names: never a diff, so that what we don't know can't be touched.
//!
//! Patching what is patched gives no operation.

mod annotations;
mod capabilities;
mod draft;
mod environment;
mod hosts;
mod mounts;
mod pod_resources;
mod shape;
mod volumes;

pub use draft::Draft;
use sandgate_contract::CONTAINER_NAME;
use serde_json::{Value, json};
pub use shape::check as check_shape;

use self::environment::Environment;
use crate::genuine::{Genuine, TrustMounts};
use crate::mode::Mode;
use crate::plan::Plan;
use crate::pod::{self, Container, List};
use crate::situation::Situation;

/// What is left to do for `pod`, whose shape is sound ([`check_shape`]) and whose sidecar is `present`: a current one
/// stays where it is, another of ours is made anew at the first place.
///
/// The order of operations is part of the contract with ourselves: containers are changed at the places that they have
/// before any is put in or taken out.
#[must_use]
pub fn patch(situation: &Situation<'_>, pod: &Value, plan: &Plan, present: &Genuine<'_>) -> Draft {
    let mut draft = containers(situation, pod, |container| container.list != List::Ephemeral);
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    volumes::patch(&mut draft, spec, situation.rendering.volumes(&plan.policy));
    if !matches!(present, Genuine::Current { .. }) {
        let before = present.index().and_then(|index| pod::elements(spec, List::Init.field()).nth(index));
        pod_resources::patch(&mut draft, spec, &plan.resources, before);
        sidecar(&mut draft, spec, situation.rendering.sidecar(&plan.resources), present.index());
    }
    pull_secrets(&mut draft, spec, &situation.config.sidecar.image_pull_secrets);
    annotations::patch(&mut draft, situation, pod, plan);
    draft
}

/// What is left to do for the `chosen` containers of `pod`, the sidecar never among them: environment, trust files and,
/// where the sidecar is required, capabilities.
///
/// It asks the rendering and the mode of `situation` only, so that a final pod whose sidecar is an earlier rendering's
/// is complete by that rendering.
#[must_use]
pub fn containers(situation: &Situation<'_>, pod: &Value, chosen: impl Fn(&Container<'_>) -> bool) -> Draft {
    let mut draft = Draft::default();
    let environment = Environment::new(situation);
    let trust_mounts = TrustMounts::new(situation);
    let required = situation.mode == Mode::Required;
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let mut dropped = Vec::new();
    for container in pod::containers(spec).filter(|container| !is_sidecar(container) && chosen(container)) {
        environment.patch(&mut draft, &container);
        mounts::patch(&mut draft, situation, &trust_mounts, &container);
        if required && capabilities::patch(&mut draft, &container) {
            dropped.push(container.name());
        }
    }
    if !dropped.is_empty() {
        draft.warn(format!("NET_RAW was dropped from {}: no raw sockets in this namespace", draft::listed(&dropped)));
    }
    draft
}

fn is_sidecar(container: &Container<'_>) -> bool {
    container.list == List::Init && container.name() == CONTAINER_NAME
}

/// Takes out the one at `before`, and puts ours in at the first place.
fn sidecar(draft: &mut Draft, spec: &Value, sidecar: Value, before: Option<usize>) {
    if let Some(index) = before {
        draft.remove(format!("/spec/{}/{index}", List::Init.field()));
    }
    match spec.get(List::Init.field()) {
        Some(Value::Array(_)) => draft.add(format!("/spec/{}/0", List::Init.field()), sidecar),
        _ => draft.add(format!("/spec/{}", List::Init.field()), json!([sidecar])),
    }
}

fn pull_secrets(draft: &mut Draft, spec: &Value, names: &[String]) {
    let missing = names.iter().filter(|name| pod::named(spec, "imagePullSecrets", name).is_none());
    let missing = missing.map(|name| json!({"name": name})).collect();
    draft.append("/spec", spec, "imagePullSecrets", missing);
}
