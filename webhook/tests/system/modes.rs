//! The table of modes: five labels of a namespace, four of a pod, as real pods.

use crate::answer::Answer;
use crate::stage::{Space, Stage, is_injected, labelled, plain};

/// What has to happen to a pod.
enum Cell {
    /// No call, and the pod as it was.
    Untouched,
    /// The sidecar; both paths are called.
    Injected,
    /// Called, and the pod as it was; the reason, what the warning says, and whether the final pod is looked at.
    Skipped(&'static str, &'static str, bool),
    /// The reason, and what the refusal says.
    Refused(&'static str, &'static [&'static str]),
}

use Cell::{Injected, Refused, Skipped, Untouched};

const POD_LABEL: Cell =
    Refused("pod_label", &["label sandgate.dev/inject is \"yes\"", "write \"true\" or \"false\", or remove it"]);
const NAMESPACE_LABEL: Cell = Refused(
    "namespace_label",
    &["of namespace \"modes-invalid\" means nothing", "write enabled, required or disabled"],
);

/// By label of the namespace, then of the pod: none, "true", "false", another.
const TABLE: [(&str, &str, [Cell; 4]); 5] = [
    ("unlabelled", "", [Untouched, Injected, Untouched, POD_LABEL]),
    ("enabled", "enabled", [Injected, Injected, Skipped("opted_out", "", true), POD_LABEL]),
    (
        "required",
        "required",
        [
            Injected,
            Injected,
            Refused("opt_out", &["requires the sidecar", "remove the label sandgate.dev/inject=false"]),
            POD_LABEL,
        ],
    ),
    (
        "disabled",
        "disabled",
        [
            Untouched,
            Skipped("namespace_disabled", "is labelled sandgate.dev/inject=disabled, whatever the pod asks for", false),
            Untouched,
            POD_LABEL,
        ],
    ),
    ("invalid", "Required", [NAMESPACE_LABEL, NAMESPACE_LABEL, NAMESPACE_LABEL, NAMESPACE_LABEL]),
];

#[test]
fn each_cell_of_the_table_of_modes_is_called_answered_and_worded_as_it_says() {
    let stage = Stage::alone();
    for (mode, label, cells) in TABLE {
        let space = stage.namespace(&format!("modes-{mode}"), label);
        for (value, cell) in ["", "true", "false", "yes"].into_iter().zip(cells) {
            let name = format!("label-{value}").trim_end_matches('-').to_owned();
            let pod = if value.is_empty() { plain(&name) } else { labelled(&name, value) };
            let (answer, reviews) = stage.reviews_of(|| space.pod(&pod));
            check(mode, &cell, &answer, &reviews, &format!("namespace {mode}, pod {value:?}"));
        }
    }
}

fn check(mode: &str, cell: &Cell, answer: &Answer, reviews: &[String], place: &str) {
    let expected = match cell {
        Untouched => {
            is_untouched(answer, place);
            assert_eq!(answer.warned(), "", "{place}");
            vec![]
        }
        Injected => {
            is_injected(answer.accepted());
            let warnings: &[&str] = match mode {
                "required" => &["NET_RAW was dropped from workload", "egress is advisory: "],
                _ => &[],
            };
            assert_eq!(answer.warnings.len(), warnings.len(), "{place}: {}", answer.warned());
            crate::answer::contains(&answer.warned(), warnings);
            vec![format!("mutate/{mode} injected injected"), format!("validate/{mode} injected verified")]
        }
        Skipped(reason, warning, validated) => {
            is_untouched(answer, place);
            assert_eq!(answer.warnings.len(), usize::from(!warning.is_empty()), "{place}: {:?}", answer.warnings);
            assert!(answer.warned().contains(warning), "{place}: {:?}", answer.warnings);
            let paths = if *validated { &["mutate", "validate"][..] } else { &["mutate"] };
            paths.iter().map(|path| format!("{path}/{mode} skipped {reason}")).collect()
        }
        Refused(reason, parts) => {
            assert_eq!(answer.status, 403, "{place}");
            answer.refused_with(&[&format!("admission webhook \"{mode}.inject.sandgate.dev\" denied the request")]);
            answer.refused_with(parts);
            vec![format!("mutate/{mode} refused {reason}")]
        }
    };
    assert_eq!(reviews, expected, "{place}");
}

fn is_untouched(answer: &Answer, place: &str) {
    let pod = answer.accepted();
    assert!(pod["spec"].get("initContainers").is_none(), "{place}");
    assert!(pod["spec"]["containers"][0].get("env").is_none(), "{place}");
    assert!(pod["metadata"].get("annotations").is_none(), "{place}");
}

#[test]
fn host_network_windows_and_mirror_pods_are_skipped_with_a_warning_and_refused_where_required() {
    let stage = Stage::shared();
    let spaces = ["enabled", "required"].map(|mode| (mode, stage.namespace(&format!("unfit-{mode}"), mode)));
    let mut host = plain("host");
    host["spec"]["hostNetwork"] = true.into();
    let mut windows = plain("windows");
    windows["spec"]["os"] = serde_json::json!({"name": "windows"});
    let mut mirror = plain("mirror");
    mirror["metadata"]["annotations"] = serde_json::json!({"kubernetes.io/config.mirror": "any"});
    mirror["spec"]["nodeName"] = "any".into();
    let words = ["uses the node's network", "is for Windows", "mirrors a static one"];
    for (pod, words) in [host, windows, mirror].iter().zip(words) {
        for (mode, space) in &spaces {
            skipped_or_refused(mode, space, pod, words);
        }
    }
}

fn skipped_or_refused(mode: &str, space: &Space<'_>, pod: &serde_json::Value, words: &str) {
    let answer = space.pod(pod);
    if mode == "required" {
        return answer.refused_with(&["required.inject.sandgate.dev", words, "can't have the sidecar"]);
    }
    // Who may make a mirror pod is the NodeRestriction plugin's, which lets admins.
    is_untouched_spec(&answer);
    assert!(answer.warned().contains("no sidecar: the pod ") && answer.warned().contains(words), "{}", answer.warned());
}

fn is_untouched_spec(answer: &Answer) {
    assert!(answer.accepted()["spec"].get("initContainers").is_none());
}
