//! The directories beside the sidecar: where the state may be, what is kept in it, and where the workload sees its trust.

use std::path::Path;

use sandgate_testkit::sidecar::run_command;

use crate::harness::{DEADLINE, PROGRAM, Setup, allow, start_origin};

/// What `serve` says when it does not start with these arguments.
async fn refusal(arguments: &[&str]) -> String {
    let common = ["serve", "--no-env", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let output = run_command(PROGRAM, &[&common, arguments].concat(), &[], DEADLINE).await.expect("the program ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of a test is text")
}

#[tokio::test]
async fn a_state_directory_that_the_workload_sees_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("state");
    let said = refusal(&["--ca", "generate", "--trust-dir", text(dir.path()), "--state-dir", text(&inside)]).await;
    assert!(said.contains("--state-dir") && said.contains("--trust-dir"), "{said}");
    let said = refusal(&["--ca", "files", "--ca-dir", text(&inside), "--state-dir", text(dir.path())]).await;
    assert!(said.contains("--state-dir") && said.contains("--ca-dir"), "{said}");
}

#[tokio::test]
async fn credentials_that_the_workload_sees_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let auth = dir.path().join("auth");
    std::fs::write(&auth, "user:hunter2").unwrap();
    let proxy = ["--upstream-proxy", "http://127.0.0.1:9", "--upstream-proxy-auth-file", text(&auth)];
    let said = refusal(&[&["--ca", "generate", "--trust-dir", text(dir.path())], &proxy[..]].concat()).await;
    assert!(said.contains("--upstream-proxy-auth-file") && said.contains("--trust-dir"), "{said}");
    std::fs::write(&auth, "hunter2").unwrap();
    let said = refusal(&[&["--ca", "generate"], &proxy[..]].concat()).await;
    assert!(said.contains(text(&auth)) && said.contains("user:password") && !said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn a_damaged_file_is_named_with_its_setting_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, hosts) = (dir.path().join("resolv.conf"), dir.path().join("hosts"));
    std::fs::write(&kept, "nonsense\n").unwrap();
    let said = refusal(&["--ca", "generate", "--state-dir", text(dir.path())]).await;
    assert!(said.contains(text(&kept)) && said.contains("remove the file"), "{said}");
    nix::unistd::mkfifo(&hosts, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let said = refusal(&["--ca", "generate", "--hosts-file", text(&hosts)]).await;
    assert!(said.contains(&format!("--hosts-file: {}: it is a FIFO", text(&hosts))), "{said}");
}

#[tokio::test]
async fn the_workloads_path_of_the_trust_files_needs_the_files() {
    let said = refusal(&["--ca", "generate", "--trust-path", "/etc/proxy-ca"]).await;
    assert!(said.contains("--trust-path") && said.contains("--trust-dir"), "{said}");
}

#[tokio::test]
async fn trust_files_name_the_path_where_the_workload_sees_them_and_the_log_the_name_servers() {
    let origin = start_origin().await;
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir(state.path().join("ca")).unwrap();
    std::fs::write(state.path().join("ca/authorities.pem"), "").unwrap();
    let arguments = ["--trust-path", "/etc/proxy-ca", "--dns", "127.0.0.1:9", "--state-dir", text(state.path())];
    let setup = Setup::start(origin.ca(), &allow(&origin), &arguments).await;
    let wgetrc = std::fs::read_to_string(setup.dir.path().join("trust/wgetrc")).unwrap();
    assert_eq!(wgetrc, "ca_certificate = /etc/proxy-ca/bundle.crt\n");
    let log = setup.sidecar.stderr();
    assert!(log.contains("127.0.0.1:9") && log.contains("--dns"), "{log}");
    assert!(log.contains("authorities.pem is empty"), "{log}");
}
