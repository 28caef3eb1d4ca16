//! The program's exit codes and what it prints: the real binary.
#![allow(clippy::unwrap_used, reason = "the setting that allows it in tests does not reach their helper functions")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;

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
fn a_broken_configuration_ends_the_offline_commands_with_64() {
    let (_dir, path) = file(BROKEN);
    for command in [&["inject", "-f", "-"][..], &["explain", "-f", "-"], &["report"]] {
        let output = webhook().args(command).arg("--config").arg(&path).output().unwrap();
        let (code, stdout, stderr) = said(&output);
        assert_eq!((code, stdout.as_str()), (Some(64), ""), "{command:?}: {stderr}");
        assert!(stderr.contains(":2: sidecar.imag: ") && stderr.contains("docs/configuration.md"), "{stderr}");
    }
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
