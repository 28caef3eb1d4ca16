//! The example of a namespace that requires the sidecar, applied as its comment says, and a pod as the Manager builds it.

use std::path::Path;

use sandgate_testkit::api_server::kustomize;
use serde_json::json;

use crate::stage::{Stage, is_injected};

#[test]
fn the_managers_pod_comes_up_with_the_sidecar_in_the_example_namespace() {
    let stage = Stage::shared();
    // Under a name of its own, for others test in the Manager's namespace.
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/examples/required-namespace");
    let example = kustomize(&example).unwrap().replace("sandbox-containers", "example");
    stage.user("ada", &["system:masters"]).run_with("apply -f -", &example).accepted();
    let account = json!({"metadata": {"name": "default"}});
    stage.post("/api/v1/namespaces/example/serviceaccounts", &account).accepted();
    // No controller counts here, and a quota that nobody counts for admits nothing.
    stage.user("ada", &["system:masters"]).run("-n example delete quota sandboxes").accepted();

    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "runAsUser": 10000, "seccompProfile": {"type": "RuntimeDefault"}});
    let pod = json!({"metadata": {"name": "sandbox", "labels": {"app": "kata-manager", "runtime": "kata"}},
        "spec": {"restartPolicy": "Never",
            "containers": [{"name": "workload", "image": "any", "securityContext": security}]}});
    let answer = stage.post("/api/v1/namespaces/example/pods", &pod);
    let made = answer.accepted();
    is_injected(made);
    assert!(made["spec"]["volumes"].to_string().contains("sandgate-policy"), "{}", made["spec"]["volumes"]);
    // The LimitRange gave the workload its amounts, and left the sidecar's alone.
    assert_eq!(made["spec"]["containers"][0]["resources"]["limits"], json!({"cpu": "1", "memory": "2Gi"}));
    let sidecar = &made["spec"]["initContainers"][0];
    assert_eq!(sidecar["resources"]["limits"], json!({"cpu": "1", "memory": "128Mi"}));
    let status = made["metadata"]["annotations"]["sandgate.dev/status"].as_str().unwrap();
    assert!(status.contains("\"advisory\""), "{status}");
}
