//! The program's exit codes and what it prints: the real binary.
#![allow(clippy::unwrap_used, reason = "the setting that allows it in tests does not reach their helper functions")]

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

fn webhook() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandgate-webhook"));
    command.env_clear().stdin(Stdio::null());
    command
}

fn ran(arguments: &[&str]) -> (Option<i32>, String, String) {
    said(&webhook().args(arguments).output().unwrap())
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    (dir, path)
}

const BROKEN: &str = "sidecar:\n  imag: x\n  uid: 0\n";

#[test]
fn wrong_usage_exits_64_and_help_0() {
    for arguments in [&[][..], &["--nonsense"], &["serve"], &["inject"], &["validate-config"], &["report", "-o", "xml"]]
    {
        let (code, stdout, stderr) = ran(arguments);
        assert_eq!((code, stdout.as_str()), (Some(64), ""), "{arguments:?}");
        assert!(stderr.contains("--help"), "{arguments:?}: {stderr}");
    }
    for arguments in [&["--help"][..], &["serve", "--help"], &["explain", "--help"]] {
        let (code, stdout, stderr) = ran(arguments);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(stdout.contains("Usage: sandgate-webhook"), "{stdout}");
    }
    assert_eq!(ran(&["--version"]).1, format!("sandgate-webhook {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn validate_config_says_the_hash_or_every_problem_with_its_line() {
    let (_dir, path) = file("sidecar: {uid: 4242}\n");
    let path = path.to_str().unwrap();
    let (code, stdout, _) = ran(&["validate-config", path]);
    let hash = stdout.strip_prefix(&format!("{path}: ok (hash ")).and_then(|rest| rest.strip_suffix(")\n"));
    assert!(code == Some(0) && hash.is_some_and(|hash| hash.len() == 12), "{stdout}");
    fs::write(path, BROKEN).unwrap();
    let (code, stdout, _) = ran(&["validate-config", path]);
    let expected = [
        format!("{path}:2: sidecar.imag: there is no such key; did you mean image?"),
        format!("{path}:3: sidecar.uid: \"0\" is not a whole number from 1 to 2147483647"),
    ];
    assert_eq!((code, stdout.lines().collect::<Vec<_>>()), (Some(1), expected.iter().map(String::as_str).collect()));
}

#[test]
fn validate_config_reads_stdin_and_the_config_map_of_the_manifests() {
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sandgate-webhook-config}\ndata:\n  config.yaml: |\n    \
                    sidecar:\n      uid: 0\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: another}\n";
    let (_dir, path) = file(manifest);
    let path = path.to_str().unwrap();
    let (code, stdout, _) = ran(&["validate-config", path]);
    let expected = format!("{path} (config.yaml):2: sidecar.uid: \"0\" is not a whole number from 1 to 2147483647\n");
    assert_eq!((code, stdout), (Some(1), expected));
    fs::write(path, manifest.replace("uid: 0", "uid: 4242")).unwrap();
    let (code, stdout, _) = ran(&["validate-config", path]);
    assert!(code == Some(0) && stdout.starts_with(&format!("{path} (config.yaml): ok (hash ")), "{stdout}");

    let mut program =
        webhook().args(["validate-config", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    program.stdin.take().unwrap().write_all(BROKEN.as_bytes()).unwrap();
    let (code, stdout, _) = said(&program.wait_with_output().unwrap());
    assert!(code == Some(1) && stdout.starts_with("stdin:2: sidecar.imag: "), "{stdout}");
}

#[test]
fn inject_says_where_nothing_in_a_file_makes_pods_and_that_a_directory_is_no_file() {
    for text in ["", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- a.yaml\n"] {
        let (_dir, path) = file(text);
        let (code, stdout, stderr) = ran(&["inject", "-f", path.to_str().unwrap()]);
        assert_eq!((code, stdout.as_str()), (Some(0), text), "{stderr}");
        let expected =
            format!("{}: note: there is no pod in it, and nothing of a known kind that makes pods", path.display());
        assert!(stderr.starts_with(&expected), "{stderr}");
    }
    let (dir, _) = file("");
    let (code, _, stderr) = ran(&["inject", "-f", dir.path().to_str().unwrap()]);
    assert!(code == Some(1) && stderr.contains("is a directory; name its files, each with -f"), "{stderr}");
}

#[test]
fn validate_config_names_a_file_that_it_cannot_read() {
    let (code, stdout, stderr) = ran(&["validate-config", "/nonexistent/config.yaml"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.starts_with("sandgate-webhook: cannot read /nonexistent/config.yaml: No such file"), "{stderr}");
}

#[test]
fn a_broken_configuration_ends_serve_with_64_and_every_problem() {
    let (_dir, path) = file(BROKEN);
    let arguments = ["serve", "--namespace", "a", "--pod-name", "b", "--config", path.to_str().unwrap()];
    let (code, _, stderr) = ran(&arguments);
    assert_eq!(code, Some(64), "{stderr}");
    for line in [2, 3] {
        assert!(stderr.contains(&format!("{}:{line}: sidecar.", path.display())), "{stderr}");
    }
    fs::remove_file(&path).unwrap();
    let (code, _, stderr) = ran(&arguments);
    assert!(code == Some(64) && stderr.contains(&format!("{}: No such file", path.display())), "{stderr}");
}

#[test]
fn serve_logs_the_hash_of_its_configuration_as_json_and_needs_a_cluster() {
    let (dir, path) = file("server: {listen: '127.0.0.1:0', adminListen: '127.0.0.1:0'}\n");
    let path = path.to_str().unwrap();
    let arguments = ["serve", "--config", path, "--namespace", "a", "--pod-name", "b"];
    let (code, stdout, stderr) = said(&webhook().args(arguments).env("HOME", dir.path()).output().unwrap());
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    let lines = stderr.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let loaded = lines.into_iter().find(|line| line["message"] == "configuration loaded").unwrap();
    let (_, valid, _) = ran(&["validate-config", path]);
    assert!(valid.contains(loaded["hash"].as_str().unwrap()), "{loaded}");
}

#[test]
fn a_broken_configuration_ends_the_offline_commands_with_64() {
    let (_dir, path) = file(BROKEN);
    for command in [&["inject", "-f", "-"][..], &["explain", "-f", "-"], &["report"]] {
        let output = webhook().args(command).arg("--config").arg(&path).output().unwrap();
        let (code, stdout, stderr) = said(&output);
        assert_eq!((code, stdout.as_str()), (Some(64), ""), "{command:?}: {stderr}");
        assert!(stderr.contains(":2: sidecar.imag: ") && stderr.contains("docs/configuration.md"), "{stderr}");
    }
}

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: s}
spec:
  containers:
  - {name: workload, image: 'python:3'}
";

/// What the program says when it is given `input` on stdin.
fn piped(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = webhook();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    said(&process.wait_with_output().unwrap())
}

#[test]
fn inject_prints_the_pod_with_its_sidecar_or_the_difference() {
    let (code, stdout, _) = piped(&["inject", "-f", "-"], POD);
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("apiVersion: v1\nkind: Pod\n") && stdout.contains("name: auth-proxy\n"), "{stdout}");
    let (code, diff, _) = piped(&["inject", "-f", "-", "--diff"], POD);
    assert!(code == Some(0) && diff.starts_with("---") && diff.contains("\n+  initContainers:\n"), "{diff}");
    let (code, again, _) = piped(&["inject", "-f", "-", "--diff"], &stdout);
    assert_eq!((code, again.as_str()), (Some(0), ""), "what has the sidecar stays as it is");
}

#[test]
fn inject_follows_the_configuration_and_the_namespace_that_it_is_told() {
    let (_dir, path) = file("sidecar: {image: 'example.com/own:7'}\n");
    let config = path.to_str().unwrap();
    let (_, stdout, _) = piped(&["inject", "-f", "-", "--config", config], POD);
    assert!(stdout.contains("image: example.com/own:7\n"), "{stdout}");
    let policy = ["inject", "-f", "-", "--namespace-annotation", "sandgate.dev/policy=strict"];
    assert!(piped(&policy, POD).1.contains("name: strict\n"));
    let (code, stdout, _) = piped(&["inject", "-f", "-", "--namespace-label", "none"], POD);
    assert!(code == Some(0) && !stdout.contains("auth-proxy"), "{stdout}");
}

#[test]
fn a_pod_that_would_be_refused_is_exit_code_1_with_the_reason_and_no_output() {
    let pod = POD.replace("spec:\n", "spec:\n  hostNetwork: true\n");
    let required = ["--namespace-label", "required"];
    let (code, stdout, stderr) = piped(&[&["inject", "-f", "-"][..], &required].concat(), &pod);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("hostNetwork"), "{stderr}");
    let (code, stdout, _) = piped(&[&["explain", "-f", "-"][..], &required].concat(), &pod);
    assert!(code == Some(1) && stdout.contains("refused") && stdout.contains("hostNetwork"), "{stdout}");
    let (code, stdout, _) = piped(&["explain", "-f", "-"], POD);
    assert!(code == Some(0) && stdout.contains("injected"), "{stdout}");
}

#[test]
fn report_without_a_cluster_says_what_to_set() {
    let home = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = said(&webhook().arg("report").env("HOME", home.path()).output().unwrap());
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("KUBECONFIG"), "{stderr}");
}

#[test]
fn healthcheck_says_whether_a_webhook_is_well() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        let read = stream.read(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        String::from_utf8_lossy(&head[..read]).into_owned()
    });
    let (code, stdout, stderr) = ran(&["healthcheck", "--address", &address]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "", ""));
    assert!(serving.join().unwrap().starts_with("GET /healthz HTTP/1.1\r\n"));
    // A port that nobody gets by asking for a free one.
    let (code, _, stderr) = ran(&["healthcheck", "--address", "127.0.0.1:1"]);
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("sandgate-webhook: http://127.0.0.1:1/healthz: Connection refused"), "{stderr}");
}

/// A pipe with no room left.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer)
}

/// A kubeconfig for an API server that is not there.
const NO_CLUSTER: &str = "\
apiVersion: v1
kind: Config
current-context: a
contexts: [{name: a, context: {cluster: a, user: a}}]
clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true}}]
users: [{name: a, user: {token: a}}]
";

#[test]
fn neither_a_stderr_that_nobody_reads_nor_sighup_stops_a_webhook() {
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (dir, path) =
        file(&format!("server: {{listen: '127.0.0.1:0', adminListen: '{admin}'}}\ndns: {{servers: [10.96.0.10]}}\n"));
    let kubeconfig = dir.path().join("kubeconfig");
    fs::write(&kubeconfig, NO_CLUSTER).unwrap();
    let (_reader, stderr) = full_pipe();
    let mut command = webhook();
    command.args(["serve", "--namespace", "a", "--pod-name", "b", "--config"]).arg(&path).env("KUBECONFIG", kubeconfig);
    let mut process = command.stderr(stderr).spawn().unwrap();
    let id = Pid::from_raw(i32::try_from(process.id()).unwrap());
    let (sender, ended) = channel();
    thread::spawn(move || sender.send(process.wait().unwrap()));
    let healthy = || ran(&["healthcheck", "--wait", "20s", "--address", &admin]);
    let started = healthy();
    kill(id, Signal::SIGHUP).unwrap();
    let after = healthy();
    kill(id, Signal::SIGTERM).unwrap();
    let ended = ended.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| {
        kill(id, Signal::SIGKILL).unwrap();
        panic!("it has not ended after SIGTERM: {started:?}, {after:?}");
    });
    for (code, _, stderr) in [started, after] {
        assert_eq!(code, Some(0), "{stderr}");
    }
    assert_eq!(ended.code(), Some(0), "{ended}");
}
