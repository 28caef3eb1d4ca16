//! The sidecar's resources in one pod: the configuration's, then what the annotations of namespace and pod say, then
//! what keeps a Guaranteed pod Guaranteed. An annotation with a mistake refuses the pod, with a message that names it.

use serde_json::{Map, Value};

use super::{Quantity, Resources};
use crate::decision::Refusal;
use crate::names::RESOURCES_ANNOTATION;
use crate::pod;
use crate::reason::Reason;
use crate::situation::Situation;

/// The sidecar's resources in `pod`.
///
/// The namespace's annotation may say anything; a pod's own stays within `sidecar.resourceBounds`. In a pod that is
/// Guaranteed without the sidecar, requests are raised to the limits (Kubernetes, "Pod Quality of Service Classes").
///
/// # Errors
/// What is wrong with an annotation, naming it, where it stands, the field and its value.
pub fn of_pod(situation: &Situation<'_>, pod: &Value) -> Result<Resources, Refusal> {
    let mut resources = situation.config.sidecar.resources.clone();
    if let Some(text) = &situation.namespace.sidecar_resources {
        let owner = format!("namespace {:?}", situation.namespace.name);
        resources = apply(resources, text).map_err(|problem| refusal(&owner, &problem))?;
    }
    let annotations = pod.pointer("/metadata/annotations");
    if let Some(text) = annotations.and_then(|all| all.get(RESOURCES_ANNOTATION)).and_then(Value::as_str) {
        let base = resources.clone();
        resources = apply(resources, text)
            .and_then(|resources| within_bounds(situation, &base, resources))
            .map_err(|problem| refusal("the pod", &problem))?;
    }
    Ok(if is_guaranteed(pod) { resources.guaranteed() } else { resources })
}

fn refusal(owner: &str, problem: &str) -> Refusal {
    Refusal::new(Reason::SidecarResources, format!("annotation {RESOURCES_ANNOTATION} of {owner}: {problem}"))
}

/// `resources` with what `text` says in its place.
fn apply(mut resources: Resources, text: &str) -> Result<Resources, String> {
    const EXAMPLE: &str = r#"{"requests":{"cpu":"10m"},"limits":{"memory":"128Mi"}}"#;
    let shape = |what: &str| format!("{what}; write a JSON object such as {EXAMPLE}");
    let json: Value = serde_json::from_str(text).map_err(|_| shape(&format!("{text:?} is not JSON")))?;
    let kinds = json.as_object().ok_or_else(|| shape(&format!("{text:?} is not an object")))?;
    for (kind, amounts) in kinds {
        if !["requests", "limits"].contains(&kind.as_str()) {
            return Err(shape(&format!("{kind:?} is not known, only requests and limits are")));
        }
        let amounts = amounts.as_object().ok_or_else(|| shape(&format!("{kind}: {amounts} is not an object")))?;
        apply_amounts(&mut resources, kind, amounts)?;
    }
    consistent(resources)
}

fn apply_amounts(resources: &mut Resources, kind: &str, amounts: &Map<String, Value>) -> Result<(), String> {
    for (name, value) in amounts {
        let amount = resources
            .amount_mut(kind, name)
            .ok_or_else(|| format!("{kind}.{name}: {name:?} is not known, only cpu and memory are"))?;
        let text = match value {
            Value::String(text) => text.clone(),
            // YAML authors write a bare 1, as Kubernetes lets them.
            Value::Number(number) => number.to_string(),
            other => return Err(format!("{kind}.{name}: {other} is no quantity; write 100m, 0.5, 64Mi or 1Gi")),
        };
        *amount = Quantity::parse(&text).map_err(|problem| format!("{kind}.{name}: {problem}"))?;
    }
    Ok(())
}

/// A limit of zero would be none, and the API server refuses requests above limits.
fn consistent(resources: Resources) -> Result<Resources, String> {
    let pairs = [
        ("cpu", &resources.cpu_request, &resources.cpu_limit),
        ("memory", &resources.memory_request, &resources.memory_limit),
    ];
    for (name, request, limit) in pairs {
        if limit.milli() == 0 {
            return Err(format!("limits.{name}: {limit} is no limit; write more than zero"));
        }
        if request.milli() > limit.milli() {
            return Err(format!(
                "requests.{name} {request} is above limits.{name} {limit}; set both, for what the annotation omits \
                 comes from the webhook's configuration"
            ));
        }
    }
    Ok(resources)
}

/// What the pod leaves as it is in `base` is the admin's, and has no bounds.
fn within_bounds(situation: &Situation<'_>, base: &Resources, resources: Resources) -> Result<Resources, String> {
    let (min, max) = (&situation.config.sidecar.resources_min, &situation.config.sidecar.resources_max);
    let bounds = min.amounts().into_iter().zip(max.amounts());
    let changed = resources.amounts().into_iter().zip(base.amounts()).zip(bounds);
    for (((kind, name, amount), (_, _, before)), ((_, _, min), (_, _, max))) in changed {
        if amount != before && (amount.milli() < min.milli() || amount.milli() > max.milli()) {
            return Err(format!("{kind}.{name} {amount} is not within {min} and {max}, the bounds that the admin set"));
        }
    }
    Ok(resources)
}

/// Whether the pod is Guaranteed without a sidecar: by its own `spec.resources` where it has them, else by those of
/// every container and init container.
fn is_guaranteed(pod: &Value) -> bool {
    let Some(spec) = pod.get("spec") else { return false };
    if spec.get("resources").and_then(Value::as_object).is_some_and(|resources| !resources.is_empty()) {
        return has_equal_amounts(spec);
    }
    pod::containers(spec)
        .filter(|container| container.list != pod::List::Ephemeral)
        .filter(|container| container.name() != sandgate_contract::CONTAINER_NAME)
        .all(|container| has_equal_amounts(container.json))
}

/// Whether CPU and memory have limits, and requests that are absent or equal.
fn has_equal_amounts(holder: &Value) -> bool {
    let amount = |kind: &str, name: &str| {
        let value = holder.get("resources")?.get(kind)?.get(name)?;
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        Quantity::parse(&text).ok()
    };
    ["cpu", "memory"].into_iter().all(|name| {
        let Some(limit) = amount("limits", name).filter(|limit| limit.milli() > 0) else { return false };
        amount("requests", name).is_none_or(|request| request == limit)
    })
}

#[cfg(test)]
mod tests;
