//! Are the volumes with our names the ones that we made? Each exactly once, with exactly our content.

use serde_json::Value;

use crate::genuine::{Moment, difference as compare};
use crate::names::{POLICY_VOLUME, VOLUMES};
use crate::rendering::Rendering;
use crate::situation::Situation;
use crate::{plan, pod};

/// The first difference between the pod's volumes with our names and those of `rendering`.
pub(super) fn difference(
    situation: &Situation<'_>,
    rendering: &Rendering,
    pod: &Value,
    moment: Moment,
) -> Option<String> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let expected = rendering.volumes(&policy(situation, spec, pod, moment));
    VOLUMES.iter().find_map(|name| {
        let is_named = |volume: &&Value| pod::text(volume, "/name") == Some(name);
        let mut found = pod::elements(spec, "volumes").filter(is_named);
        let path = format!("volume {name}");
        let difference = compare::difference(&path, "", expected.iter().find(is_named), found.next());
        difference.or_else(|| found.next().map(|_| format!("{path} is there twice")))
    })
}

/// The ConfigMap that the pod's policy has to be in: what its namespace says now, or what the running pod has.
fn policy(situation: &Situation<'_>, spec: &Value, pod: &Value, moment: Moment) -> String {
    let has = || pod::text(pod::named(spec, "volumes", POLICY_VOLUME)?.1, "/configMap/name");
    match moment {
        Moment::Running => has().unwrap_or_default().to_owned(),
        // A name that can't be followed refuses the pod elsewhere, with its reason.
        Moment::Creation => plan::policy(situation, pod).unwrap_or_default(),
    }
}
