//! Pods that are odd and yet may come, asked about over TLS in both modes that put the sidecar in: each gets a patch that
//! applies and leaves nothing to do, or a refusal with its reason.

use serde_json::{Value, json};

use crate::harness::{Webhook, config, patched, pod, review, start};

const MODES: [&str; 2] = ["enabled", "required"];
/// Where the sidecar's variables lead.
const PROXY: &str = "http://127.0.0.1:8080";

fn with(pointer: &str, value: Value) -> Value {
    let mut pod = pod();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    pod.pointer_mut(parent).unwrap()[field] = value;
    pod
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let containers = pod["spec"][list].as_array().into_iter().flatten();
    containers.map(|container| container["name"].as_str().unwrap().to_owned()).collect()
}

/// The only variable of this name in a container, whole.
fn variable(container: &Value, name: &str) -> Value {
    let all: Vec<&Value> =
        container["env"].as_array().unwrap().iter().filter(|variable| variable["name"] == name).collect();
    assert_eq!(all.len(), 1, "{name} in {container}");
    all[0].clone()
}

/// The pod with its sidecar: the patch applies, nothing of the pod is lost, the final check passes it, and it comes back
/// without another patch.
async fn injected(webhook: &Webhook, mode: &str, pod: &Value) -> Value {
    let path = format!("/mutate/{mode}");
    let answer = webhook.ask(&path, &review(pod)).await;
    assert_eq!(answer["auditAnnotations"]["reason"], "injected", "{mode} {pod}: {answer}");
    let injected = patched(pod, &answer);
    assert_eq!(names(&injected, "initContainers")[0], "auth-proxy", "{injected}");
    assert_eq!(names(&injected, "initContainers")[1..], names(pod, "initContainers"), "{injected}");
    assert_eq!(names(&injected, "containers"), names(pod, "containers"), "{injected}");
    for path in [path, format!("/validate/{mode}")] {
        let answer = webhook.ask(&path, &review(&injected)).await;
        assert_eq!((&answer["allowed"], answer.get("patch")), (&true.into(), None), "{path} {injected}: {answer}");
    }
    injected
}

#[tokio::test]
async fn lists_that_are_null_absent_or_empty_get_a_patch_that_applies() {
    let webhook = start(config(|_| {}));
    let lists = ["/spec/initContainers", "/spec/volumes", "/spec/imagePullSecrets", "/spec/ephemeralContainers"];
    let of_container =
        ["env", "envFrom", "volumeMounts", "ports", "args"].map(|field| format!("/spec/containers/0/{field}"));
    let objects =
        ["/metadata/labels", "/metadata/annotations", "/spec/securityContext", "/spec/containers/0/resources"];
    let lists = lists.into_iter().map(str::to_owned).chain(of_container).map(|pointer| (pointer, json!([])));
    let all = lists.chain(objects.map(|pointer| (pointer.to_owned(), json!({}))));
    for (pointer, empty) in all {
        for value in [Value::Null, empty] {
            for mode in MODES {
                injected(&webhook, mode, &with(&pointer, value.clone())).await;
            }
        }
    }
    for mode in MODES {
        let mut bare = pod();
        bare["metadata"] = json!({});
        injected(&webhook, mode, &bare).await;
        for containers in [Value::Null, json!([])] {
            let empty = with("/spec/containers", containers);
            let answer = webhook.ask(&format!("/mutate/{mode}"), &review(&empty)).await;
            assert_eq!(
                (&answer["allowed"], &answer["auditAnnotations"]["reason"], answer.get("patch")),
                (&false.into(), &"malformed".into(), None)
            );
        }
    }
}

#[tokio::test]
async fn slashes_and_tildes_in_keys_stay_as_they_are() {
    let webhook = start(config(|_| {}));
    let mut odd = pod();
    let labels = json!({"example.com/a~b": "1", "a~0b": "2", "a~1b": "3", "/": "4", "~": "5"});
    odd["metadata"]["labels"] = labels.clone();
    odd["metadata"]["annotations"] = json!({"example.com/x~y/z": "~1", "sandgate.dev/status": "forged", "~1": "/"});
    for mode in MODES {
        let injected = injected(&webhook, mode, &odd).await;
        assert_eq!(injected["metadata"]["labels"], labels);
        let annotations = &injected["metadata"]["annotations"];
        assert_eq!((&annotations["example.com/x~y/z"], &annotations["~1"]), (&"~1".into(), &"/".into()));
        assert_ne!(annotations["sandgate.dev/status"], "forged");
    }
}

#[tokio::test]
async fn a_proxy_of_its_own_stays_where_the_sidecar_is_offered_and_goes_where_it_is_required() {
    let webhook = start(config(|_| {}));
    let literal = json!({"name": "HTTPS_PROXY", "value": "http://corp.example:3128"});
    let reference = json!({"name": "HTTPS_PROXY", "valueFrom": {"configMapKeyRef": {"name": "proxy", "key": "url"}}});
    let field = json!({"name": "HTTPS_PROXY", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}});
    for own in [literal, reference, field] {
        let odd = with("/spec/containers/0/env", json!([{"name": "FIRST", "value": "1"}, own]));
        let kept = injected(&webhook, "enabled", &odd).await;
        assert_eq!(variable(&kept["spec"]["containers"][0], "HTTPS_PROXY"), own);
        let replaced = injected(&webhook, "required", &odd).await;
        let ours = json!({"name": "HTTPS_PROXY", "value": PROXY});
        assert_eq!(variable(&replaced["spec"]["containers"][0], "HTTPS_PROXY"), ours);
    }
    // What a ConfigMap may bring is not known, and `env` counts for more.
    let from = with("/spec/containers/0/envFrom", json!([{"configMapRef": {"name": "proxy"}}]));
    for mode in MODES {
        let injected = injected(&webhook, mode, &from).await;
        assert_eq!(variable(&injected["spec"]["containers"][0], "HTTPS_PROXY")["value"], PROXY);
    }
}

#[tokio::test]
async fn init_containers_get_the_way_out_and_stand_behind_the_sidecar() {
    let webhook = start(config(|_| {}));
    let init = json!([
        {"name": "fetch", "image": "fetch:1"},
        {"name": "mesh", "image": "mesh:1", "restartPolicy": "Always", "env": []},
    ]);
    for mode in MODES {
        let injected = injected(&webhook, mode, &with("/spec/initContainers", init.clone())).await;
        let all = injected["spec"]["initContainers"].as_array().unwrap();
        assert_eq!(all[0]["restartPolicy"], "Always");
        for container in &all[1..] {
            assert_eq!(variable(container, "HTTPS_PROXY")["value"], PROXY);
            assert!(!container["volumeMounts"].as_array().unwrap().is_empty(), "the CA is there: {container}");
        }
    }
}

#[tokio::test]
async fn a_clash_of_name_volume_or_port_is_refused_with_its_reason() {
    let webhook = start(config(|_| {}));
    let namesake = |list: &str, more: Value| {
        let mut container = json!({"name": "auth-proxy", "image": "other:1"});
        json_patch::merge(&mut container, &more);
        let mut all = pod()["spec"][list].as_array().cloned().unwrap_or_default();
        all.push(container);
        with(&format!("/spec/{list}"), all.into())
    };
    let port = |port: u16, protocol: &str| {
        with("/spec/containers/0/ports", json!([{"containerPort": port, "protocol": protocol}]))
    };
    let rows = [
        (namesake("containers", json!({})), "foreign_container"),
        (namesake("initContainers", json!({})), "foreign_container"),
        (namesake("initContainers", json!({"restartPolicy": "Always"})), "foreign_container"),
        (with("/spec/volumes", json!([{"name": "sandgate-trust", "emptyDir": {}}])), "foreign_volume"),
        (
            with("/spec/containers/0/volumeMounts", json!([{"name": "sandgate-policy", "mountPath": "/policy"}])),
            "our_volume_mounted",
        ),
        (port(8080, "TCP"), "port_taken"),
    ];
    for (odd, reason) in rows {
        for mode in MODES {
            let answer = webhook.ask(&format!("/mutate/{mode}"), &review(&odd)).await;
            assert_eq!(
                (&answer["allowed"], &answer["auditAnnotations"]["reason"], answer.get("patch")),
                (&false.into(), &reason.into(), None),
                "{mode} {odd}: {answer}"
            );
            assert!(answer["status"]["message"].as_str().unwrap().len() > 40, "it says what to do: {answer}");
        }
    }
    for mode in MODES {
        injected(&webhook, mode, &port(8080, "UDP")).await;
        injected(&webhook, mode, &port(9090, "TCP")).await;
    }
}
