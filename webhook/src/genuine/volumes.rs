//! Are the volumes with our names the ones that we made? Each exactly once, with exactly our content.

use serde_json::Value;

use crate::genuine::{Moment, difference as compare};
use crate::names::{POLICY_VOLUME, VOLUMES};
use crate::situation::Situation;
use crate::{plan, pod};

/// A pod's volumes with our names. A pod may have tens of thousands of others.
pub(super) struct Named<'a> {
    /// In the order of [`VOLUMES`]: the first of each name, and a second if there is one.
    found: [(Option<&'a Value>, Option<&'a Value>); VOLUMES.len()],
}

impl<'a> Named<'a> {
    pub(super) fn of(pod: &'a Value) -> Self {
        let spec = pod.get("spec").unwrap_or(&Value::Null);
        let found = VOLUMES.map(|name| {
            let mut named = pod::elements(spec, "volumes").filter(|volume| is_named(volume, name));
            (named.next(), named.next())
        });
        Self { found }
    }

    /// The first difference to the volumes that are `expected`.
    pub(super) fn difference(&self, expected: &[Value]) -> Option<String> {
        VOLUMES.iter().zip(&self.found).find_map(|(name, (first, second))| {
            let path = format!("volume {name}");
            let expected = expected.iter().find(|volume| is_named(volume, name));
            let difference = compare::difference(&path, "", expected, *first);
            difference.or_else(|| second.map(|_| format!("{path} is there twice")))
        })
    }
}

fn is_named(volume: &Value, name: &str) -> bool {
    pod::text(volume, "/name") == Some(name)
}

/// The ConfigMap that the pod's policy has to be in: what its namespace says now, or what the running pod has.
pub(super) fn policy(situation: &Situation<'_>, pod: &Value, moment: Moment) -> String {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let has = || pod::text(pod::named(spec, "volumes", POLICY_VOLUME)?.1, "/configMap/name");
    match moment {
        Moment::Running => has().unwrap_or_default().to_owned(),
        // A name that can't be followed refuses the pod elsewhere, with its reason.
        Moment::Creation => plan::policy(situation, pod).unwrap_or_default(),
    }
}
