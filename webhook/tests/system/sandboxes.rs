//! The pods of the sandbox Manager, in its namespace.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::stage::{Space, Stage, is_injected};

/// The Manager's namespace, with the runtime class that its pods name.
fn sandboxes() -> &'static Space<'static> {
    static SANDBOXES: OnceLock<Space<'static>> = OnceLock::new();
    SANDBOXES.get_or_init(|| {
        let stage = Stage::shared();
        let class = json!({"metadata": {"name": "kata-qemu"}, "handler": "kata-qemu",
            "overhead": {"podFixed": {"cpu": "250m", "memory": "160Mi"}}});
        stage.post("/apis/node.k8s.io/v1/runtimeclasses", &class).accepted();
        stage.namespace("sandbox-containers", "required")
    })
}

/// A pod as the Manager builds it, with this metadata on top.
fn sandbox(metadata: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"labels": {"app": "kata-manager", "runtime": "kata"}},
        "spec": {
            "runtimeClassName": "kata-qemu", "restartPolicy": "Never",
            "containers": [{
                "name": "workload", "image": "registry.example/executor:1.0.0",
                "env": [{"name": "KEY", "value": "value"}],
                "resources": {"requests": {"memory": "128Mi", "cpu": "250m"}, "limits": {"memory": "512Mi", "cpu": "1"}},
                "securityContext": {"runAsUser": 10000},
            }],
        },
    });
    let all = pod["metadata"].as_object_mut().unwrap();
    all.extend(metadata.as_object().unwrap().clone());
    pod
}

/// What of the Manager's own has to be as it wrote it.
#[track_caller]
fn is_as_it_was(pod: &Value) {
    is_injected(pod);
    let workload = &pod["spec"]["containers"][0];
    assert_eq!(workload["env"][0], json!({"name": "KEY", "value": "value"}));
    assert_eq!(workload["resources"]["limits"], json!({"memory": "512Mi", "cpu": "1"}));
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
    assert_eq!(pod["spec"]["runtimeClassName"], "kata-qemu");
    assert_eq!(pod["metadata"]["labels"]["app"], "kata-manager");
}

#[test]
fn a_sandbox_of_an_owner_gets_the_sidecar() {
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "0-1-2-3"}]);
    let answer = sandboxes().pod(&sandbox(json!({"name": "kata-sandbox-a1b2c3d4", "ownerReferences": owner})));
    is_as_it_was(answer.accepted());
    assert_eq!(answer.body["metadata"]["ownerReferences"][0]["name"], "owner");
}

#[test]
fn a_warm_sandbox_gets_the_sidecar_before_it_has_a_name_or_an_owner() {
    let annotations = json!({"pool-created-at": "2025-01-01T00:00:00Z"});
    let answer = sandboxes().pod(&sandbox(json!({"generateName": "kata-sandbox-", "annotations": annotations})));
    is_as_it_was(answer.accepted());
    let name = answer.body["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("kata-sandbox-") && name.len() > "kata-sandbox-".len());
    assert_eq!(answer.body["metadata"]["annotations"]["pool-created-at"], "2025-01-01T00:00:00Z");
    // Somebody takes it into possession, which is an update of labels.
    let taken = json!({"metadata": {"labels": {"pool-status": "allocated"}}});
    sandboxes().stage.patch(&sandboxes().path(&format!("pods/{name}")), &taken).accepted();
}

#[test]
fn a_dry_run_shows_the_sandbox_and_stores_none() {
    let space = sandboxes();
    let manifest = sandbox(json!({"name": "dry"})).to_string();
    let printed = space.kubectl_with("create --dry-run=server -o json -f -", &manifest).accepted();
    is_as_it_was(&serde_json::from_str(&printed.output).unwrap());
    assert!(printed.errors.contains("Warning: egress is advisory"), "{}", printed.errors);
    assert_eq!(space.stage.get(&space.path("pods/dry")).status, 404);
}

#[test]
fn fields_that_the_api_server_does_not_know_do_not_keep_a_sandbox_out() {
    let mut pod = sandbox(json!({"name": "unknown"}));
    pod["spec"]["fieldOfTheFuture"] = json!({"any": [1, null]});
    pod["spec"]["containers"][0]["~odd/field"] = json!(true);
    let answer = sandboxes().create("pods?fieldValidation=Warn", &pod);
    is_as_it_was(answer.accepted());
    // The API server itself drops them, before it calls anybody.
    crate::answer::contains(&answer.warned(), &["unknown field \"spec.fieldOfTheFuture\"", "egress is advisory"]);
    pod["metadata"]["name"] = "ignored".into();
    is_as_it_was(sandboxes().create("pods?fieldValidation=Ignore", &pod).accepted());
}
