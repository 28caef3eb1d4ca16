//! Are the volumes with our names the ones that we made? Each exactly once, with exactly our content.

use serde_json::Value;

use crate::genuine::difference as compare;
use crate::names::{POLICY_ANNOTATION, POLICY_VOLUME, VOLUMES};
use crate::pod;
use crate::rendering::Rendering;
use crate::situation::Situation;

/// The first difference between the pod's volumes with our names and those of `rendering`.
pub(super) fn difference(situation: &Situation<'_>, rendering: &Rendering, pod: &Value) -> Option<String> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let expected = volumes(rendering, policy(situation, pod));
    VOLUMES.iter().find_map(|name| {
        let is_named = |volume: &&Value| pod::text(volume, "/name") == Some(name);
        let mut found = pod::elements(spec, "volumes").filter(is_named);
        let path = format!("volume {name}");
        let difference = compare::difference(&path, "", expected.iter().find(is_named), found.next());
        difference.or_else(|| found.next().map(|_| format!("{path} is there twice")))
    })
}

/// The name of the ConfigMap that this pod's policy is in.
fn policy<'a>(situation: &Situation<'a>, pod: &'a Value) -> &'a str {
    let own = pod.pointer("/metadata/annotations").and_then(|all| all.get(POLICY_ANNOTATION)).and_then(Value::as_str);
    let allowed = situation.namespace.pod_policy.as_deref() == Some("allowed");
    own.filter(|_| allowed).or(situation.namespace.policy.as_deref()).unwrap_or(&situation.config.policy.config_map)
}

fn volumes(rendering: &Rendering, policy: &str) -> Vec<Value> {
    let mut volumes = rendering.volumes.clone();
    let own = volumes.iter_mut().find(|volume| pod::text(volume, "/name") == Some(POLICY_VOLUME));
    if let Some(name) = own.and_then(|volume| volume.pointer_mut("/configMap/name")) {
        *name = policy.into();
    }
    volumes
}
