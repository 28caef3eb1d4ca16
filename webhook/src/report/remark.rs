//! What a person has to know about a namespace beside its pods: that none of them gets a sidecar, or that a label or
//! annotation does not mean what its author thinks. Pure.

use serde_json::Value;

use crate::mode::Mode;
use crate::names::INJECT_LABEL;
use crate::offline::EXEMPT;
use crate::unread::{Of, unread};

/// The remarks about the namespace `name`.
pub(super) fn remarks(name: &str, mode: Mode, namespace: &Value) -> Vec<String> {
    if EXEMPT.contains(&name) {
        return vec![format!("the webhook is never called for pods of {name}, whatever its label says")];
    }
    let of_label = match mode {
        Mode::Enabled | Mode::Required => None,
        Mode::Unlabelled => Some(format!(
            "namespace {name:?} has no label {INJECT_LABEL}: only pods that have the label {INJECT_LABEL}=true get a sidecar"
        )),
        Mode::Disabled => {
            Some(format!("namespace {name:?} is labelled {INJECT_LABEL}=disabled: none of its pods gets a sidecar"))
        }
        Mode::Invalid => Some(format!(
            "the label {INJECT_LABEL} of namespace {name:?} means nothing, and its pods are refused: write enabled, \
             required or disabled"
        )),
    };
    let unread = unread(namespace, Of::Namespace).into_iter().map(|text| format!("namespace {name:?}: {text}"));
    of_label.into_iter().chain(unread).collect()
}
