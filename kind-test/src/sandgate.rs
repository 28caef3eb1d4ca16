//! Sandgate itself in the cluster: its manifests, and when it is ready.

use serde_json::json;

use crate::api;
use crate::kubectl::{Printed, kubectl};
use crate::wait::eventually;

/// The namespace of the webhook.
pub const NAMESPACE: &str = "sandgate-system";
/// The overlay that the tests run with.
pub const OVERLAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/overlays/kind");

/// kubectl in the webhook's namespace with the words of `line`.
#[must_use]
pub fn system(line: &str) -> Printed {
    let words: Vec<&str> = ["-n", NAMESPACE].into_iter().chain(line.split_whitespace()).collect();
    kubectl(&words, "")
}

/// Waits until the Deployment is as it should be, and the API server has its certificate: a pod gets its sidecar.
///
/// # Panics
/// Where that takes too long, or Sandgate is not there at all.
pub fn wait_until_ready() {
    let _ready = system("rollout status deployment/sandgate-webhook --timeout=180s").accepted();
    eventually("every entry has its caBundle", || {
        for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
            let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}/sandgate-webhook");
            let configuration = api::get(&path).map_err(|refusal| refusal.message)?;
            let entries = configuration["webhooks"].as_array().cloned().unwrap_or_default();
            if entries.is_empty() || entries.iter().any(|entry| entry["clientConfig"]["caBundle"].is_null()) {
                return Err(format!("{kind} have none"));
            }
        }
        Ok(())
    });
}

/// Makes the RuntimeClass that sandbox managers name, with the ordinary runtime behind it, where the cluster has none.
pub fn provide_runtime_class() {
    if api::get("/apis/node.k8s.io/v1/runtimeclasses/kata-qemu").is_err() {
        let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "kata-qemu"}, "handler": "runc"});
        let _made = kubectl(&["apply", "-f", "-"], &class.to_string()).accepted();
    }
}
