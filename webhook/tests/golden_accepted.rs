//! Every pod of the golden tests that is patched, given to a real API server: it is a valid pod there, and comes back as
//! one in which nothing is left to do.

#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect fails")]

#[allow(dead_code, reason = "the golden tests use the rest")]
#[path = "golden/case.rs"]
mod case;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use case::Case;
use sandgate_testkit::api_server::{ApiServer, kubectl};
use sandgate_webhook::reason::Reason;
use serde_json::{Value, json};

const NAMESPACE: &str = "sandbox-containers";
const RESTRICTED: &str = "restricted";
/// Its keys are none that an API server takes, with or without us.
const INVALID: &str = "slash-and-tilde-keys";

#[test]
fn every_patched_pod_is_valid_and_comes_back_with_nothing_left_to_do() {
    let admin = prepare(NAMESPACE, json!({}));
    let mut problems = Vec::new();
    let mut accepted = 0;
    for name in case::folders().into_iter().filter(|name| name != INVALID) {
        let mut case = Case::load(&name);
        let Some(pod) = patched(&case) else { continue };
        match create(&admin, NAMESPACE, &pod, true) {
            Ok(pod) => case.request.object = pod,
            Err(error) => {
                problems.push(format!("{name}: {error}"));
                continue;
            }
        }
        let again = case.decide();
        if (again.reason, again.patch.len()) != (Reason::AlreadyInjected, 0) {
            problems.push(format!("{name}: {again:#?}"));
        }
        accepted += 1;
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(accepted >= 30, "only {accepted} pods were tried");
}

#[test]
fn a_guaranteed_pod_stays_guaranteed_and_another_does_not_become_so() {
    let admin = prepare("quality", json!({}));
    for (name, class) in
        [("guaranteed", "Guaranteed"), ("pod_level_guaranteed", "Guaranteed"), ("pod_level_resources", "Burstable")]
    {
        let pod = patched(&Case::load(name)).unwrap();
        let pod = create(&admin, "quality", &pod, true).unwrap();
        assert_eq!(pod["status"]["qosClass"], class, "{name}");
    }
}

#[test]
fn a_pod_that_passes_pod_security_restricted_still_passes_it() {
    let admin = prepare(RESTRICTED, json!({"pod-security.kubernetes.io/enforce": "restricted"}));
    let pod = patched(&Case::load("restricted_pod")).unwrap();
    create(&admin, RESTRICTED, &pod, true).unwrap();
    let other = patched(&Case::load("plain_required")).unwrap();
    let error = create(&admin, RESTRICTED, &other, true).unwrap_err();
    assert!(error.contains("violates PodSecurity") && !error.contains("auth-proxy"), "{error}");
}

/// The pod as it comes out, of a behaviour that is about a new one.
fn patched(case: &Case) -> Option<Value> {
    let decision = case.decide();
    if decision.patch.is_empty() || case.request.operation != "CREATE" {
        return None;
    }
    let mut pod = case.request.object.clone();
    json_patch::patch(&mut pod, &decision.patch).unwrap();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    Some(pod)
}

/// A namespace with what pods need that no controller is there to make; the kubeconfig to use it.
fn prepare(namespace: &str, labels: Value) -> PathBuf {
    let admin = ApiServer::shared().admin();
    let metadata = json!({"name": namespace, "labels": labels});
    create(&admin, namespace, &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}), false).unwrap();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    create(&admin, namespace, &account, false).unwrap();
    if namespace == NAMESPACE {
        let metadata = json!({"name": "kata-qemu"});
        let class =
            json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": metadata, "handler": "kata"});
        create(&admin, namespace, &class, false).unwrap();
    }
    admin
}

/// The object as the API server has it then, or what it says against it.
fn create(admin: &Path, namespace: &str, object: &Value, dry_run: bool) -> Result<Value, String> {
    let mut command = Command::new(kubectl());
    // Fields that the API server does not know are part of what is tried.
    command.args(["create", "--validate=ignore", "-o", "json", "-f", "-", "--kubeconfig"]).arg(admin);
    if object["kind"] != "Namespace" {
        command.args(["--namespace", namespace]);
    }
    if dry_run {
        command.arg("--dry-run=server");
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap())
}
