//! `report` against a real API server: which pods it lists, for whom, and what it compares with.

#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use sandgate_testkit::api_server::{ApiServer, kubectl};
use sandgate_webhook::config::Config;
use sandgate_webhook::rendering::Rendering;
use serde_json::{Value, json};

fn apply(server: &ApiServer, objects: &Value) {
    let mut program = Command::new(kubectl())
        .args(["create", "--kubeconfig"])
        .arg(server.admin())
        .args(["--save-config=false", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(objects.to_string().as_bytes()).unwrap();
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn report(kubeconfig: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_sandgate-webhook");
    Command::new(program).arg("report").args(arguments).env("KUBECONFIG", kubeconfig).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json_of(output: &Output) -> Value {
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A namespace and, since there are no controllers, the ServiceAccount without which it admits no pod.
fn namespace(name: &str, label: Option<&str>) -> [Value; 2] {
    let labels = label.map_or_else(|| json!({}), |label| json!({"sandgate.dev/inject": label}));
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}),
    ]
}

fn pod(namespace: &str, name: &str, more: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [{"name": "workload", "image": "example/app:1"}]},
    });
    json_patch::merge(&mut pod, more);
    pod
}

/// The pod as `inject` makes it with a configuration.
fn injected(pod: &Value, config: &str) -> Value {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(config.as_bytes()).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_sandgate-webhook"))
        .args(["inject", "-f", "-", "--namespace-label", "required", "--config"])
        .arg(file.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(pod.to_string().as_bytes()).unwrap();
    let output = program.wait_with_output().unwrap();
    sandgate_webhook::documents::read(&output.stdout).unwrap().remove(0).value
}

/// ConfigMap `sandgate-renderings` with what two configurations make, the second published later.
fn renderings(old: &str, new: &str) -> Value {
    let rendering = |text: &str| Rendering::new(&Config::parse(text.as_bytes()).unwrap(), &[]);
    let (old, new) = (rendering(old), rendering(new));
    let times = json!({old.hash(): "2026-01-01T00:00:00Z", new.hash(): "2026-02-01T00:00:00Z"});
    let data = |rendering: &Rendering| serde_json::to_string(rendering).unwrap();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "sandgate-renderings", "namespace": "sandgate-system",
            "annotations": {"sandgate.dev/published": times.to_string()}},
        "data": {old.hash(): data(&old), new.hash(): data(&new)},
    })
}

const OLD: &str = "sidecar: {image: 'example/sidecar:1'}\n";
const NEW: &str = "sidecar: {image: 'example/sidecar:2'}\n";

/// A cluster with namespaces of every mode, and pods with a current, an old, a foreign and no sidecar.
fn cluster() -> ApiServer {
    let server = ApiServer::start();
    let namespaces = [
        namespace("must", Some("required")),
        namespace("may", Some("enabled")),
        namespace("off", Some("disabled")),
        namespace("free", None),
        namespace("sandgate-system", None),
    ];
    apply(&server, &list(namespaces.concat()));
    apply(&server, &renderings(OLD, NEW));
    let owner = json!({"metadata": {"ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "1", "controller": true}]}});
    let out = json!({"metadata": {"labels": {"sandgate.dev/inject": "false"}}});
    let asks = json!({"metadata": {"labels": {"sandgate.dev/inject": "true"}}});
    let none = json!({});
    apply(
        &server,
        &list(vec![
            injected(&pod("must", "current", &none), NEW),
            injected(&pod("must", "old", &owner), OLD),
            pod("must", "bare", &none),
            pod(
                "must",
                "foreign",
                &json!({"spec": {"initContainers": [
                {"name": "auth-proxy", "image": "example/other:1", "restartPolicy": "Always"}]}}),
            ),
            pod("may", "missing", &owner),
            pod("may", "opted-out", &out),
            pod("may", "host", &json!({"spec": {"hostNetwork": true}})),
            pod("off", "plain", &none),
            pod("free", "plain", &none),
            pod("free", "asks", &asks),
        ]),
    );
    server
}

#[test]
fn it_lists_what_lacks_the_sidecar_or_has_an_old_one_with_owner_and_reason() {
    let server = cluster();
    let output = report(&server.admin(), &["--output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let found = json_of(&output);
    // Both renderings are of this version; the image's tag is another matter.
    let made_by = json!(env!("CARGO_PKG_VERSION"));
    let rows: Vec<_> = found["pods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let (owner, image) = (&row["owner"]["name"], &row["image"]);
            [&row["namespace"], &row["pod"], &row["finding"], owner, image, &row["version"]].map(Value::clone)
        })
        .collect();
    assert_eq!(
        rows,
        [
            [json!("may"), json!("missing"), json!("missing"), json!("web-1"), json!(null), json!(null)],
            [json!("must"), json!("bare"), json!("missing"), json!(null), json!(null), json!(null)],
            [json!("must"), json!("foreign"), json!("foreign"), json!(null), json!("example/other:1"), json!("1")],
            [json!("must"), json!("old"), json!("old"), json!("web-1"), json!("example/sidecar:1"), made_by],
        ]
    );
    assert!(found["comparedWith"].as_str().unwrap().starts_with("what the webhook makes, field by field"), "{found}");

    let output = report(&server.admin(), &["-n", "must"]);
    let (table, notes) = (text(&output.stdout), text(&output.stderr));
    let old = table.lines().find(|line| line.contains(" old ")).unwrap();
    assert!(old.contains("ReplicaSet/web-1") && old.contains("example/sidecar:1"), "{table}");
    assert!(table.lines().any(|line| line.contains("bare") && line.contains("none (bare)")), "{table}");
    assert!(notes.starts_with("1 namespace; sidecars are compared with what the webhook makes"), "{notes}");

    let free = report(&server.admin(), &["-n", "free", "-o", "json"]);
    assert_eq!(json_of(&free)["pods"].as_array().unwrap().len(), 1, "a pod may ask for it where no label does");
    let off = report(&server.admin(), &["-n", "off"]);
    assert_eq!((off.status.code(), text(&off.stdout).contains("every pod")), (Some(0), true));

    labels(&server);
    rights(&server);
}

/// Where no sidecar is to be expected, or a label or annotation does not mean what its author thinks, it says so.
fn labels(server: &ApiServer) {
    let mut typo = namespace("typo", Some("Required"));
    typo[0]["metadata"]["annotations"] = json!({"sandgate.dev/inject": "required"});
    apply(server, &list(typo.to_vec()));
    let label = ["label", "namespace", "kube-system", "sandgate.dev/inject=required", "--kubeconfig"];
    assert!(Command::new(kubectl()).args(label).arg(server.admin()).output().unwrap().status.success());
    let [_, account] = namespace("kube-system", None);
    apply(server, &list(vec![account, pod("kube-system", "exempt", &json!({}))]));
    let said = |name: &str| {
        let output = report(&server.admin(), &["-n", name]);
        (output.status.code(), text(&output.stderr))
    };
    for (name, code, part) in [
        ("free", 1, "note: namespace \"free\" has no label sandgate.dev/inject: only pods that have the label"),
        ("off", 0, "note: namespace \"off\" is labelled sandgate.dev/inject=disabled: none of its pods gets a sidecar"),
        (
            "typo",
            0,
            "note: the label sandgate.dev/inject of namespace \"typo\" means nothing, and its pods are refused",
        ),
        ("typo", 0, "note: namespace \"typo\": the annotation sandgate.dev/inject is not read: make it a label"),
        ("kube-system", 0, "note: the webhook is never called for pods of kube-system, whatever its label says"),
    ] {
        let (found, notes) = said(name);
        assert_eq!(found, Some(code), "{name}: {notes}");
        assert!(notes.contains(part), "{name}: {notes}");
    }
    let all = json_of(&report(&server.admin(), &["-o", "json"]));
    assert!(all["notes"].to_string().contains("namespace \\\"typo\\\" means nothing"), "{all}");
}

/// A reader of one namespace (ClusterRole `view`, whose rules a controller collects from the one named here) gets a comparison of images; who may read nothing is told what was refused.
fn rights(server: &ApiServer) {
    apply(
        server,
        &json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "view", "namespace": "must"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:aggregate-to-view"},
            "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}],
        }),
    );
    let mut config = tempfile::NamedTempFile::new().unwrap();
    config.write_all(NEW.as_bytes()).unwrap();
    let arguments = ["-n", "must", "-o", "json", "--config", config.path().to_str().unwrap()];
    let found = json_of(&report(&server.kubeconfig("reader", &[]), &arguments));
    assert!(found["comparedWith"].as_str().unwrap().starts_with("the image example/sidecar:2 alone"), "{found}");
    let pods: Vec<&str> = found["pods"].as_array().unwrap().iter().map(|row| row["pod"].as_str().unwrap()).collect();
    assert_eq!(pods, ["bare", "foreign", "old"]);

    let output = report(&server.kubeconfig("nobody", &[]), &[]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    assert!(text(&output.stderr).contains("the API server refused /api/v1/namespaces: namespaces is forbidden"));
}

#[test]
fn lists_longer_than_a_page_are_read_to_their_end() {
    let server = ApiServer::start();
    apply(&server, &list(namespace("many", Some("required")).to_vec()));
    let pods = |from: usize| list((from..from + 300).map(|n| pod("many", &format!("p{n:04}"), &json!({}))).collect());
    for from in [0, 300] {
        apply(&server, &pods(from));
    }
    let found = json_of(&report(&server.admin(), &["-n", "many", "-o", "json"]));
    assert_eq!(found["pods"].as_array().unwrap().len(), 600);
}

#[test]
fn without_a_cluster_it_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let output = report(&directory.path().join("none"), &[]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    let notes = text(&output.stderr);
    assert!(notes.contains("no cluster to ask: set KUBECONFIG, or log in"), "{notes}");
}
