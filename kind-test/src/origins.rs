//! Two HTTPS origins for all tests, in pods of a namespace of their own, with the names that the cluster's DNS gives them:
//! `origin`, which the tests' policies allow, and `elsewhere`, which they don't. Both roots are in [`Origins::roots`], so
//! that only a policy keeps a sidecar from `elsewhere`.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::api;
use crate::kubectl::kubectl;
use crate::objects::ORIGIN_IMAGE;
use crate::wait::eventually;

/// The ConfigMap with further roots that the kind overlay names.
pub const ROOTS_CONFIG_MAP: &str = "sandgate-upstream-ca";

/// The origins of this run.
pub struct Origins {
    namespace: String,
    /// Their root certificates, PEM.
    pub roots: String,
}

static SHARED: OnceLock<Origins> = OnceLock::new();

impl Origins {
    /// Started by the first that asks, in a namespace that is named after the run.
    #[must_use]
    pub fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::start(format!("e2e-{}-origins", crate::stage::run_id())))
    }

    /// Deletes them, where there are any, without waiting.
    pub fn stop() {
        if let Some(origins) = SHARED.get() {
            let _gone = api::delete(&format!("/api/v1/namespaces/{}", origins.namespace));
        }
    }

    fn start(namespace: String) -> Self {
        let mut objects = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})];
        for name in ["origin", "elsewhere"] {
            objects.extend([deployment(&namespace, name), service(&namespace, name)]);
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let _applied = kubectl(&["apply", "-f", "-"], &list).accepted();
        let roots = ["origin", "elsewhere"].map(|name| root(&namespace, name)).concat();
        Self { namespace, roots }
    }

    /// The namespace that they are in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of the origin that policies allow.
    #[must_use]
    pub fn allowed(&self) -> String {
        host("origin", &self.namespace)
    }

    /// The name of the origin that they don't.
    #[must_use]
    pub fn elsewhere(&self) -> String {
        host("elsewhere", &self.namespace)
    }

    /// The address of a Service of theirs.
    #[must_use]
    pub fn address(&self, name: &str) -> String {
        let service = api::get(&format!("/api/v1/namespaces/{}/services/{name}", self.namespace));
        service.expect("the Service was made at start")["spec"]["clusterIP"].as_str().unwrap().to_owned()
    }

    /// The requests that an origin saw, one a line: method and target.
    #[must_use]
    pub fn requests(&self, name: &str) -> String {
        log(&self.namespace, name)
    }

    /// A policy that allows `origin`: over TLS, and in the clear on port 80.
    #[must_use]
    pub fn policy(&self) -> String {
        let host = self.allowed();
        format!(
            "version: 1\ndestinations:\n\
             - {{id: origin, host: {host}, private_cidrs: {PRIVATE}}}\n\
             - {{id: plain, host: {host}, scheme: http, private_cidrs: {PRIVATE}}}\n"
        )
    }
}

/// Where Services of any cluster are.
pub const PRIVATE: &str = "[10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, 'fc00::/7']";

fn host(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}.svc.cluster.local")
}

fn deployment(namespace: &str, name: &str) -> Value {
    let container = json!({
        "name": "origin", "image": ORIGIN_IMAGE, "imagePullPolicy": "IfNotPresent",
        "args": [host(name, namespace)],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
            },
        },
    })
}

fn service(namespace: &str, name: &str) -> Value {
    let ports =
        json!([{"name": "https", "port": 443, "targetPort": 8443}, {"name": "http", "port": 80, "targetPort": 8080}]);
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": ports},
    })
}

/// The origin prints it first. It is awaited together with the Service's endpoints.
fn root(namespace: &str, name: &str) -> String {
    let _ready = kubectl(&["-n", namespace, "rollout", "status", "--timeout=120s", &format!("deployment/{name}")], "")
        .accepted();
    eventually("the origin prints its root", || {
        let log = log(namespace, name);
        let end = "-----END CERTIFICATE-----";
        log.find(end).map(|at| format!("{}\n", &log[..at + end.len()])).ok_or(log)
    })
}

fn log(namespace: &str, name: &str) -> String {
    kubectl(&["-n", namespace, "logs", &format!("deployment/{name}")], "").accepted().output
}
