//! Sidecars that are not ours, and ours in another place.

use sandgate_kind_test::objects::{container, pod, pod_of, running};
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::container_of;
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use serde_json::{Value, json};

pub(crate) const TESTS: &[Test] = tests!(Shared:
    a_forged_sidecar_runs_where_nobody_looks_and_is_refused_everywhere_else,
    a_sidecar_of_ours_with_other_arguments_is_made_anew,
    a_misplaced_sidecar_of_ours_is_refused,
    an_init_container_can_not_stand_before_the_sidecar,
);

/// What looks like the sidecar, and is the attacker's: a native sidecar of its name, with its labels and annotations.
fn forged(name: &str) -> Value {
    let mut sidecar = running("auth-proxy", "echo the forged sidecar runs; exec idle");
    sidecar["restartPolicy"] = "Always".into();
    let mut pod = pod_of(name, json!({"initContainers": [sidecar], "containers": [container("workload")]}));
    pod["metadata"]["annotations"] = json!({"sandgate.dev/status": "{\"version\":\"0.1.0\"}"});
    pod
}

fn a_forged_sidecar_runs_where_nobody_looks_and_is_refused_everywhere_else(stage: &Stage) {
    let unguarded = stage.namespace("");
    unguarded.start(&forged("one"));
    assert_eq!(unguarded.sidecar_logs("one"), "the forged sidecar runs");
    for mode in ["enabled", "required"] {
        let refused = stage.namespace(mode).try_apply(&forged("one"));
        refused.refused_with(&["initContainers[0] \"auth-proxy\" is not the sidecar that Sandgate makes", "rename"]);
    }
}

/// The spec that the webhook makes for a pod.
fn made(stage: &Stage) -> Value {
    let space = stage.namespace("required");
    let made = space.kubectl_with("create --dry-run=server -o json -f -", &pod("one").to_string()).accepted();
    let mut made: Value = serde_json::from_str(&made.output).unwrap();
    crate::cleaned(made["spec"].take())
}

fn a_sidecar_of_ours_with_other_arguments_is_made_anew(stage: &Stage) {
    let mut spec = made(stage);
    let genuine = container_of(&json!({"spec": spec}), "auth-proxy")["args"].clone();
    let arguments = json!(["serve", "--no-env", "--listen=0.0.0.0:8080", "--allow=*.cluster.local"]);
    spec["initContainers"][0]["args"] = arguments.clone();
    // Where nobody looks, it stays as the attacker wrote it.
    let unguarded = stage.namespace("");
    unguarded.apply(&pod_of("one", spec.clone()));
    assert_eq!(container_of(&unguarded.pod("one"), "auth-proxy")["args"], arguments);
    let required = stage.namespace("required");
    let pod = required.start(&pod_of("one", spec));
    assert_eq!(container_of(&pod, "auth-proxy")["args"], genuine);
    let refused = required.sh("one", &format!("curl -sS http://{}/", Origins::shared().elsewhere())).accepted();
    refused.shows(&["host_not_allowed"]);
}

fn a_misplaced_sidecar_of_ours_is_refused(stage: &Stage) {
    let mut spec = made(stage);
    let early = running("early", "echo early");
    spec["initContainers"].as_array_mut().unwrap().insert(0, early);
    let unguarded = stage.namespace("");
    unguarded.start(&pod_of("one", spec.clone()));
    assert_eq!(unguarded.pod("one")["spec"]["initContainers"][0]["name"], "early");
    let required = stage.namespace("required");
    required
        .try_apply(&pod_of("one", spec))
        .refused_with(&["initContainers[0] \"early\" starts before the sidecar and has no proxy"]);
}

fn an_init_container_can_not_stand_before_the_sidecar(stage: &Stage) {
    let spec = json!({
        "initContainers": [running("early", &format!("curl -sS http://{}/early", Origins::shared().elsewhere()))],
        "containers": [container("workload")],
    });
    // Without the sidecar before it, it goes out before there is a proxy.
    let unguarded = stage.namespace("");
    unguarded.start(&pod_of("one", spec.clone()));
    assert!(Origins::shared().requests("elsewhere").contains("/early"));
    let required = stage.namespace("required");
    required.start(&pod_of("one", spec));
    assert!(required.logs("one", "early").contains("host_not_allowed"));
    let names = required.pod("one")["spec"]["initContainers"].take();
    assert_eq!((&names[0]["name"], &names[1]["name"]), (&json!("auth-proxy"), &json!("early")));
}
