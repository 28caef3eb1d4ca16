//! Other webhooks that change the pod after ours.

use serde_json::{Value, json};

use crate::neighbour;
use crate::stage::{Stage, container, is_equipped, is_injected, plain};

/// How many containers the neighbour has added.
fn added(pod: &Value) -> usize {
    let containers = pod["spec"]["containers"].as_array().unwrap();
    containers.iter().filter(|container| container["name"].as_str().unwrap().starts_with("late-")).count()
}

fn add(pod: &Value) -> Value {
    let name = format!("late-{}", added(pod) + 1);
    json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": name, "image": "busybox"}}])
}

#[test]
fn a_container_that_another_webhook_adds_gets_its_environment_by_reinvocation() {
    let stage = Stage::shared();
    for mode in ["enabled", "required"] {
        let space = stage.namespace(&format!("added-once-{mode}"), mode);
        neighbour::join(&space, "Never", add);
        let answer = space.pod(&plain("pod"));
        let pod = answer.accepted();
        assert_eq!(added(pod), 1, "{mode}");
        is_injected(pod);
        assert!(!answer.warned().contains("lacks"), "{}", answer.warned());
    }
}

#[test]
fn a_container_added_on_reinvocation_too_is_a_warning_where_enabled_and_refused_by_name_where_required() {
    let stage = Stage::shared();
    let space = stage.namespace("added-twice-enabled", "enabled");
    neighbour::join(&space, "IfNeeded", add);
    let answer = space.pod(&plain("pod"));
    let pod = answer.accepted();
    assert!(is_equipped(container(pod, "containers", "late-1").unwrap()));
    assert!(!is_equipped(container(pod, "containers", "late-2").unwrap()));
    assert_eq!(answer.warnings.len(), 1, "{:?}", answer.warnings);
    crate::answer::contains(&answer.warned(), &["\"late-2\" lacks", "the proxy's environment", "after Sandgate's"]);

    let space = stage.namespace("added-twice-required", "required");
    neighbour::join(&space, "IfNeeded", add);
    let answer = space.pod(&plain("pod"));
    answer.refused_with(&["required.validate.sandgate.dev", "\"late-2\" lacks", "/etc/proxy-ca", "reinvocationPolicy"]);
    assert!(!answer.message().contains("late-1"), "{}", answer.message());
}

#[test]
fn a_pod_whose_sidecar_another_webhook_took_out_is_refused() {
    let stage = Stage::shared();
    for mode in ["enabled", "required"] {
        let space = stage.namespace(&format!("removed-{mode}"), mode);
        neighbour::join(&space, "IfNeeded", |pod| match container(pod, "initContainers", "auth-proxy") {
            Some(_) => json!([{"op": "remove", "path": "/spec/initContainers/0"}]),
            None => json!([]),
        });
        let answer = space.pod(&plain("pod"));
        answer.refused_with(&["no \"auth-proxy\"", "something took the container out", "which other webhook"]);
        // It is told once, and nothing of volumes that the pod's author has never heard of.
        assert!(!answer.message().contains("sandgate-"), "{}", answer.message());
    }
}

#[test]
fn an_init_container_put_before_the_sidecar_is_refused_unless_it_may_precede() {
    let stage = Stage::shared();
    let space = stage.namespace("prepended", "required");
    neighbour::join(&space, "Never", |pod| {
        let name = &pod["metadata"]["labels"]["first"];
        if name.is_null() {
            return json!([]);
        }
        json!([{"op": "add", "path": "/spec/initContainers/0", "value": {"name": name, "image": "busybox"}}])
    });
    let pod = |first: &str| {
        let mut pod = plain(first);
        pod["metadata"]["labels"] = json!({"first": first});
        pod
    };
    let parts = ["required.validate.sandgate.dev", "\"stranger\" starts before the sidecar", "sidecar.mayPrecede"];
    space.pod(&pod("stranger")).refused_with(&parts);
    let answer = space.pod(&pod("early"));
    let names: Vec<&Value> =
        answer.accepted()["spec"]["initContainers"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["early", "auth-proxy"]);
}
