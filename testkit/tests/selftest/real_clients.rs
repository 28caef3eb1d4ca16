//! curl and git against the origin: programs that share no code with it.

use sandgate_testkit::origin::Origin;
use sandgate_testkit::sidecar::run_command;
use tempfile::TempDir;

use super::{DEADLINE, uri};

async fn curl(origin: &Origin, directory: &TempDir, arguments: &[&str]) -> String {
    let root = directory.path().join("root.pem");
    origin.ca().write_root(&root);
    let resolve = format!("origin.test:{}:127.0.0.1", origin.port());
    let fixed = ["--silent", "--show-error", "--cacert", root.to_str().unwrap(), "--resolve", &resolve];
    let output = run_command("curl", &[&fixed, arguments].concat(), &[], DEADLINE).await.unwrap();
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn curl_gets_an_answer_over_both_protocols() {
    let (origin, directory) = (Origin::builder().start().await, TempDir::new().unwrap());
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let out = curl(&origin, &directory, &[flag, "-w", "%{http_version}", &uri(&origin, "/zen")]).await;
        assert_eq!(out, format!("Keep it logically awesome.\n{version}"));
        let out = curl(&origin, &directory, &[flag, "-d", "hello", &uri(&origin, "/upload")]).await;
        assert!(out.contains("\"body_bytes\":5"), "{flag}: {out}");
        let head = curl(&origin, &directory, &[flag, "--head", &uri(&origin, "/bytes/1000")]).await;
        assert!(head.to_lowercase().contains("content-length: 1000"), "{flag}: {head}");
    }
    let case = curl(&origin, &directory, &["--http1.1", "-H", "X-MiXed: Yes", &uri(&origin, "/echo")]).await;
    assert!(case.contains(r#"["X-MiXed","Yes"]"#), "{case}");
}

#[tokio::test]
async fn git_clones_and_pushes() {
    let (origin, directory) = (Origin::builder().start().await, TempDir::new().unwrap());
    let root = directory.path().join("root.pem");
    origin.ca().write_root(&root);
    let clone = directory.path().join("clone");
    let clone = clone.to_str().unwrap();
    let environment = [
        ("GIT_SSL_CAINFO", root.to_str().unwrap()),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_AUTHOR_NAME", "a"),
        ("GIT_AUTHOR_EMAIL", "a@a.test"),
        ("GIT_COMMITTER_NAME", "a"),
        ("GIT_COMMITTER_EMAIL", "a@a.test"),
    ];
    let url = format!("https://localhost:{}/git/repository.git", origin.port());
    for arguments in [
        &["clone", "--quiet", &url, clone][..],
        &["-C", clone, "commit", "--quiet", "--allow-empty", "--message", "third"],
        &["-C", clone, "push", "--quiet", "origin", "HEAD:main"],
        &["-C", clone, "fetch", "--quiet"],
    ] {
        let output = run_command("git", arguments, &environment, DEADLINE).await.unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let log = run_command("git", &["-C", clone, "log", "--format=%s", "origin/main"], &environment, DEADLINE).await;
    assert_eq!(String::from_utf8(log.unwrap().stdout).unwrap(), "third\nsecond\nfirst\n");
}
