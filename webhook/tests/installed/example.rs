//! The example of a namespace, applied as its comment says, and a pod as the Manager builds it.

use serde_json::json;

use crate::cluster::{Cluster, manifests};

#[test]
fn the_managers_pod_comes_up_with_the_sidecar_in_the_example_namespace() {
    let cluster = Cluster::start();
    cluster.admin.run(&["apply", "-k", manifests().join("examples/required-namespace").to_str().unwrap()]).unwrap();
    let namespace = ["-n", "sandbox-containers"];
    cluster.admin.run(&[&namespace[..], &["create", "serviceaccount", "default"]].concat()).unwrap();
    // No controller counts here, and a quota that nobody counts for admits nothing.
    cluster.admin.run(&[&namespace[..], &["delete", "quota", "sandboxes"]].concat()).unwrap();
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "runAsUser": 10000, "seccompProfile": {"type": "RuntimeDefault"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "sandbox", "labels": {"app": "kata-manager", "runtime": "kata"}},
        "spec": {"restartPolicy": "Never",
            "containers": [{"name": "workload", "image": "any", "securityContext": security}]}});
    cluster.create(&cluster.edit, "sandbox-containers", &pod.to_string()).unwrap();

    let made = cluster.pod("sandbox-containers", "sandbox");
    let sidecar = &made["spec"]["initContainers"][0];
    assert_eq!((&sidecar["name"], &sidecar["restartPolicy"]), (&json!("auth-proxy"), &json!("Always")));
    assert!(made["spec"]["volumes"].to_string().contains("sandgate-policy"), "{}", made["spec"]["volumes"]);
    // The LimitRange gave the workload its amounts, and left the sidecar's alone.
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(resources["limits"], json!({"cpu": "1", "memory": "2Gi"}));
    assert_eq!(sidecar["resources"]["limits"], json!({"cpu": "1", "memory": "128Mi"}));
    let status = made["metadata"]["annotations"]["sandgate.dev/status"].as_str().unwrap();
    assert!(status.contains("\"advisory\""), "{status}");
}
