//! Namespaces that have just been made, and annotations that change.

use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{Stage, is_injected, plain, within};

/// What an admin takes for at once.
const FEW_SECONDS: Duration = Duration::from_secs(5);

#[test]
fn a_namespace_made_a_moment_before_its_first_pod_has_its_annotations_followed() {
    let stage = Stage::shared();
    for number in 0..10 {
        let (labels, annotations) =
            (json!({"sandgate.dev/inject": "required"}), json!({"sandgate.dev/policy": "fresh"}));
        let space = stage.namespace_with(&format!("fresh-{number}"), labels, annotations);
        let answer = space.pod(&plain("first"));
        is_injected(answer.accepted());
        assert_eq!(policy(&answer.body), "fresh");
    }
}

/// The ConfigMap of a pod's policy.
fn policy(pod: &Value) -> &str {
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "sandgate-policy").unwrap();
    volume["configMap"]["name"].as_str().unwrap()
}

#[test]
fn changes_of_a_namespaces_annotations_hold_for_its_pods_within_seconds() {
    let stage = Stage::shared();
    let space = stage.namespace("annotations", "required");
    let mut pod = plain("pod");
    let create = |pod: &Value| space.create("pods?dryRun=All", pod);
    assert_eq!(policy(create(&pod).accepted()), "sandgate-policy");
    let annotate = |annotations: Value| {
        stage.patch("/api/v1/namespaces/annotations", &json!({"metadata": {"annotations": annotations}})).accepted();
    };

    annotate(json!({"sandgate.dev/policy": "strict"}));
    within(FEW_SECONDS, "the policy is the namespace's", || match policy(create(&pod).accepted()) {
        "strict" => Ok(()),
        other => Err(other.to_owned()),
    });
    annotate(json!({"sandgate.dev/sidecar-resources": r#"{"limits":{"memory":"256Mi"}}"#}));
    within(FEW_SECONDS, "the resources are the namespace's", || {
        let limits = create(&pod).accepted()["spec"]["initContainers"][0]["resources"]["limits"].clone();
        if limits == json!({"cpu": "1", "memory": "256Mi"}) { Ok(()) } else { Err(limits.to_string()) }
    });
    pod["metadata"]["annotations"] = json!({"sandgate.dev/policy": "own"});
    create(&pod).refused_with(&["names the policy \"own\"", "sandgate.dev/pod-policy=allowed"]);
    annotate(json!({"sandgate.dev/pod-policy": "allowed"}));
    within(FEW_SECONDS, "pods may name a policy", || {
        let answer = create(&pod);
        if answer.is_accepted() && policy(&answer.body) == "own" { Ok(()) } else { Err(answer.message().to_owned()) }
    });
    annotate(json!({"sandgate.dev/sidecar-resources": "much"}));
    within(FEW_SECONDS, "a mistake is refused", || {
        let answer = create(&pod);
        let named = answer.message().contains("sandgate.dev/sidecar-resources of namespace \"annotations\": \"much\"");
        if named { Ok(()) } else { Err(answer.message().to_owned()) }
    });
}
