//! What holds for every behaviour that ends with a patch.

use sandgate_contract::{CONTAINER_NAME, VARIABLES};
use sandgate_webhook::mode::Mode;
use sandgate_webhook::names::{DEFAULT_CONTAINER_ANNOTATION, STATUS_ANNOTATION, TRUST_VOLUME, VOLUMES};
use sandgate_webhook::reason::Reason;
use serde_json::{Value, json};

use crate::NAMES;
use crate::case::Case;

/// Every behaviour that is patched, with the pod as it comes out.
pub(crate) fn patched() -> Vec<(&'static str, Case, Value)> {
    let cases = NAMES.iter().map(|name| (*name, Case::load(name)));
    let all: Vec<_> = cases.filter_map(|(name, case)| apply(&case).map(|pod| (name, case, pod))).collect();
    assert!(all.len() >= 30, "only {} behaviours have a patch", all.len());
    all
}

fn apply(case: &Case) -> Option<Value> {
    let decision = case.decide();
    let mut pod = case.request.object.clone();
    json_patch::patch(&mut pod, &decision.patch).expect("a patch applies to what it is made for");
    (!decision.patch.is_empty()).then_some(pod)
}

fn again(case: &mut Case, pod: Value) -> sandgate_webhook::decision::Decision {
    case.request.object = pod;
    case.decide()
}

#[test]
fn patching_what_is_patched_changes_nothing() {
    for (name, mut case, pod) in patched() {
        let decision = again(&mut case, pod);
        assert_eq!((decision.reason, decision.patch), (Reason::AlreadyInjected, Vec::new()), "{name}");
    }
}

#[test]
fn patching_what_the_api_server_completed_changes_nothing() {
    for (name, mut case, mut pod) in patched() {
        complete(&mut pod);
        let decision = again(&mut case, pod);
        assert_eq!((decision.reason, decision.patch), (Reason::AlreadyInjected, Vec::new()), "{name}");
    }
}

#[test]
fn a_container_that_another_webhook_added_is_completed_and_nothing_else_changes() {
    for (name, mut case, mut pod) in patched().into_iter().filter(|(_, case, _)| case.request.operation == "CREATE") {
        complete(&mut pod);
        pod["spec"]["containers"].as_array_mut().unwrap().insert(0, json!({"name": "added", "image": "x"}));
        pod["spec"]["initContainers"].as_array_mut().unwrap().insert(1, json!({"name": "added-init", "image": "x"}));
        let decision = again(&mut case, pod.clone());
        let paths: Vec<String> = decision.patch.iter().map(|operation| operation.path().to_string()).collect();
        let (main, init) = ("/spec/containers/0/", "/spec/initContainers/1/");
        assert!(paths.iter().all(|path| path.starts_with(main) || path.starts_with(init)), "{name}: {paths:?}");
        json_patch::patch(&mut pod, &decision.patch).unwrap();
        for added in [&pod["spec"]["containers"][0], &pod["spec"]["initContainers"][1]] {
            let env = added["env"].as_array().unwrap();
            assert!(VARIABLES.iter().all(|variable| env.iter().any(|entry| entry["name"] == variable.name)), "{name}");
            assert_eq!(added["volumeMounts"][0]["name"], TRUST_VOLUME, "{name}");
        }
        assert!(again(&mut case, pod).patch.is_empty(), "{name}");
    }
}

#[test]
fn nothing_that_is_not_ours_changes_by_a_byte() {
    for (name, case, mut after) in patched() {
        let mut before = case.request.object.clone();
        remove_ours(&mut before, case.mode);
        remove_ours(&mut after, case.mode);
        assert_eq!(before.to_string(), after.to_string(), "{name}");
    }
}

#[test]
fn every_container_but_the_sidecar_has_each_variable_as_often_as_its_author_wrote_it_and_else_once() {
    for (name, case, pod) in patched().into_iter().filter(|(_, case, _)| case.request.operation == "CREATE") {
        let count = |container: &Value, variable: &str| {
            let env = container["env"].as_array().into_iter().flatten();
            env.filter(|entry| entry["name"] == variable).count()
        };
        for (index, container) in pod["spec"]["containers"].as_array().unwrap().iter().enumerate() {
            let before = &case.request.object["spec"]["containers"][index];
            for variable in VARIABLES {
                let (was, is) = (count(before, variable.name), count(container, variable.name));
                // The other case of a variable that comes from elsewhere can't be set to the same.
                let elsewhere = name == "valuefrom_enabled" && was == 0 && is == 0;
                assert!(is == was.max(1) || elsewhere, "{name}: {} is there {is} times", variable.name);
            }
        }
    }
}

#[test]
fn no_key_of_a_ca_is_mounted_but_in_the_sidecar() {
    for (name, _, pod) in patched() {
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            for container in pod["spec"][list].as_array().into_iter().flatten() {
                let mounts = container["volumeMounts"].as_array().into_iter().flatten();
                let ours = mounts.filter(|mount| VOLUMES.contains(&mount["name"].as_str().unwrap_or_default()));
                for mount in ours.filter(|_| container["name"] != CONTAINER_NAME) {
                    assert_eq!(mount["name"], TRUST_VOLUME, "{name}");
                    assert_eq!(mount["readOnly"], true, "{name}");
                    assert!(mount.get("subPath").is_none(), "{name}");
                }
            }
        }
    }
}

/// The API server cuts one at 256 characters, and people read less.
#[test]
fn warnings_are_short_and_say_what_is_meant() {
    for name in NAMES {
        for warning in Case::load(name).decide().warnings {
            assert!(warning.chars().count() <= 140, "{name}: {warning}");
            assert!(!warning.contains('\n'), "{name}: {warning}");
        }
    }
}

/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/>, "restricted", in a pod whose own part meets it.
#[test]
fn a_pod_that_meets_pod_security_restricted_still_does() {
    const VOLUMES: [&str; 8] =
        ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];
    let case = Case::load("restricted_pod");
    let pod = apply(&case).unwrap();
    let spec = &pod["spec"];
    assert_eq!(spec["initContainers"].as_array().unwrap().len(), 1);
    for container in spec["containers"].as_array().unwrap().iter().chain(spec["initContainers"].as_array().unwrap()) {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
        assert!(context.get("privileged").is_none() && context["runAsUser"] != 0 && context["runAsNonRoot"] != false);
        for port in container["ports"].as_array().into_iter().flatten() {
            assert!(port.get("hostPort").is_none());
        }
        for hook in ["livenessProbe", "readinessProbe", "startupProbe"] {
            assert!(container.pointer(&format!("/{hook}/httpGet/host")).is_none());
        }
    }
    for volume in spec["volumes"].as_array().unwrap() {
        let kind = volume.as_object().unwrap().keys().find(|key| *key != "name").unwrap();
        assert!(VOLUMES.contains(&kind.as_str()), "{kind}");
    }
}

#[test]
fn whatever_json_comes_is_decided_without_a_panic() {
    let odd =
        [Value::Null, json!([]), json!({}), json!(""), json!(1.5), json!([null]), json!([[]]), json!([{"name": 1}])];
    let mut decided = 0;
    for name in NAMES {
        let case = Case::load(name);
        let mut pointers = Vec::new();
        collect(&case.request.object, &mut String::new(), &mut pointers);
        let mut mutated = Case::load(name);
        for pointer in pointers {
            for value in &odd {
                let mut object = case.request.object.clone();
                *object.pointer_mut(&pointer).unwrap() = value.clone();
                mutated.request.object = object;
                let decision = mutated.decide();
                let mut pod = mutated.request.object.clone();
                json_patch::patch(&mut pod, &decision.patch)
                    .unwrap_or_else(|error| panic!("{name} {pointer} {value}: {error}"));
                decided += 1;
            }
        }
    }
    assert!(decided > 5000, "{decided}");
}

/// Every pointer into `value`, of a list into the first elements.
pub(crate) fn collect(value: &Value, pointer: &mut String, pointers: &mut Vec<String>) {
    pointers.push(pointer.clone());
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => {
            members.iter().map(|(key, child)| (key.replace('~', "~0").replace('/', "~1"), child)).collect()
        }
        Value::Array(elements) => {
            elements.iter().take(2).enumerate().map(|(index, child)| (index.to_string(), child)).collect()
        }
        _ => Vec::new(),
    };
    for (token, child) in children {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&token);
        collect(child, pointer, pointers);
        pointer.truncate(length);
    }
}

/// Takes out what is ours, and the few fields of others that we may touch.
fn remove_ours(pod: &mut Value, mode: Mode) {
    let object = pod.as_object_mut().unwrap();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.shift_remove(STATUS_ANNOTATION);
            annotations.shift_remove(DEFAULT_CONTAINER_ANNOTATION);
        }
        remove_if_empty(metadata, "annotations");
    }
    let spec = object.get_mut("spec").and_then(Value::as_object_mut).unwrap();
    retain(spec, "volumes", |volume| !VOLUMES.contains(&volume["name"].as_str().unwrap_or_default()));
    retain(spec, "initContainers", |container| container["name"] != CONTAINER_NAME);
    retain(spec, "imagePullSecrets", |secret| !["registry", "mirror"].contains(&secret["name"].as_str().unwrap()));
    spec.shift_remove("resources");
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            remove_ours_of(container.as_object_mut().unwrap(), mode);
        }
    }
}

fn remove_ours_of(container: &mut serde_json::Map<String, Value>, mode: Mode) {
    let is_variable = |entry: &Value| VARIABLES.iter().any(|variable| entry["name"] == variable.name);
    retain(container, "env", |entry| !is_variable(entry));
    retain(container, "volumeMounts", |mount| mount["name"] != TRUST_VOLUME);
    if mode == Mode::Required {
        if let Some(context) = container.get_mut("securityContext").and_then(Value::as_object_mut) {
            if let Some(capabilities) = context.get_mut("capabilities").and_then(Value::as_object_mut) {
                retain(capabilities, "drop", |name| name != "NET_RAW");
            }
            remove_if_empty(context, "capabilities");
        }
        remove_if_empty(container, "securityContext");
    }
}

fn retain(object: &mut serde_json::Map<String, Value>, field: &str, keep: impl Fn(&Value) -> bool) {
    if let Some(elements) = object.get_mut(field).and_then(Value::as_array_mut) {
        elements.retain(|element| keep(element));
    }
    remove_if_empty(object, field);
}

fn remove_if_empty(object: &mut serde_json::Map<String, Value>, field: &str) {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    if object.get(field).is_some_and(is_empty) {
        object.shift_remove(field);
    }
}

/// What an API server of Kubernetes 1.36 writes into a pod between two calls of a webhook.
pub(crate) fn complete(pod: &mut Value) {
    let spec = pod["spec"].as_object_mut().unwrap();
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("securityContext", json!({})),
        ("serviceAccountName", json!("default")),
        ("enableServiceLinks", json!(true)),
    ] {
        spec.entry(field).or_insert(value);
    }
    let token = json!({"name": "kube-api-access-abcde", "projected": {"defaultMode": 420, "sources": []}});
    spec.entry("volumes").or_insert(json!([])).as_array_mut().unwrap().push(token);
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            complete_container(container.as_object_mut().unwrap());
        }
    }
}

fn complete_container(container: &mut serde_json::Map<String, Value>) {
    let policy = |name: &str| json!({"resourceName": name, "restartPolicy": "NotRequired"});
    for (field, value) in [
        ("terminationMessagePath", json!("/dev/termination-log")),
        ("terminationMessagePolicy", json!("File")),
        ("imagePullPolicy", json!("Always")),
        ("resources", json!({})),
    ] {
        container.entry(field).or_insert(value);
    }
    if container["name"] == CONTAINER_NAME {
        container.insert("resizePolicy".to_owned(), json!([policy("cpu"), policy("memory")]));
        return;
    }
    for entry in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        // An empty value is not written.
        let entry = entry.as_object_mut().unwrap();
        if entry.get("value") == Some(&json!("")) {
            entry.shift_remove("value");
        }
    }
    let token = json!({
        "name": "kube-api-access-abcde", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"
    });
    container.entry("volumeMounts").or_insert(json!([])).as_array_mut().unwrap().push(token);
}
