//! Pods and ephemeral containers on their way in: who gets the sidecar, who doesn't, who is refused. Pure; what the
//! patch looks like is `patch`'s.

use sandgate_contract::CONTAINER_NAME;
use serde_json::Value;

use crate::admission::Request;
use crate::config::CaMode;
use crate::decision::{Decision, EGRESS_ADVISORY, Refusal};
use crate::genuine::{self, Genuine};
use crate::mode::{Mode, PodLabel, Wanted, wanted};
use crate::names::{INJECT_LABEL, MIRROR_ANNOTATION};
use crate::patch::{self, Draft};
use crate::plan::Plan;
use crate::pod::{self, Container, List};
use crate::reason::Reason;
use crate::situation::Situation;
use crate::unread::{Of, unread};
use crate::{clash, evasion};

/// What happens to the object of `request`: a pod that is created, or one that gets ephemeral containers. Anything else
/// is refused, for our configuration does not send it.
#[must_use]
pub fn mutate(situation: &Situation<'_>, request: &Request) -> Decision {
    match (request.kind.as_str(), request.operation.as_str(), request.sub_resource.as_str()) {
        ("v1/Pod", "CREATE", "") => {
            create(situation, &request.object).unwrap_or_else(|refusals| Decision::refuse(&refusals))
        }
        ("v1/Pod", "UPDATE", "ephemeralcontainers") => debug(situation, &request.object, &request.old_object)
            .unwrap_or_else(|refusals| Decision::refuse(&refusals)),
        (kind, operation, sub_resource) => {
            let slash = if sub_resource.is_empty() { "" } else { "/" };
            let message = format!(
                "only CREATE of pods and UPDATE of pods/ephemeralcontainers are answered here, not {operation} of \
                 {kind}{slash}{sub_resource}: correct the webhook configuration that sends it"
            );
            Refusal::new(Reason::NotOurs, message).into()
        }
    }
}

/// What happens to a new pod.
///
/// # Errors
/// Every reason why it does not get in.
pub fn create(situation: &Situation<'_>, pod: &Value) -> Result<Decision, Vec<Refusal>> {
    if let Some(decision) = by_labels(situation, pod)? {
        return Ok(decision);
    }
    patch::check_shape(pod).map_err(|refusal| vec![refusal])?;
    if let Some(unfit) = Unfit::of(pod) {
        return unfit.decide(situation);
    }
    let mut refusals: Vec<Refusal> = ca_mode(situation).into_iter().collect();
    let plan = Plan::of(situation, pod);
    refusals.extend(plan.as_ref().err().into_iter().flatten().cloned());
    refusals.extend(clashes(situation, pod));
    if let Some(taken_out) = taken_out(situation, pod) {
        // Without the sidecar its volumes look like somebody else's, which would mislead.
        refusals.retain(|refusal| !matches!(refusal.reason, Reason::ForeignVolume | Reason::OurVolumeMounted));
        refusals.insert(0, taken_out);
    }
    match plan {
        Ok(plan) if refusals.is_empty() => Ok(inject(situation, pod, &plan)),
        _ => Err(refusals),
    }
}

/// What the table of labels says, where it is not "inject".
fn by_labels(situation: &Situation<'_>, pod: &Value) -> Result<Option<Decision>, Vec<Refusal>> {
    let namespace = &situation.namespace.name;
    let refuse = |reason, message| Err(vec![Refusal::new(reason, message)]);
    match wanted(situation.mode, PodLabel::of(pod)) {
        Wanted::Inject => Ok(None),
        Wanted::Nothing => Ok(Some(Decision::pass(Reason::NotAsked))),
        Wanted::Skip if situation.mode == Mode::Disabled => Ok(Some(skip(
            Reason::NamespaceDisabled,
            format!(
                "no sidecar: namespace {namespace:?} is labelled {INJECT_LABEL}=disabled, whatever the pod asks for"
            ),
        ))),
        Wanted::Skip => Ok(Some(Decision::pass(Reason::OptedOut))),
        Wanted::RefuseOptOut => refuse(
            Reason::OptOut,
            format!("namespace {namespace:?} requires the sidecar: remove the label {INJECT_LABEL}=false from the pod"),
        ),
        Wanted::RefusePodLabel => refuse(
            Reason::PodLabel,
            format!(
                "the pod's label {INJECT_LABEL} is {}: write \"true\" or \"false\", or remove it",
                pod.pointer("/metadata/labels").and_then(|all| all.get(INJECT_LABEL)).unwrap_or(&Value::Null)
            ),
        ),
        Wanted::RefuseNamespaceLabel => Err(vec![namespace_label(namespace)]),
    }
}

fn namespace_label(namespace: &str) -> Refusal {
    let message = format!(
        "the label {INJECT_LABEL} of namespace {namespace:?} means nothing: write enabled, required or disabled, or remove it"
    );
    Refusal::new(Reason::NamespaceLabel, message)
}

/// A pod that gets in as it is although somebody may expect the sidecar.
fn skip(reason: Reason, message: String) -> Decision {
    Decision { warnings: vec![message.clone()], message, ..Decision::pass(reason) }
}

/// Why a pod can't have a sidecar.
#[derive(Clone, Copy)]
enum Unfit {
    HostNetwork,
    Windows,
    Mirror,
}

impl Unfit {
    fn of(pod: &Value) -> Option<Self> {
        let selector = pod.pointer("/spec/nodeSelector").and_then(|labels| labels.get("kubernetes.io/os"));
        let is_mirror = pod.pointer("/metadata/annotations").is_some_and(|all| all.get(MIRROR_ANNOTATION).is_some());
        if is_mirror {
            Some(Self::Mirror)
        } else if pod::is_true(pod, "/spec/hostNetwork") {
            Some(Self::HostNetwork)
        } else if pod::text(pod, "/spec/os/name") == Some("windows") || selector.is_some_and(|os| os == "windows") {
            Some(Self::Windows)
        } else {
            None
        }
    }

    fn decide(self, situation: &Situation<'_>) -> Result<Decision, Vec<Refusal>> {
        let (reason, what) = match self {
            Self::HostNetwork => (Reason::HostNetwork, "the pod uses the node's network (hostNetwork: true)"),
            Self::Windows => (Reason::Windows, "the pod is for Windows"),
            Self::Mirror => (Reason::MirrorPod, "the pod mirrors a static one of a kubelet"),
        };
        if situation.mode == Mode::Required {
            let message = format!(
                "{what}, so that it can't have the sidecar that namespace {:?} requires",
                situation.namespace.name
            );
            return Err(vec![Refusal::new(Reason::Impossible, message)]);
        }
        Ok(skip(reason, format!("no sidecar: {what}")))
    }
}

/// Everybody who may read Secrets in the namespace has the key, so it is for namespaces whose admin said "required".
fn ca_mode(situation: &Situation<'_>) -> Option<Refusal> {
    let refused = situation.config.ca.mode == CaMode::Secret && situation.mode != Mode::Required;
    refused.then(|| {
        let message = format!(
            "ca.mode: secret is for required namespaces only: label namespace {:?} {INJECT_LABEL}=required, or set \
             ca.mode: pod in the webhook's configuration",
            situation.namespace.name
        );
        Refusal::new(Reason::CaMode, message)
    })
}

/// What clashes with us, and where the sidecar is required what evades it.
fn clashes(situation: &Situation<'_>, pod: &Value) -> Vec<Refusal> {
    let mut refusals = clash::check(situation, pod);
    if situation.mode == Mode::Required {
        refusals.extend(evasion::check(situation, pod));
    }
    refusals
}

/// A pod with all of our volumes and without the sidecar: on reinvocation another webhook has taken it out.
fn taken_out(situation: &Situation<'_>, pod: &Value) -> Option<Refusal> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let has = |volume: &Value| {
        pod::text(volume, "/name").is_some_and(|name| pod::elements(spec, "volumes").any(|other| other["name"] == name))
    };
    let complete = genuine::sidecar(situation, pod) == Genuine::Absent && situation.rendering.volumes.iter().all(has);
    complete.then(|| {
        let message = format!(
            "the pod has the volumes of Sandgate's sidecar and no {CONTAINER_NAME:?}: leave them and their mounts out, for \
             Sandgate adds its own; if the pod came without them, something took the container out after Sandgate's \
             webhook: ask the administrator which other webhook changes pods"
        );
        Refusal::new(Reason::Missing, message)
    })
}

fn inject(situation: &Situation<'_>, pod: &Value, plan: &Plan) -> Decision {
    let present = genuine::sidecar(situation, pod);
    let draft = patch::patch(situation, pod, plan, &present);
    let reason = if draft.operations.is_empty() { Reason::AlreadyInjected } else { Reason::Injected };
    let mut decision = changed(situation, reason, draft);
    decision.warnings.extend(unread(pod, Of::Pod));
    decision
}

/// A pod that gets in with what `draft` changes.
fn changed(situation: &Situation<'_>, reason: Reason, draft: Draft) -> Decision {
    let mut decision = Decision { warnings: draft.warnings, patch: draft.operations, ..Decision::pass(reason) };
    if situation.mode == Mode::Required {
        decision.warnings.push(EGRESS_ADVISORY.to_owned());
    }
    decision
}

/// What happens to a running pod that gets ephemeral containers. Only those that `old` lacks may change. Whether there
/// is a sidecar decides, not the pod's label, which may have changed since.
fn debug(situation: &Situation<'_>, pod: &Value, old: &Value) -> Result<Decision, Vec<Refusal>> {
    if situation.mode == Mode::Invalid {
        return Err(vec![namespace_label(&situation.namespace.name)]);
    }
    patch::check_shape(pod).map_err(|refusal| vec![refusal])?;
    let rendering = match genuine::running_sidecar(situation, pod) {
        Genuine::Current { .. } => situation.rendering,
        Genuine::Accepted { rendering, .. } => rendering,
        Genuine::Absent | Genuine::Ours { .. } | Genuine::Foreign { .. } => return without_sidecar(situation),
    };
    let before = pod::names(old.get("spec").unwrap_or(&Value::Null), List::Ephemeral.field());
    let is_new = |container: &Container<'_>| container.list == List::Ephemeral && !before.contains(container.name());
    let mut refusals = clash::check_containers(situation, pod, is_new);
    if situation.mode == Mode::Required {
        refusals.extend(evasion::check_containers(situation, pod, is_new));
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    // The environment is that of the sidecar which is there: it may listen on another port than ours would.
    let draft = patch::containers(&Situation { rendering, ..*situation }, pod, is_new);
    let reason = if draft.operations.is_empty() { Reason::AlreadyInjected } else { Reason::EphemeralContainer };
    Ok(changed(situation, reason, draft))
}

fn without_sidecar(situation: &Situation<'_>) -> Result<Decision, Vec<Refusal>> {
    if situation.mode == Mode::Required {
        let message = format!(
            "the pod has no sidecar of this webhook, which namespace {:?} requires: create the pod again, then debug it",
            situation.namespace.name
        );
        return Err(vec![Refusal::new(Reason::Missing, message)]);
    }
    Ok(Decision::pass(Reason::NoSidecar))
}

#[cfg(test)]
mod tests;
