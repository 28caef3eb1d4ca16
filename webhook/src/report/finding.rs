//! One pod that is listed, and why. Pure: a pod and what it is compared with in, a row out.

use sandgate_contract::CONTAINER_NAME;
use serde_json::{Value, json};

use super::compare::{Comparison, image};
use crate::genuine::{self, Genuine};
use crate::mode::{Mode, PodLabel, Wanted, wanted};
use crate::names::MIRROR_ANNOTATION;
use crate::namespace::Namespace;
use crate::offline::plain;
use crate::pod;
use crate::situation::Situation;

/// A pod without a sidecar, or with one that is not the current one.
#[derive(Debug, PartialEq)]
pub(super) struct Finding {
    namespace: String,
    pod: String,
    owner: Option<(String, String)>,
    what: What,
    image: Option<String>,
    /// Of Sandgate: of the rendering that it was made by, else what the image is tagged with.
    version: Option<String>,
    why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Missing,
    Old,
    Foreign,
}

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Old => "old",
            Self::Foreign => "foreign",
        }
    }
}

impl Finding {
    /// What there is to say about a pod; nothing about one that is as it should be, has ended, or is on its way out.
    pub(super) fn of(namespace: &str, mode: Mode, pod: &Value, comparison: &Comparison) -> Option<Self> {
        let ended = matches!(pod::text(pod, "/status/phase"), Some("Succeeded" | "Failed"));
        if ended || pod.pointer("/metadata/deletionTimestamp").is_some() || !belongs(mode, pod) {
            return None;
        }
        let Judged { what, version, why } = judge(namespace, mode, pod, comparison)?;
        let sidecar = pod.get("spec").and_then(|spec| pod::containers(spec).find(|it| it.name() == CONTAINER_NAME));
        Some(Self {
            namespace: namespace.to_owned(),
            pod: pod::text(pod, "/metadata/name").unwrap_or_default().to_owned(),
            owner: owner(pod),
            what,
            version: version.or_else(|| sidecar.as_ref().and_then(|it| tag(image(it.json)).map(str::to_owned))),
            image: sidecar.map(|container| image(container.json).to_owned()),
            why,
        })
    }

    /// The row for programs.
    pub(super) fn json(&self) -> Value {
        let owner = self.owner.as_ref().map(|(kind, name)| json!({ "kind": kind, "name": name }));
        json!({
            "namespace": self.namespace, "pod": self.pod, "owner": owner, "finding": self.what.name(),
            "image": self.image, "version": self.version, "why": self.why,
        })
    }

    fn cells(&self) -> [String; 6] {
        let owner = self.owner.as_ref().map_or("none (bare)".to_owned(), |(kind, name)| format!("{kind}/{name}"));
        let image = self.image.clone().unwrap_or_else(|| "-".to_owned());
        [&self.namespace, &self.pod, &owner, self.what.name(), &image, &self.why].map(plain)
    }
}

/// The rows for people.
pub(super) fn table(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "every pod that should have a sidecar has the current one\n".to_owned();
    }
    let head = ["NAMESPACE", "POD", "OWNER", "FINDING", "IMAGE", "WHY"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(findings.iter().map(Finding::cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..5).map(width).collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}   "));
        format!("{}{}\n", cells.collect::<String>(), row[5])
    };
    rows.iter().map(line).collect()
}

/// Whether a pod should have the sidecar. Where it is required every pod should, whatever it says.
fn belongs(mode: Mode, pod: &Value) -> bool {
    let mirror = pod.pointer("/metadata/annotations").is_some_and(|all| all.get(MIRROR_ANNOTATION).is_some());
    let selector = pod.pointer("/spec/nodeSelector").and_then(|labels| labels.get("kubernetes.io/os"));
    let windows = pod::text(pod, "/spec/os/name") == Some("windows") || selector.is_some_and(|os| os == "windows");
    let impossible = mirror || windows || pod::is_true(pod, "/spec/hostNetwork");
    match wanted(mode, PodLabel::of(pod)) {
        Wanted::Inject => mode == Mode::Required || !impossible,
        Wanted::RefuseOptOut | Wanted::RefusePodLabel | Wanted::RefuseNamespaceLabel => true,
        Wanted::Nothing | Wanted::Skip => false,
    }
}

/// What was found out about a pod.
struct Judged {
    what: What,
    /// Of the rendering that made its sidecar, where that is known.
    version: Option<String>,
    why: String,
}

impl Judged {
    fn new(what: What, why: impl Into<String>) -> Self {
        Self { what, version: None, why: why.into() }
    }
}

fn judge(namespace: &str, mode: Mode, pod: &Value, comparison: &Comparison) -> Option<Judged> {
    let Some((rendering, accepted)) = comparison.renderings.split_first() else {
        return by_image(pod, &comparison.config.sidecar.image);
    };
    let namespace = Namespace { name: namespace.to_owned(), ..Namespace::default() };
    let situation = Situation { mode, namespace: &namespace, config: &comparison.config, rendering, accepted };
    // Policy and resources are its namespace's and its own affair, and may have changed since.
    match genuine::running_sidecar(&situation, pod) {
        Genuine::Current { .. } => None,
        Genuine::Absent => Some(Judged::new(What::Missing, "there is no sidecar")),
        Genuine::Accepted { rendering, .. } => {
            let why = format!("made by version {}, rendering {}", rendering.version, rendering.hash());
            Some(Judged { version: Some(rendering.version.clone()), ..Judged::new(What::Old, why) })
        }
        Genuine::Ours { difference, .. } => Some(Judged::new(What::Old, difference)),
        Genuine::Foreign { place, difference } => Some(Judged::new(What::Foreign, format!("{place}: {difference}"))),
    }
}

fn by_image(pod: &Value, expected: &str) -> Option<Judged> {
    let sidecar = pod.get("spec").and_then(|spec| pod::named(spec, "initContainers", CONTAINER_NAME));
    match sidecar {
        None => Some(Judged::new(What::Missing, "there is no sidecar")),
        Some((_, container)) if image(container) == expected => None,
        Some(_) => Some(Judged::new(What::Old, format!("the image is not {expected}"))),
    }
}

/// The tag of an image's name, which has none where it has a digest alone.
fn tag(image: &str) -> Option<&str> {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    last.split_once(':').map(|(_, tag)| tag)
}

/// The controller that would make the pod anew; none for a bare pod.
fn owner(pod: &Value) -> Option<(String, String)> {
    let references = pod::elements(pod.get("metadata")?, "ownerReferences");
    let controller = references.into_iter().find(|owner| pod::is_true(owner, "/controller"))?;
    let text = |pointer| pod::text(controller, pointer).unwrap_or_default().to_owned();
    Some((text("/kind"), text("/name")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Sample, with};

    #[test]
    fn a_sidecar_is_current_whatever_policy_and_resources_its_namespace_chose() {
        let mut sample = Sample::new();
        sample.namespace.policy = Some("strict".to_owned());
        sample.namespace.sidecar_resources = Some(r#"{"limits":{"memory":"16Gi"}}"#.to_owned());
        let (config, renderings) = (sample.config.clone(), vec![sample.rendering.clone()]);
        let comparison = Comparison { config, renderings, without: String::new() };
        let what = |pod: &Value| Finding::of("sandboxes", Mode::Required, pod, &comparison).map(|finding| finding.what);
        let pod = sample.pod();
        assert!(pod.to_string().contains("\"strict\"") && pod.to_string().contains("\"16Gi\""), "{pod}");
        assert_eq!(what(&pod), None);
        let older = with(&pod, "/spec/initContainers/0/image", json!("ghcr.io/sandgate/sidecar:0.0.1"));
        assert_eq!(what(&older), Some(What::Old));
    }

    #[test]
    fn a_pod_belongs_by_the_table_of_modes_and_by_what_it_can_have() {
        let plain = json!({"metadata": {}, "spec": {}});
        let host = json!({"spec": {"hostNetwork": true}});
        let out = json!({"metadata": {"labels": {"sandgate.dev/inject": "false"}}});
        let asks = json!({"metadata": {"labels": {"sandgate.dev/inject": "true"}}});
        for (mode, pod, expected) in [
            (Mode::Enabled, &plain, true),
            (Mode::Enabled, &host, false),
            (Mode::Enabled, &out, false),
            (Mode::Required, &plain, true),
            (Mode::Required, &host, true),
            (Mode::Required, &out, true),
            (Mode::Unlabelled, &plain, false),
            (Mode::Unlabelled, &asks, true),
            (Mode::Disabled, &asks, false),
            (Mode::Invalid, &plain, true),
        ] {
            assert_eq!(belongs(mode, pod), expected, "{mode:?} {pod}");
        }
    }

    #[test]
    fn the_owner_is_the_controller_and_no_other_reference() {
        let pod = json!({"metadata": {"ownerReferences": [
            {"kind": "Node", "name": "n"},
            {"kind": "ReplicaSet", "name": "web-1", "controller": true},
        ]}});
        assert_eq!(owner(&pod), Some(("ReplicaSet".to_owned(), "web-1".to_owned())));
        assert_eq!(owner(&json!({"metadata": {}})), None);
    }

    #[test]
    fn the_version_is_that_of_the_rendering_or_else_the_images_tag() {
        let sample = Sample::new();
        let old = crate::rendering::Rendering { version: "0.0.9".to_owned(), ..sample.rendering.clone() };
        let new = with(&serde_json::to_value(&old).unwrap(), "/container/image", json!("example/sidecar:2"));
        let renderings = vec![serde_json::from_value(new).unwrap(), old];
        let comparison = Comparison { config: sample.config.clone(), renderings, without: String::new() };
        let version = |pod: &Value| Finding::of("sandboxes", Mode::Required, pod, &comparison).unwrap().version;
        let pod = sample.pod();
        assert_eq!(version(&pod).as_deref(), Some("0.0.9"));
        for (image, expected) in [
            ("example/sidecar:0.0.1", Some("0.0.1")),
            ("registry.example:5000/sidecar:0.0.1@sha256:00", Some("0.0.1")),
            ("registry.example:5000/sidecar@sha256:00", None),
            ("sidecar", None),
        ] {
            let other = with(&pod, "/spec/initContainers/0/image", json!(image));
            assert_eq!(version(&other).as_deref(), expected, "{image}");
        }
        assert_eq!(version(&json!({"metadata": {}, "spec": {}})), None, "there is no sidecar");
    }

    #[test]
    fn what_a_pods_author_wrote_cannot_steer_the_terminal() {
        let finding = Finding {
            namespace: "a".to_owned(),
            pod: "p".to_owned(),
            owner: None,
            what: What::Foreign,
            image: Some("x\u{1b}[2J\ny".to_owned()),
            version: None,
            why: String::new(),
        };
        let table = table(&[finding]);
        assert!(!table.contains('\u{1b}') && table.lines().count() == 2, "{table:?}");
    }

    #[test]
    fn a_table_has_a_column_for_each_matter_and_says_when_it_is_empty() {
        assert_eq!(table(&[]), "every pod that should have a sidecar has the current one\n");
        let finding = Finding {
            namespace: "a".to_owned(),
            pod: "warm-1".to_owned(),
            owner: None,
            what: What::Missing,
            image: None,
            version: None,
            why: "there is no sidecar".to_owned(),
        };
        assert_eq!(
            table(&[finding]),
            "NAMESPACE   POD      OWNER         FINDING   IMAGE   WHY\n\
             a           warm-1   none (bare)   missing   -       there is no sidecar\n"
        );
    }
}
