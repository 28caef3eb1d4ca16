//! `run` with a real command and real traffic: its summary, its exit codes, and what is left afterwards.

use std::io::Write as _;
use std::process::Output;

use sandgate_testkit::origin::Origin;
use sandgate_testkit::sidecar::run_command;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{DEADLINE, PROGRAM, resolve, start_origin};

/// Runs `script` in a shell under `run`, with the temporary directories in a directory of the test.
async fn run(origin: &Origin, arguments: &[&str], script: &str) -> (Output, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let roots = dir.path().join("roots.pem");
    origin.ca().write_root(&roots);
    std::fs::create_dir(dir.path().join("tmp")).expect("the directory is made");
    let (allow, resolve, port) = (format!("origin.test:{}", origin.port()), resolve(origin), origin.port().to_string());
    let all = ["run", "--no-env", "--allow", &allow, "--resolve", &resolve, "--private-cidr", "127.0.0.0/8"];
    let all = [
        &all[..],
        &["--upstream-ca", roots.to_str().expect("a path in UTF-8")],
        arguments,
        &["--", "sh", "-c", script],
    ]
    .concat();
    let temporary = dir.path().join("tmp").display().to_string();
    let output = run_command(PROGRAM, &all, &[("TMPDIR", &temporary), ("PORT", &port)], DEADLINE).await;
    (output.expect("it ends"), dir)
}

const TRAFFIC: &str = "curl -sS https://origin.test:$PORT/zen && curl -sS https://origin.test:$PORT/zen >/dev/null; \
                       curl -s https://refused.test/; exit 7";

#[tokio::test]
async fn the_summary_says_what_was_reached_and_what_was_refused_how_often_and_why() {
    let origin = start_origin().await;
    let (output, dir) = run(&origin, &[], TRAFFIC).await;
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(7), "{error}");
    assert_eq!(out, "Keep it logically awesome.\n", "stdout is the command's: {error}");
    let line = |needle: &str| error.lines().find(|line| line.contains(needle)).unwrap_or_else(|| panic!("{error}"));
    let allowed = line("origin.test");
    assert!(allowed.contains("allowed") && allowed.contains("2 requests"), "{error}");
    let refused = line("refused.test:443");
    assert!(refused.contains("refused") && refused.contains("host_not_allowed"), "{error}");
    line("to allow it, add to run: --allow refused.test");
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0, "everything is removed");
}

#[tokio::test]
async fn the_summary_as_json_is_one_object() {
    let origin = start_origin().await;
    let (output, _dir) = run(&origin, &["--summary", "json", "--workers", "2"], TRAFFIC).await;
    let error = String::from_utf8_lossy(&output.stderr);
    let line = error.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{error}"));
    let summary: Value = serde_json::from_str(line).unwrap();
    let hosts = summary["hosts"].as_array().unwrap();
    let host = |name: &str| hosts.iter().find(|host| host["host"] == name).unwrap_or_else(|| panic!("{error}"));
    assert_eq!(host("origin.test")["verdict"], "allowed");
    assert_eq!(host("origin.test")["requests"], 2);
    assert_eq!(host("refused.test")["verdict"], "refused");
    assert_eq!(
        (&host("refused.test")["code"], &host("refused.test")["requests"]),
        (&"host_not_allowed".into(), &1.into())
    );
}

#[tokio::test]
async fn beside_the_short_form_the_summary_says_where_a_policy_file_is_needed() {
    let origin = start_origin().await;
    let dir = tempfile::tempdir().unwrap();
    let (resolve, port) = (resolve(&origin), origin.port());
    let script =
        format!("curl -sk https://origin.test:{port}/; curl -s http://plain.test/; curl -s https://other.test/");
    let arguments = ["run", "--no-env", "--allowed-domains", &format!("origin.test:{port}"), "--resolve", &resolve];
    let arguments = [&arguments[..], &["--", "sh", "-c", &script]].concat();
    let temporary = dir.path().display().to_string();
    let output = run_command(PROGRAM, &arguments, &[("TMPDIR", &temporary)], DEADLINE).await.unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let yaml =
        format!("- {{id: origin.test-{port}, host: origin.test, ports: [{port}], private_cidrs: [127.0.0.1/32]}}");
    assert!(out.contains(&format!(r#""allow":{{"add":"{yaml}","to":"destinations"}}"#)), "{out}");
    let file = "to allow it, add to destinations of a policy file (--policy) in place of allowed-domains:";
    for line in [
        format!("{file} {yaml}"),
        format!("{file} - {{id: plain.test-http, host: plain.test, scheme: http}}"),
        "to allow it, add to allowed-domains: other.test".to_owned(),
    ] {
        assert!(error.lines().any(|found| found.trim() == line), "{line}: {error}");
    }
}

#[tokio::test]
async fn beside_a_policy_file_the_summary_says_what_to_add_to_it() {
    let origin = start_origin().await;
    let mut policy = tempfile::NamedTempFile::new().unwrap();
    let rule = "{id: origin, host: origin.test, private_cidrs: [127.0.0.0/8], allow: [{paths: [/echo]}], ports:";
    write!(policy, "version: 1\ndestinations:\n  - {rule} [{}]}}\n", origin.port()).unwrap();
    writeln!(policy, "  - {{id: pinned, host: pinned.test, tls: passthrough}}").unwrap();
    let (resolve, port) = (resolve(&origin), origin.port().to_string());
    let script =
        "curl -sk https://origin.test:$PORT/zen; curl -s http://refused.test/; curl -s https://pinned.test/; exit 0";
    let run = async |format| {
        let arguments = ["run", "--no-env", "--policy", policy.path().to_str().unwrap(), "--resolve", &resolve];
        let arguments = [
            &arguments[..],
            &["--resolve", "pinned.test:443:127.0.0.1", "--summary", format, "--", "sh", "-c", script],
        ]
        .concat();
        let output = run_command(PROGRAM, &arguments, &[("PORT", &port)], DEADLINE).await.unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let expected = [
        ("- {methods: [GET], paths: [\"/zen\"]}", "origin.allow"),
        ("- {id: refused.test-http, host: refused.test, scheme: http}", "destinations"),
        ("- 127.0.0.1/32", "pinned.private_cidrs"),
    ];
    let text = run("text").await;
    for (add, to) in expected {
        assert!(text.contains(&format!("\n           to allow it, add to {to}: {add}\n")), "{text}");
    }
    let summary: Value = serde_json::from_str(run("json").await.lines().last().unwrap()).unwrap();
    for (add, to) in expected {
        let expected = serde_json::json!([{"add": add, "to": to}]);
        assert!(summary["hosts"].as_array().unwrap().iter().any(|line| line["allow"] == expected), "{summary}");
    }
}

#[tokio::test]
async fn without_a_policy_the_summary_says_the_flag() {
    let arguments = ["run", "--no-env", "--", "curl", "-s", "https://refused.test/"];
    let output = run_command(PROGRAM, &arguments, &[], DEADLINE).await.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("to allow it, add to run: --allow refused.test\n"), "{text}");
}

#[tokio::test]
async fn the_command_finds_whole_trust_files_and_audit_lines_go_to_the_file_only() {
    let origin = start_origin().await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let script = "d=$(dirname $CURL_CA_BUNDLE); ls $d; curl -sS https://origin.test:$PORT/zen";
    let (output, dir) = run(&origin, &["--audit-log", log.path().to_str().unwrap(), "--summary", "none"], script).await;
    let out = String::from_utf8_lossy(&output.stdout);
    for file in ["ca.crt", "bundle.crt", "truststore.p12", "Keep it logically awesome."] {
        assert!(out.contains(file), "{file}: {out}");
    }
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let lines = std::fs::read_to_string(log.path()).unwrap();
    let kinds: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(kinds.iter().any(|line| line["kind"] == "request" && line["host"] == "origin.test"), "{lines}");
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn ctrl_c_ends_the_command_then_the_proxy_and_removes_everything() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use sandgate_testkit::sidecar::isolated;
    use tokio::io::AsyncBufReadExt as _;

    let dir = tempfile::tempdir().unwrap();
    // Whoever starts tests in the background of a shell has them ignore SIGINT, and so would `run` and its command.
    let mut command = isolated("env", &[("TMPDIR", dir.path().to_str().unwrap())]);
    command.args(["--default-signal=INT", PROGRAM, "run", "--no-env", "--allow", "a.test", "--"]);
    command.args(["sh", "-c", "echo started; exec sleep 600"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("started"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the trust files are there");
    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill(Pid::from_raw(id), Signal::SIGINT).unwrap();
    let status = tokio::time::timeout(DEADLINE, child.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "everything is removed");
}
