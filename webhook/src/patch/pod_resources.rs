//! Resources of the pod itself (`spec.resources`): raised by the sidecar's amounts, because the API server refuses a pod
//! whose containers ask for more than it does.

use serde_json::{Value, json};

use super::draft::Draft;
use crate::resources::{Quantity, Resources};

/// Raises what is set. `before` is the sidecar that is taken out, whose amounts go.
pub(super) fn patch(draft: &mut Draft, spec: &Value, resources: &Resources, before: Option<&Value>) {
    let mut raised = Vec::new();
    for (kind, name, ours) in resources.amounts() {
        let Some(set) = spec.get("resources").and_then(|all| amount(all, kind, name)) else { continue };
        let gone = before.and_then(|sidecar| amount(sidecar.get("resources")?, kind, name));
        let without = gone.map_or_else(|| set.clone(), |gone| set.minus(&gone));
        let wanted = without.plus(ours);
        if wanted != set {
            draft.replace(format!("/spec/resources/{kind}/{name}"), json!(wanted.to_string()));
            raised.push(format!("{kind}.{name} {wanted}"));
        }
    }
    if !raised.is_empty() {
        draft.warn(format!("spec.resources was raised for the sidecar: {}", raised.join(", ")));
    }
}

fn amount(resources: &Value, kind: &str, name: &str) -> Option<Quantity> {
    let value = resources.get(kind)?.get(name)?;
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    Quantity::parse(&text).ok()
}
