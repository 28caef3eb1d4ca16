//! How many calls a pod costs, and which pods cost none.

use serde_json::json;

use crate::stage::{Space, Stage, is_injected, labelled, plain};

#[test]
fn an_ordinary_pod_costs_one_call_to_each_path() {
    let stage = Stage::alone();
    let space = stage.namespace("calls-ordinary", "required");
    let (answer, reviews) = stage.reviews_of(|| space.pod(&plain("ordinary")));
    let pod = answer.accepted();
    is_injected(pod);
    // The API server's ServiceAccount plugin did its work, and found nothing to do in the sidecar.
    let mounts = |container: &serde_json::Value| container["volumeMounts"].to_string();
    assert!(mounts(&pod["spec"]["containers"][0]).contains("kube-api-access-"));
    assert!(!mounts(&pod["spec"]["initContainers"][0]).contains("kube-api-access-"));
    assert_eq!(reviews, ["mutate/required injected injected", "validate/required injected verified"]);
}

#[test]
fn pods_of_the_cluster_and_of_the_webhook_itself_cost_no_call() {
    let stage = Stage::alone();
    let inject = json!({"metadata": {"labels": {"sandgate.dev/inject": "required"}}});
    for name in ["kube-system", "sandgate-system"] {
        stage.patch(&format!("/api/v1/namespaces/{name}"), &inject).accepted();
        let space = Space { stage: &stage, name: name.to_owned() };
        let mut pod = labelled("calls", "true");
        pod["metadata"]["generateName"] = pod["metadata"]["name"].take();
        pod["spec"] = json!({
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "workload", "image": "busybox",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        });
        let (answer, reviews) = stage.reviews_of(|| space.pod(&pod));
        assert!(answer.accepted()["spec"].get("initContainers").is_none(), "{name}");
        assert_eq!(reviews, Vec::<String>::new(), "{name}");
    }
}
