//! Who gets the sidecar: the label of a namespace against the label of a pod, one table.

use serde_json::Value;

use crate::names::INJECT_LABEL;

/// What a namespace's label says. On the admission path it comes from the path that the API server called, because the
/// API server has just evaluated the selector; our copy of the namespace may be older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// There is no label.
    Unlabelled,
    /// Pods get the sidecar unless they say no.
    Enabled,
    /// Pods get the sidecar or don't get in.
    Required,
    /// Pods don't get it.
    Disabled,
    /// The label has a value that means nothing; probably a typing mistake.
    Invalid,
}

impl Mode {
    /// Every mode, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Unlabelled, Self::Enabled, Self::Required, Self::Disabled, Self::Invalid];

    /// The name in paths, metrics, annotations and texts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unlabelled => "unlabelled",
            Self::Enabled => "enabled",
            Self::Required => "required",
            Self::Disabled => "disabled",
            Self::Invalid => "invalid",
        }
    }

    /// The mode of a path's last segment, as [`Mode::name`] writes it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// The mode of a namespace with this label, for commands that have no API server to tell.
    #[must_use]
    pub fn of_label(label: Option<&str>) -> Self {
        match label {
            None => Self::Unlabelled,
            Some("enabled") => Self::Enabled,
            Some("required") => Self::Required,
            Some("disabled") => Self::Disabled,
            Some(_) => Self::Invalid,
        }
    }
}

/// What a pod's label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodLabel {
    /// There is none.
    None,
    /// `"true"`.
    True,
    /// `"false"`.
    False,
    /// Anything else, also what is no string.
    Other,
}

impl PodLabel {
    /// The label of a pod, or of a template, as JSON.
    #[must_use]
    pub fn of(pod: &Value) -> Self {
        match pod.pointer("/metadata/labels").and_then(|labels| labels.get(INJECT_LABEL)) {
            None => Self::None,
            Some(Value::String(text)) if text == "true" => Self::True,
            Some(Value::String(text)) if text == "false" => Self::False,
            Some(_) => Self::Other,
        }
    }
}

/// What the two labels ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The sidecar.
    Inject,
    /// No sidecar, and nothing worth a word: in a cluster the webhook is not even called.
    Nothing,
    /// No sidecar, although somebody may expect one.
    Skip,
    /// No pod: the namespace requires the sidecar and the pod declines it.
    RefuseOptOut,
    /// No pod: the pod's label means nothing.
    RefusePodLabel,
    /// No pod: the namespace's label means nothing.
    RefuseNamespaceLabel,
}

/// The table.
#[must_use]
pub fn wanted(namespace: Mode, pod: PodLabel) -> Wanted {
    match (namespace, pod) {
        (Mode::Invalid, _) => Wanted::RefuseNamespaceLabel,
        (_, PodLabel::Other) => Wanted::RefusePodLabel,
        (Mode::Unlabelled, PodLabel::True) | (Mode::Enabled | Mode::Required, PodLabel::None | PodLabel::True) => {
            Wanted::Inject
        }
        (Mode::Required, PodLabel::False) => Wanted::RefuseOptOut,
        (Mode::Enabled, PodLabel::False) | (Mode::Disabled, PodLabel::True) => Wanted::Skip,
        (Mode::Unlabelled | Mode::Disabled, PodLabel::None | PodLabel::False) => Wanted::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_cell_of_the_table_says_what_the_documentation_says() {
        use Wanted::{Inject, Nothing, RefuseNamespaceLabel, RefuseOptOut, RefusePodLabel, Skip};
        let pods = [PodLabel::None, PodLabel::True, PodLabel::False, PodLabel::Other];
        let table = [
            (Mode::Unlabelled, [Nothing, Inject, Nothing, RefusePodLabel]),
            (Mode::Enabled, [Inject, Inject, Skip, RefusePodLabel]),
            (Mode::Required, [Inject, Inject, RefuseOptOut, RefusePodLabel]),
            (Mode::Disabled, [Nothing, Skip, Nothing, RefusePodLabel]),
            (Mode::Invalid, [RefuseNamespaceLabel; 4]),
        ];
        for (mode, row) in table {
            for (pod, expected) in pods.into_iter().zip(row) {
                assert_eq!(wanted(mode, pod), expected, "{mode:?} {pod:?}");
            }
        }
    }

    #[test]
    fn a_label_is_true_or_false_as_a_string_and_else_means_nothing() {
        let pod = |label: Value| json!({"metadata": {"labels": {INJECT_LABEL: label}}});
        assert_eq!(PodLabel::of(&pod("true".into())), PodLabel::True);
        assert_eq!(PodLabel::of(&pod("false".into())), PodLabel::False);
        for odd in [json!("True"), json!(""), json!(true), Value::Null] {
            assert_eq!(PodLabel::of(&pod(odd.clone())), PodLabel::Other, "{odd}");
        }
        for without in [json!({}), json!({"metadata": null}), json!({"metadata": {"labels": null}})] {
            assert_eq!(PodLabel::of(&without), PodLabel::None, "{without}");
        }
    }

    #[test]
    fn names_of_modes_are_read_back() {
        for mode in Mode::ALL {
            assert_eq!(Mode::from_name(mode.name()), Some(mode));
        }
        assert_eq!(Mode::from_name("Enabled"), None);
        assert_eq!(Mode::of_label(Some("Required")), Mode::Invalid);
    }
}
