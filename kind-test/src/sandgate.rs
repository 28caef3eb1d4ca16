//! Sandgate itself in the cluster: its manifests, when it is ready, and tests that change or remove it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use serde_json::{Value, json};

use crate::api::{self, RUNTIME};
use crate::kubectl::{Printed, kubectl};
use crate::stage::config_map;
use crate::wait::eventually;

/// The namespace of the webhook.
pub const NAMESPACE: &str = "sandgate-system";
/// The overlay that the tests run with.
pub const OVERLAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/overlays/kind");
/// The file of its configuration in the ConfigMap.
const FILE: &str = "config.yaml";

/// kubectl in the webhook's namespace with the words of `line`.
#[must_use]
pub fn system(line: &str) -> Printed {
    let words: Vec<&str> = ["-n", NAMESPACE].into_iter().chain(line.split_whitespace()).collect();
    kubectl(&words, "")
}

/// `kubectl apply -k` or `delete -k` of the overlay.
#[must_use]
pub fn manifests(verb: &str) -> Printed {
    kubectl(&[verb, "-k", OVERLAY], "")
}

/// Looks whether there is a cluster with Sandgate in it.
///
/// # Errors
/// Text for the user where there is none.
pub fn look_for() -> Result<(), String> {
    let printed = system("get deployment sandgate-webhook --request-timeout=10s");
    if printed.succeeded {
        return Ok(());
    }
    let named = std::env::var("KUBECONFIG").unwrap_or_else(|_| "not set".to_owned());
    Err(format!(
        "no Sandgate where kubectl leads to (KUBECONFIG: {named}): {}\nmake e2e makes a cluster with it; elsewhere: kubectl \
         apply -k manifests/overlays/kind",
        printed.errors.lines().last().unwrap_or_default()
    ))
}

/// Waits until the Deployment is as it should be, without replicas of before that still answer, and the API server reaches it
/// and trusts its certificate.
///
/// # Panics
/// Where that takes too long, or Sandgate is not there at all.
pub fn wait_until_ready() {
    let _ready = system("rollout status deployment/sandgate-webhook --timeout=180s").accepted();
    eventually("no replica of before is left", || {
        let ending = replicas().iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_string()).count();
        if ending == 0 { Ok(()) } else { Err(format!("{ending} are")) }
    });
    let _bundles = eventually("every entry has its caBundle", ca_bundles);
    // The node's table of Services is some moments behind, longer where there was no replica.
    let policy = config_map("sandgate-policy", "policy.yaml", "version: 1\ndestinations: []\n");
    eventually("a policy is looked at", || {
        RUNTIME
            .block_on(api::create("/api/v1/namespaces/default/configmaps?dryRun=All", &policy))
            .map_err(|refusal| refusal.message)
    });
}

/// The caBundles of all entries, base64.
///
/// # Errors
/// Where one is missing.
pub fn ca_bundles() -> Result<Vec<String>, String> {
    let mut bundles = Vec::new();
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        let configuration = api::get(&configuration_path(kind)).map_err(|refusal| refusal.message)?;
        for entry in configuration["webhooks"].as_array().into_iter().flatten() {
            let bundle = entry["clientConfig"]["caBundle"].as_str();
            bundles.push(bundle.ok_or_else(|| format!("{} has none", entry["name"]))?.to_owned());
        }
    }
    Ok(bundles)
}

/// Where a webhook configuration of ours is.
#[must_use]
pub fn configuration_path(kind: &str) -> String {
    format!("/apis/admissionregistration.k8s.io/v1/{kind}/sandgate-webhook")
}

/// The webhook's pods.
#[must_use]
pub fn replicas() -> Vec<Value> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app.kubernetes.io/name=sandgate-webhook");
    api::get(&path).expect("pods can be listed")["items"].as_array().unwrap().clone()
}

/// Runs what removes parts of Sandgate, and puts them back, however it ends.
///
/// # Panics
/// As `body`, and where Sandgate does not come back.
pub fn disturbed(body: impl FnOnce()) {
    let result = catch_unwind(AssertUnwindSafe(body));
    // One that is being deleted comes back when it is gone.
    eventually("the manifests are applied", || {
        let printed = manifests("apply");
        if printed.succeeded { Ok(()) } else { Err(printed.errors) }
    });
    wait_until_ready();
    result.unwrap_or_else(|panicked| resume_unwind(panicked));
}

/// Runs with these lines added to the webhook's configuration, by replicas that start with it; then as before.
///
/// # Panics
/// As `body`, and where the webhook does not get ready.
pub fn configured(lines: &str, body: impl FnOnce()) {
    let before = configuration();
    configure(&format!("{before}{lines}"));
    restart();
    let result = catch_unwind(AssertUnwindSafe(body));
    configure(&before);
    restart();
    result.unwrap_or_else(|panicked| resume_unwind(panicked));
}

/// The configuration as it is.
///
/// # Panics
/// Where there is none.
#[must_use]
pub fn configuration() -> String {
    let map = api::get(&config_map_path()).expect("the webhook has its configuration");
    map["data"][FILE].as_str().unwrap().to_owned()
}

/// Replaces the configuration, which the webhook reads with the kubelet's sync, or when it starts.
///
/// # Panics
/// Where the API server refuses.
pub fn configure(text: &str) {
    api::merge(&config_map_path(), &json!({"data": {FILE: text}})).expect("an admin may change the configuration");
}

fn config_map_path() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/configmaps/sandgate-webhook-config")
}

fn restart() {
    let _restarted = system("rollout restart deployment/sandgate-webhook").accepted();
    wait_until_ready();
}

/// Makes the RuntimeClass that sandbox managers name, with the ordinary runtime behind it, where the cluster has none.
///
/// # Panics
/// Where the API server refuses.
pub fn provide_runtime_class() {
    if api::get("/apis/node.k8s.io/v1/runtimeclasses/kata-qemu").is_err() {
        let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "kata-qemu"}, "handler": "runc"});
        let _made = kubectl(&["apply", "-f", "-"], &class.to_string()).accepted();
    }
}
