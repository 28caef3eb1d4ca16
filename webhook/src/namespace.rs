//! What the annotations of a namespace say about its pods. Read from metadata alone, and never a reason to inject or
//! not: that is the mode's, which comes with the call.

use std::collections::BTreeMap;

use crate::names::{POD_POLICY_ANNOTATION, POLICY_ANNOTATION, RESOURCES_ANNOTATION};

/// A namespace as the decision needs it. The texts are as they stand there, unchecked: a mistake in one refuses pods
/// with a message that names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// `sandgate.dev/policy`.
    pub policy: Option<String>,
    /// `sandgate.dev/pod-policy`.
    pub pod_policy: Option<String>,
    /// `sandgate.dev/sidecar-resources`.
    pub sidecar_resources: Option<String>,
}

impl Namespace {
    /// From a namespace's name and annotations.
    #[must_use]
    pub fn new(name: &str, annotations: &BTreeMap<String, String>) -> Self {
        let text = |key| annotations.get(key).cloned();
        Self {
            name: name.to_owned(),
            policy: text(POLICY_ANNOTATION),
            pod_policy: text(POD_POLICY_ANNOTATION),
            sidecar_resources: text(RESOURCES_ANNOTATION),
        }
    }
}
