//! Are the sidecar's resources within bounds? A LimitRange and an autoscaler may change requests and limits, and a
//! LimitRange adds ephemeral storage; devices and claims are nobody's business.

use serde_json::{Value, json};

use crate::resources::{Quantity, Resources, of_pod};
use crate::situation::Situation;

/// What is wrong with the resources of a pod's sidecar: an amount that is neither what we make for this pod nor within
/// `sidecar.resourceBounds`, or one that does not belong there.
pub(super) fn difference(situation: &Situation<'_>, pod: &Value, container: &Value) -> Option<String> {
    let sidecar = &situation.config.sidecar;
    let own = of_pod(situation, pod).unwrap_or_else(|_| sidecar.resources.clone());
    let resources = container.get("resources").unwrap_or(&Value::Null);
    out_of_bounds(&own, &sidecar.resources_min, &sidecar.resources_max, resources).or_else(|| others(resources))
}

fn out_of_bounds(own: &Resources, min: &Resources, max: &Resources, found: &Value) -> Option<String> {
    let bounds = min.amounts().into_iter().zip(max.amounts());
    own.amounts().into_iter().zip(bounds).find_map(|((kind, name, own), ((.., min), (.., max)))| {
        let Some(value) = found.get(kind).and_then(|amounts| amounts.get(name)) else {
            return Some(format!("resources.{kind}.{name} is absent instead of {own}"));
        };
        let fits = |amount: Quantity| (min.milli()..=max.milli()).contains(&amount.milli()) || amount == *own;
        (!amount(value).is_some_and(fits))
            .then(|| format!("resources.{kind}.{name} is {value} instead of {min} to {max}"))
    })
}

/// A quantity, also where an author wrote a number.
fn amount(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

fn others(found: &Value) -> Option<String> {
    let instead = |path: String, value: &Value| format!("resources.{path} is {value} instead of absent");
    let lists = found.as_object().into_iter().flatten();
    lists.filter(|(_, value)| !value.is_null() && **value != json!([])).find_map(|(kind, amounts)| {
        let amounts = match kind.as_str() {
            "requests" | "limits" => amounts.as_object(),
            _ => return Some(instead(kind.clone(), amounts)),
        };
        let (name, amount) =
            amounts?.iter().find(|(name, _)| !["cpu", "memory", "ephemeral-storage"].contains(&name.as_str()))?;
        Some(instead(format!("{kind}.{name}"), amount))
    })
}
