//! The pods that ordinary reviews are measured with.

use serde_json::{Value, json};

/// A pod of sandboxes.
pub(crate) fn manager() -> Value {
    serde_saphyr::from_str(include_str!("../../tests/golden/manager-pod/pod.yaml")).unwrap()
}

/// A pod of twenty containers with environment, mounts and probes of their own.
pub(crate) fn twenty() -> Value {
    let containers: Vec<Value> = (0..20)
        .map(|number| {
            let env: Vec<Value> =
                (0..20).map(|variable| json!({"name": format!("VARIABLE_{variable}"), "value": "a value"})).collect();
            json!({"name": format!("container-{number}"), "image": "registry.example/team/image:1", "env": env,
                "ports": [{"containerPort": 9000 + number, "protocol": "TCP"}],
                "readinessProbe": {"httpGet": {"path": "/", "port": 9000 + number}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}]})
        })
        .collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "twenty"},
        "spec": {"containers": containers, "volumes": [{"name": "data", "emptyDir": {}}]}})
}
