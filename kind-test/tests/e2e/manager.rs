//! The pods of a sandbox manager, as it builds them: it knows nothing of Sandgate.

use sandgate_kind_test::objects::{container, pod_of, with};
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::{container_of, is_injected, status_of};
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use serde_json::{Value, json};

pub(crate) const TESTS: &[Test] = tests!(Shared:
    the_managers_pod_runs_with_the_sidecar_and_reaches_what_is_allowed,
);

/// A pod as the manager makes it: owned, or a warm one that nobody owns yet.
fn managers_pod(name: &str, owner: Option<&str>) -> Value {
    let mut workload = container("workload");
    workload["ports"] = json!([{"containerPort": 8666}]);
    workload["resources"] =
        json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}});
    let spec = json!({"runtimeClassName": "kata-qemu", "restartPolicy": "Never", "containers": [workload]});
    let mut labels = json!({"app": "kata-manager", "runtime": "kata"});
    if let Some(owner) = owner {
        labels["sandbox"] = owner.into();
    }
    with(pod_of(name, spec), &json!({"metadata": {"labels": labels}}))
}

fn the_managers_pod_runs_with_the_sidecar_and_reaches_what_is_allowed(stage: &Stage) {
    let space = stage.namespace("required");
    for (name, owner) in [("kata-sandbox-1", Some("1")), ("kata-sandbox-a1b2c3d4", None)] {
        let pod = space.start(&managers_pod(name, owner));
        assert!(is_injected(&pod), "{pod}");
        assert_eq!(pod["spec"]["runtimeClassName"], "kata-qemu");
        assert_eq!(container_of(&pod, "workload")["image"], container("workload")["image"]);
        let printed = space.sh(name, &format!("curl -sS https://{}/zen", Origins::shared().allowed()));
        printed.accepted().shows(&["Keep it logically awesome."]);
    }
    // A warm pod is taken by its labels, while it runs.
    let _labelled = space.kubectl("label pod kata-sandbox-a1b2c3d4 sandbox=2").accepted();
    assert_eq!(space.pods("sandbox=2").len(), 1);
    assert_eq!(status_of(&space.pod("kata-sandbox-a1b2c3d4"), "workload")["restartCount"], 0);
}
