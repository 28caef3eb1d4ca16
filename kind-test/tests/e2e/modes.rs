//! Who gets the sidecar: five labels of a namespace, four of a pod, as kubectl shows the answers.

use sandgate_kind_test::kubectl::Printed;
use sandgate_kind_test::objects::{labelled, pod};
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::{Space, is_injected, is_ready};
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::eventually;

pub(crate) const TESTS: &[Test] = tests!(Shared:
    each_cell_of_the_table_of_modes_is_as_kubectl_shows_it,
    a_namespace_that_is_applied_together_with_its_pods_has_its_mode_from_the_first,
    a_pod_without_a_sidecar_runs_as_it_would_without_sandgate,
    a_pod_on_the_nodes_network_is_skipped_with_a_warning_and_runs,
);

/// What happens to a pod.
enum Cell {
    Untouched,
    Injected,
    /// As it was, and what the warning says, if there is one.
    Skipped(&'static str),
    /// What the refusal says.
    Refused(&'static str),
}

use Cell::{Injected, Refused, Skipped, Untouched};

const POD_LABEL: Cell =
    Refused("the pod's label sandgate.dev/inject is \"yes\": write \"true\" or \"false\", or remove it");
const NAMESPACE_LABEL: Cell = Refused("means nothing");

/// By label of the namespace, then of the pod: none, "true", "false", another.
const TABLE: [(&str, [Cell; 4]); 5] = [
    ("", [Untouched, Injected, Untouched, POD_LABEL]),
    ("enabled", [Injected, Injected, Skipped(""), POD_LABEL]),
    (
        "required",
        [Injected, Injected, Refused("requires the sidecar: remove the label sandgate.dev/inject=false"), POD_LABEL],
    ),
    ("disabled", [Untouched, Skipped("is labelled sandgate.dev/inject=disabled"), Untouched, POD_LABEL]),
    ("Required", [NAMESPACE_LABEL, NAMESPACE_LABEL, NAMESPACE_LABEL, NAMESPACE_LABEL]),
];

fn each_cell_of_the_table_of_modes_is_as_kubectl_shows_it(stage: &Stage) {
    for (mode, cells) in TABLE {
        let space = stage.namespace(mode);
        for (value, cell) in ["", "true", "false", "yes"].into_iter().zip(cells) {
            let name = if value.is_empty() { "none" } else { value };
            let pod = if value.is_empty() { pod(name) } else { labelled(pod(name), value) };
            check(&space, name, &cell, space.try_apply(&pod));
        }
    }
}

#[track_caller]
fn check(space: &Space, name: &str, cell: &Cell, printed: Printed) {
    match cell {
        Refused(text) => return printed.refused_with(&["admission webhook", "denied the request", text]),
        Skipped(warning) => printed.says(&[warning]),
        Untouched => assert_eq!(printed.errors, ""),
        Injected => {}
    }
    let _applied = printed.accepted();
    assert_eq!(is_injected(&space.ready(name)), matches!(cell, Injected), "{} {name}", space.name);
}

fn a_namespace_that_is_applied_together_with_its_pods_has_its_mode_from_the_first(stage: &Stage) {
    // Ten times: the webhook has not heard of the namespace when the pod comes.
    for _ in 0..10 {
        let name = stage.next_name();
        let namespace = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{sandgate.dev/inject: required}}}}\n---\n"
        );
        let account =
            format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: own, namespace: {name}}}\n---\n");
        let mut pod = pod("one");
        pod["metadata"]["namespace"] = name.as_str().into();
        pod["spec"]["serviceAccountName"] = "own".into();
        let space = Space::new(name);
        let _applied = space.kubectl_with("apply -f -", &format!("{namespace}{account}{pod}")).accepted();
        assert!(is_injected(&space.pod("one")));
    }
}

fn a_pod_without_a_sidecar_runs_as_it_would_without_sandgate(stage: &Stage) {
    let space = stage.namespace("enabled");
    space.start(&labelled(pod("out"), "false"));
    let printed = space.sh("out", "env | grep -i proxy; ls /etc/proxy-ca; true").accepted();
    assert_eq!(printed.output, "");
    let plain = stage.namespace("");
    plain.start(&pod("one"));
    // Labels that change later change nothing of a pod that runs.
    let _labelled = plain.kubectl("label pod one sandgate.dev/inject=true").accepted();
    eventually("the pod is still ready", || if is_ready(&plain.pod("one")) { Ok(()) } else { Err("no".to_owned()) });
    assert!(!is_injected(&plain.pod("one")));
}

fn a_pod_on_the_nodes_network_is_skipped_with_a_warning_and_runs(stage: &Stage) {
    let space = stage.namespace("enabled");
    let mut host = pod("one");
    host["spec"]["hostNetwork"] = true.into();
    space.try_apply(&host).accepted().says(&["no sidecar: the pod uses the node's network"]);
    assert!(!is_injected(&space.ready("one")));
}
