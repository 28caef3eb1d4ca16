//! A pod with a sidecar and the situation that it is judged in, for unit tests. Never part of the program.

use serde_json::{Value, json};

use crate::config::Config;
use crate::mode::Mode;
use crate::namespace::Namespace;
use crate::rendering::Rendering;
use crate::situation::Situation;

/// What a [`Situation`] borrows.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) mode: Mode,
    pub(crate) namespace: Namespace,
    pub(crate) config: Config,
    pub(crate) rendering: Rendering,
    pub(crate) accepted: Vec<Rendering>,
}

impl Sample {
    /// A required namespace and the configuration as it is without a file.
    pub(crate) fn new() -> Self {
        let config = Config::default();
        let rendering = rendering(&config);
        let namespace = Namespace { name: "sandboxes".to_owned(), ..Namespace::default() };
        Self { mode: Mode::Required, namespace, config, rendering, accepted: Vec::new() }
    }

    pub(crate) fn situation(&self) -> Situation<'_> {
        Situation {
            mode: self.mode,
            namespace: &self.namespace,
            config: &self.config,
            rendering: &self.rendering,
            accepted: &self.accepted,
        }
    }

    /// A pod of one container as the webhook leaves it.
    pub(crate) fn pod(&self) -> Value {
        let mut sidecar = self.rendering.container.clone();
        let resources = &self.config.sidecar.resources;
        sidecar["resources"] = json!({
            "requests": {"cpu": resources.cpu_request.to_string(), "memory": resources.memory_request.to_string()},
            "limits": {"cpu": resources.cpu_limit.to_string(), "memory": resources.memory_limit.to_string()},
        });
        let mut volumes = self.rendering.volumes.clone();
        for volume in &mut volumes {
            if volume["name"] == "sandgate-policy" {
                volume["configMap"]["name"] = "sandgate-policy".into();
            }
        }
        let variables = self.rendering.environment_required.iter();
        let env: Vec<Value> = variables.map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "warm-1", "labels": {"app": "kata-manager"}},
            "spec": {
                "initContainers": [sidecar],
                "containers": [{
                    "name": "workload",
                    "image": "python:3.13",
                    "env": env,
                    "volumeMounts": [self.rendering.trust_mount],
                    "securityContext": {"capabilities": {"drop": ["NET_RAW"]}},
                }],
                "volumes": volumes,
            },
        })
    }
}

/// `pod` with `value` at `pointer`; `-` appends to a list, which is made where there is none.
pub(crate) fn with(pod: &Value, pointer: &str, value: Value) -> Value {
    let mut pod = pod.clone();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let field = field.replace("~1", "/").replace("~0", "~");
    let parent = match pod.pointer_mut(parent) {
        Some(parent) => parent,
        None => {
            let made = if field == "-" { json!([]) } else { json!({}) };
            pod = with(&pod, parent, made);
            pod.pointer_mut(parent).expect("it was made")
        }
    };
    match (parent, field.as_str()) {
        (Value::Array(elements), "-") => elements.push(value),
        (Value::Array(elements), index) => elements[index.parse::<usize>().expect("an index")] = value,
        (parent, field) => parent[field] = value,
    }
    pod
}

/// `pod` without what is at `pointer`.
pub(crate) fn without(pod: &Value, pointer: &str) -> Value {
    let mut pod = pod.clone();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    match pod.pointer_mut(parent).expect("something to take it from") {
        Value::Array(elements) => drop(elements.remove(field.parse().expect("an index"))),
        parent => drop(parent.as_object_mut().expect("an object").remove(field).expect("it was there")),
    }
    pod
}

/// What the default configuration makes, written out by hand.
fn rendering(config: &Config) -> Rendering {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    let probe = |path: &str| {
        json!({"httpGet": {"path": path, "port": 8081, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
               "successThreshold": 1, "failureThreshold": 3})
    };
    Rendering {
        version: "0.0.0".to_owned(),
        configuration: "0123456789ab".to_owned(),
        container: json!({
            "name": "auth-proxy",
            "image": config.sidecar.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["/sandgate-sidecar"],
            "args": ["serve", "--no-env", "--pod-name=$(POD_NAME)"],
            "env": [field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace")],
            "restartPolicy": "Always",
            "lifecycle": {"postStart": {"exec": {"command": ["/sandgate-sidecar", "healthcheck", "--wait", "10s"]}}},
            "readinessProbe": probe("/readyz"),
            "livenessProbe": probe("/healthz"),
            "ports": [{"name": "proxy", "containerPort": 8080, "protocol": "TCP"},
                      {"name": "health", "containerPort": 8081, "protocol": "TCP"}],
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {"runAsNonRoot": true, "runAsUser": config.sidecar.uid, "runAsGroup": config.sidecar.uid,
                                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                                "seccompProfile": {"type": "RuntimeDefault"}, "readOnlyRootFilesystem": true},
            "volumeMounts": [
                {"name": "sandgate-trust", "mountPath": "/run/sandgate/trust"},
                {"name": "sandgate-ca", "mountPath": "/run/sandgate/ca"},
                {"name": "sandgate-policy", "mountPath": "/etc/sandgate/policy", "readOnly": true},
                {"name": "sandgate-no-token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
            ],
        }),
        volumes: vec![
            json!({"name": "sandgate-trust", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}),
            json!({"name": "sandgate-ca", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
            json!({"name": "sandgate-policy", "configMap": {"name": "", "optional": true, "defaultMode": 420,
                   "items": [{"key": "policy.yaml", "path": "policy.yaml"}]}}),
            json!({"name": "sandgate-no-token", "emptyDir": {"sizeLimit": "1Mi"}}),
        ],
        trust_mount: json!({"name": "sandgate-trust", "mountPath": "/etc/proxy-ca", "readOnly": true}),
        environment_required: vec![("HTTPS_PROXY".to_owned(), "http://127.0.0.1:8080".to_owned())],
        environment: vec![("HTTPS_PROXY".to_owned(), "http://127.0.0.1:8080".to_owned())],
    }
}
