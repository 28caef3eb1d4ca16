//! What a pod of a required namespace may not do, because it would go around the sidecar or take it over.

use serde_json::Value;

use crate::decision::Refusal;
use crate::situation::Situation;

/// Everything in `pod` that evades the sidecar, each with a message of its own. For required namespaces only.
#[must_use]
pub fn check(_situation: &Situation<'_>, _pod: &Value) -> Vec<Refusal> {
    Vec::new()
}
