//! What the webhook notes on a pod, for people and for kubectl. Nothing is ever decided by it.

use sandgate_contract::CONTAINER_NAME;
use serde_json::{Map, Value, json};

use super::draft::Draft;
use crate::names::{DEFAULT_CONTAINER_ANNOTATION, STATUS_ANNOTATION};
use crate::plan::Plan;
use crate::pod::{self, List};
use crate::situation::Situation;

/// Notes what was done, and which container `kubectl exec` means.
pub(super) fn patch(draft: &mut Draft, situation: &Situation<'_>, pod: &Value, plan: &Plan) {
    let present = pod.pointer("/metadata/annotations").filter(|all| all.is_object());
    let has = |key: &str| present.and_then(|all| all.get(key));
    let mut wanted = Map::new();
    let status = status(situation, plan);
    if has(STATUS_ANNOTATION).and_then(Value::as_str) != Some(status.as_str()) {
        wanted.insert(STATUS_ANNOTATION.to_owned(), status.into());
    }
    let first = pod.get("spec").and_then(first_container).filter(|_| has(DEFAULT_CONTAINER_ANNOTATION).is_none());
    if let Some(name) = first {
        wanted.insert(DEFAULT_CONTAINER_ANNOTATION.to_owned(), name.into());
    }
    if wanted.is_empty() {
        return;
    }
    if present.is_some() {
        for (key, value) in wanted {
            draft.add(format!("/metadata/annotations/{}", pod::escaped(&key)), value);
        }
    } else if pod.get("metadata").is_some_and(Value::is_object) {
        draft.add("/metadata/annotations".to_owned(), wanted.into());
    } else {
        draft.add("/metadata".to_owned(), json!({"annotations": wanted}));
    }
}

fn first_container(spec: &Value) -> Option<&str> {
    let mut names = pod::elements(spec, List::Main.field()).filter_map(|container| container.get("name")?.as_str());
    names.find(|name| *name != CONTAINER_NAME)
}

fn status(situation: &Situation<'_>, plan: &Plan) -> String {
    json!({
        "version": situation.rendering.version,
        "configuration": situation.rendering.configuration,
        "policy": plan.policy,
        "mode": situation.mode.name(),
        "egress": "advisory",
    })
    .to_string()
}
