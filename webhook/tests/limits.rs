//! What Kubernetes says where a quota or a LimitRange has no room for the sidecar: the texts that docs/webhook.md shows.

#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use sandgate_testkit::api_server::{ApiServer, kubectl};
use serde_json::{Value, json};

fn fed(command: &mut Command, input: &str) -> Output {
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    program.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    program.wait_with_output().unwrap()
}

/// What kubectl says on stderr when it creates `objects`.
fn create(kubeconfig: &Path, objects: &str) -> String {
    let output = fed(Command::new(kubectl()).args(["create", "-f", "-", "--kubeconfig"]).arg(kubeconfig), objects);
    String::from_utf8(output.stderr).unwrap()
}

fn namespace(name: &str) -> [Value; 2] {
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}),
    ]
}

fn injected(namespace: &str) -> String {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "warm-1", "namespace": namespace},
        "spec": {"containers": [{"name": "workload", "image": "example/app:1",
            "resources": {"limits": {"cpu": "1m", "memory": "512Mi"}}}]},
    });
    let mut program = Command::new(env!("CARGO_BIN_EXE_sandgate-webhook"));
    let output = fed(program.args(["inject", "-f", "-"]), &pod.to_string());
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_quota_and_a_limit_range_refuse_in_the_words_that_the_documentation_shows() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/webhook.md")).unwrap();
    let server = ApiServer::start();
    let admin = server.admin();
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "sandboxes", "namespace": "quota"}, "spec": {"hard": {"limits.memory": "16Gi"}}});
    let limit = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small", "namespace": "limit"},
        "spec": {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]}});
    let items = [&namespace("quota")[..], &namespace("limit"), &[quota, limit]].concat();
    let said = create(&admin, &json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    assert_eq!(said, "");
    // There is no controller that counts what is used.
    let status = json!({"status": {"hard": {"limits.memory": "16Gi"}, "used": {"limits.memory": "15872Mi"}}});
    let patched = Command::new(kubectl())
        .args(["patch", "resourcequota", "sandboxes", "-n", "quota", "--subresource=status", "--type=merge", "-p"])
        .arg(status.to_string())
        .arg("--kubeconfig")
        .arg(&admin)
        .output()
        .unwrap();
    assert!(patched.status.success(), "{}", String::from_utf8_lossy(&patched.stderr));

    for (namespace, expected) in [
        (
            "quota",
            "pods \"warm-1\" is forbidden: exceeded quota: sandboxes, requested: limits.memory=640Mi, used: \
                   limits.memory=15872Mi, limited: limits.memory=16Gi",
        ),
        ("limit", "maximum memory usage per Container is 64Mi, but limit is 128Mi"),
    ] {
        let said = create(&admin, &injected(namespace));
        assert!(said.contains(expected), "{said}");
        assert!(page.contains(expected), "docs/webhook.md does not show: {expected}");
    }
}
