//! Objects as their authors write them: nothing here knows of a sidecar.

use serde_json::{Value, json};

/// The image of a workload: a shell, curl, openssl, python3, and a default command that idles and ends when it is told to.
pub const WORKLOAD_IMAGE: &str = "sandgate/kind-workload:dev";
/// The image of an origin.
pub const ORIGIN_IMAGE: &str = "sandgate/kind-origin:dev";

/// A container that idles.
#[must_use]
pub fn container(name: &str) -> Value {
    json!({"name": name, "image": WORKLOAD_IMAGE, "imagePullPolicy": "IfNotPresent"})
}

/// A container that runs a shell script.
#[must_use]
pub fn running(name: &str, script: &str) -> Value {
    let mut container = container(name);
    container["command"] = json!(["sh", "-c", script]);
    container
}

/// A pod with one container, `workload`, that idles.
#[must_use]
pub fn pod(name: &str) -> Value {
    pod_of(name, json!({"containers": [container("workload")]}))
}

/// A pod with a spec.
#[must_use]
pub fn pod_of(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

/// A pod that runs a script once.
#[must_use]
pub fn pod_running(name: &str, script: &str) -> Value {
    pod_of(name, json!({"restartPolicy": "Never", "containers": [running("workload", script)]}))
}

/// The same object with the pod's label `sandgate.dev/inject`.
#[must_use]
pub fn labelled(mut object: Value, value: &str) -> Value {
    object["metadata"]["labels"]["sandgate.dev/inject"] = value.into();
    object
}

/// The same object with changes, as a JSON merge patch has them.
#[must_use]
pub fn with(mut object: Value, changes: &Value) -> Value {
    merge_into(&mut object, changes);
    object
}

fn merge_into(object: &mut Value, changes: &Value) {
    let Value::Object(changes) = changes else {
        *object = changes.clone();
        return;
    };
    for (key, change) in changes {
        match change {
            Value::Object(_) if object[key].is_object() => merge_into(&mut object[key], change),
            other => object[key] = other.clone(),
        }
    }
}
