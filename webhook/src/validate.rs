//! The final pod, after all that other webhooks did to it: is the sidecar there, ours, first, and nobody around it?
//!
//! Nothing is changed here, and nothing is believed that the pod says of itself. What is left for the patch to do has come
//! too late for it.

mod incomplete;

use sandgate_contract::CONTAINER_NAME;
use serde_json::Value;

use crate::admission::Request;
use crate::decision::{Decision, Refusal};
use crate::genuine::{self, Genuine};
use crate::mode::Mode;
use crate::mutate;
use crate::names::VOLUMES;
use crate::patch;
use crate::pod::{self, Container, List};
use crate::reason::{Outcome, Reason};
use crate::rendering::Rendering;
use crate::situation::Situation;

/// The decision on a final pod, or on new ephemeral containers of one. Any other object or operation is refused.
#[must_use]
pub fn validate(situation: &Situation<'_>, request: &Request) -> Decision {
    let answer = match (request.kind.as_str(), request.operation.as_str(), request.sub_resource.as_str()) {
        ("v1/Pod", "CREATE", "") => created(situation, &request.object),
        ("v1/Pod", "UPDATE", "ephemeralcontainers") => debugged(situation, request),
        _ => return mutate::mutate(situation, request),
    };
    answer.unwrap_or_else(|refusals| Decision::refuse(&refusals))
}

/// The decision on the final pod: all that is asked before the patch is asked again, and then what only the end shows.
fn created(situation: &Situation<'_>, pod: &Value) -> Result<Decision, Vec<Refusal>> {
    let sidecar = genuine::sidecar(situation, pod);
    // A pod is judged by what its sidecar was made with: in a rollout, that may be another replica's configuration.
    let other = match sidecar {
        Genuine::Accepted { rendering, .. } => Some((rendering, rendering.config(situation.config))),
        _ => None,
    };
    let judged = match &other {
        Some((rendering, config)) => &Situation { rendering, config, ..*situation },
        None => situation,
    };
    let again = mutate::create(judged, pod);
    let skipped = again.as_ref().ok().filter(|decision| decision.reason.outcome() == Outcome::Skipped);
    if let Some(skipped) = skipped.filter(|_| situation.mode != Mode::Required) {
        // The warning, if there is one, has been given with the patch.
        return Ok(Decision::pass(skipped.reason));
    }
    let refusals = again.err().unwrap_or_default();
    // What is no pod, or more than one may be, is not looked at any further.
    if refusals.iter().any(|refusal| refusal.reason == Reason::Malformed) {
        return Err(refusals);
    }
    match sidecar {
        Genuine::Absent => return absent(situation, pod, refusals),
        Genuine::Ours { difference, index } => {
            let place = format!("initContainers[{index}] {CONTAINER_NAME:?}");
            return Err(not_genuine(&place, &difference, refusals));
        }
        Genuine::Foreign { place, difference } => return Err(not_genuine(&place, &difference, refusals)),
        Genuine::Current { .. } | Genuine::Accepted { .. } => {}
    }
    let mut late: Vec<Refusal> = precedes(situation, pod).collect();
    late.extend(incomplete(situation, judged.rendering, pod, |container| container.list != List::Ephemeral));
    verdict(situation, refusals, late)
}

/// A pod that should have a sidecar, and has none.
fn absent(situation: &Situation<'_>, pod: &Value, refusals: Vec<Refusal>) -> Result<Decision, Vec<Refusal>> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let left = VOLUMES.into_iter().any(|name| pod::named(spec, "volumes", name).is_some());
    let never = [Reason::OptOut, Reason::PodLabel, Reason::NamespaceLabel, Reason::Impossible, Reason::Malformed];
    if refusals.iter().any(|refusal| never.contains(&refusal.reason)) {
        return Err(refusals);
    }
    let what = format!(
        "the pod has no sidecar {CONTAINER_NAME:?}: Sandgate's webhook was not called, or something took the container out \
         after it; ask the administrator which other webhook changes pods"
    );
    if situation.mode == Mode::Required || left {
        let mut all = vec![Refusal::new(Reason::Missing, what)];
        // Without the sidecar its volumes look like somebody else's, which would mislead.
        all.extend(refusals.into_iter().filter(|refusal| {
            let misleads = [Reason::ForeignVolume, Reason::OurVolumeMounted, Reason::CaSecret];
            refusal.reason != Reason::Missing && !(left && misleads.contains(&refusal.reason))
        }));
        return Err(all);
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    Ok(Decision { warnings: vec![what.clone()], message: what, ..Decision::pass(Reason::NoSidecar) })
}

/// A pod whose sidecar is not one that we make; in every mode, for a program that takes the sidecar's place reads what
/// passes through it.
fn not_genuine(place: &str, difference: &str, refusals: Vec<Refusal>) -> Vec<Refusal> {
    let message = format!(
        "{place} is not the sidecar that Sandgate makes: {difference}; leave it out, for Sandgate adds its own, and ask the \
         administrator if another webhook changes it"
    );
    let others = refusals.into_iter().filter(|refusal| refusal.reason != Reason::ForeignContainer);
    std::iter::once(Refusal::new(Reason::NotGenuine, message)).chain(others).collect()
}

/// Init containers before the sidecar, which run before there is a proxy.
fn precedes(situation: &Situation<'_>, pod: &Value) -> impl Iterator<Item = Refusal> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let allowed = &situation.config.sidecar.may_precede;
    pod::containers(spec)
        .take_while(|container| container.list == List::Init && container.name() != CONTAINER_NAME)
        .filter(|container| !allowed.iter().any(|name| name == container.name()))
        .map(|container| {
            let message = format!(
                "{} starts before the sidecar and has no proxy; let what adds it put it behind {CONTAINER_NAME:?}, or have \
                 the administrator name it in sidecar.mayPrecede",
                container.place()
            );
            Refusal::new(Reason::Precedes, message)
        })
}

/// Containers that lack something, by the rendering that the pod's sidecar is of.
fn incomplete(
    situation: &Situation<'_>,
    rendering: &Rendering,
    pod: &Value,
    chosen: impl Fn(&Container<'_>) -> bool,
) -> Vec<Refusal> {
    let left = patch::containers(&Situation { rendering, ..*situation }, pod, chosen);
    incomplete::refusals(pod, &left.operations)
}

/// Where the sidecar is required, what came late is refused; elsewhere it is said.
fn verdict(
    situation: &Situation<'_>,
    mut refusals: Vec<Refusal>,
    late: Vec<Refusal>,
) -> Result<Decision, Vec<Refusal>> {
    let mut decision = Decision::pass(Reason::Verified);
    if situation.mode == Mode::Required {
        refusals.extend(late);
    } else {
        decision.warnings = late.into_iter().map(|refusal| refusal.message).collect();
    }
    if refusals.is_empty() { Ok(decision) } else { Err(refusals) }
}

/// The decision on a pod that gets ephemeral containers: only the new ones are judged.
fn debugged(situation: &Situation<'_>, request: &Request) -> Result<Decision, Vec<Refusal>> {
    let again = mutate::mutate(situation, request);
    let refused = again.reason.outcome() == Outcome::Refused;
    let pod = &request.object;
    let rendering = match genuine::running_sidecar(situation, pod) {
        Genuine::Current { .. } => situation.rendering,
        Genuine::Accepted { rendering, .. } => rendering,
        _ if refused => return Ok(again),
        _ => return Ok(Decision::pass(again.reason)),
    };
    if refused {
        return Ok(again);
    }
    let before = pod::names(request.old_object.get("spec").unwrap_or(&Value::Null), List::Ephemeral.field());
    let is_new = |container: &Container<'_>| container.list == List::Ephemeral && !before.contains(container.name());
    verdict(situation, Vec::new(), incomplete(situation, rendering, pod, is_new))
}

#[cfg(test)]
mod tests;
