//! The API server: that it is one, that two are two, and that none is left over.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use sandgate_testkit::api_server::{ApiServer, has_ended, kubectl};

/// Set in the process that is killed.
const HOLD: &str = "SANDGATE_TEST_HOLDS_AN_API_SERVER";

fn run(kubeconfig: &Path, arguments: &[&str]) -> Output {
    Command::new(kubectl()).arg("--kubeconfig").arg(kubeconfig).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn users_have_their_groups_and_no_more_rights_than_rbac_gives() {
    let server = ApiServer::start();
    let user = server.kubeconfig("somebody", &["builders", "testers"]);
    let who = stdout(&run(&user, &["auth", "whoami", "-o", "jsonpath={.status.userInfo}"]));
    for expected in ["somebody", "builders", "testers", "system:authenticated"] {
        assert!(who.contains(expected), "{who}");
    }
    let refused = run(&user, &["get", "namespaces"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Forbidden"), "{refused:?}");
    stdout(&run(&server.admin(), &["get", "namespaces"]));
}

#[test]
fn two_at_once_are_two_and_drop_ends_both_processes_and_removes_the_files() {
    let (first, second) = (ApiServer::start(), ApiServer::start());
    stdout(&run(&first.admin(), &["create", "namespace", "only-here"]));
    assert!(!stdout(&run(&second.admin(), &["get", "namespaces"])).contains("only-here"));

    let (processes, directory) = (first.processes(), first.directory().to_owned());
    assert_eq!(processes.len(), 2);
    drop(first);
    assert!(processes.iter().all(|id| has_ended(*id)), "{processes:?}");
    assert!(!directory.exists());
    stdout(&run(&second.admin(), &["get", "namespaces"]));
}

#[test]
fn a_webhook_behind_a_service_with_an_external_name_is_called_on_loopback() {
    let server = ApiServer::start();
    let file = server.directory().join("webhook.yaml");
    std::fs::write(&file, WEBHOOK).unwrap();
    stdout(&run(&server.admin(), &["apply", "-f", file.to_str().unwrap()]));
    let deadline = Instant::now() + Duration::from_secs(20);
    // Configurations take effect a moment after they are written.
    while !String::from_utf8_lossy(&run(&server.admin(), &["create", "configmap", "any"]).stderr).contains(
        "https://nobody.default.svc:9/validate?timeout=5s\": dial tcp 127.0.0.1:9: connect: connection refused",
    ) {
        assert!(Instant::now() < deadline, "{}", server.logs());
        run(&server.admin(), &["delete", "configmap", "any"]);
    }
}

/// Nothing listens on port 9 of a machine that has no discard service.
const WEBHOOK: &str = r"
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: default}
spec: {type: ExternalName, externalName: localhost}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: nobody}
webhooks:
  - name: nobody.sandgate.dev
    clientConfig: {service: {name: nobody, namespace: default, path: /validate, port: 9}}
    rules: [{apiGroups: [''], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
    timeoutSeconds: 5
    sideEffects: None
    admissionReviewVersions: [v1]
";

#[test]
fn an_outage_ends_with_what_was_there_before() {
    let server = ApiServer::start();
    let admin = server.admin();
    stdout(&run(&admin, &["create", "namespace", "kept"]));
    server.stop_api_server();
    assert!(!run(&admin, &["get", "namespaces"]).status.success());
    assert_eq!(server.processes().len(), 1);
    server.start_api_server();
    stdout(&run(&admin, &["get", "namespace", "kept"]));
}

#[test]
fn a_test_that_is_killed_leaves_no_process_and_no_file() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["api_server::holds_one_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
        .env(HOLD, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let held = lines.filter_map(|line| line.split_once("held: ").map(|(_, held)| held.to_owned())).next().unwrap();
    let (processes, directory) = held.split_once(" in ").unwrap();
    let processes: Vec<u32> = processes.split(',').map(|id| id.parse().unwrap()).collect();
    assert!(processes.iter().all(|id| !has_ended(*id)), "{processes:?}");

    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let left = || processes.iter().any(|id| !has_ended(*id)) || PathBuf::from(directory).exists();
    while left() {
        assert!(Instant::now() < deadline, "{processes:?} or {directory} are still there");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "it is the process that another test kills"]
fn holds_one_until_it_is_killed() {
    if std::env::var_os(HOLD).is_none() {
        return;
    }
    let server = ApiServer::shared();
    let processes: Vec<String> = server.processes().iter().map(u32::to_string).collect();
    println!("held: {} in {}", processes.join(","), server.directory().display());
    loop {
        std::thread::park();
    }
}
