//! `run` behind its user's own proxy: it reaches origins through that, says so, and gives its credentials to nobody.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use sandgate_testkit::origin::{Origin, Protocols};
use sandgate_testkit::raw_origin::RawOrigin;
use sandgate_testkit::raw_origin::scripts::{refuse_connect, tunnel_to};
use sandgate_testkit::sidecar::run_command;

use crate::harness::{DEADLINE, PROGRAM};

/// An origin, and the proxy of a user on the way to it.
struct User {
    origin: Origin,
    proxy: RawOrigin,
    dir: tempfile::TempDir,
}

impl User {
    async fn start(protocols: Protocols) -> Self {
        let origin = Origin::builder().protocols(protocols).start().await;
        let target = origin.addr();
        let proxy = RawOrigin::plain(move |connection| tunnel_to(connection, target)).await;
        let dir = tempfile::tempdir().unwrap();
        origin.ca().write_root(&dir.path().join("roots.pem"));
        Self { origin, proxy, dir }
    }

    /// `run` of a curl to the origin, whose name is not known here.
    async fn run(&self, scheme: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let url = format!("{scheme}://origin.test:{}", self.origin.port());
        let roots = self.dir.path().join("roots.pem").display().to_string();
        let resolve = format!("origin.test:{}:127.0.0.1", self.origin.port());
        let all = ["run", "--allow", &url, "--private-cidr", "127.0.0.0/8", "--resolve", &resolve];
        let script = format!("env >&2; curl -sS {url}/zen");
        let all = [&all[..], &["--upstream-ca", &roots], arguments, &["--", "sh", "-c", &script]].concat();
        run_command(PROGRAM, &all, variables, DEADLINE).await.unwrap()
    }

    fn with_credentials(&self) -> String {
        format!("http://me:hunter2@{}", self.proxy.addr())
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn said(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    error.lines().filter(|line| line.starts_with("sandgate-sidecar: ")).map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn origins_are_reached_through_the_users_proxy_which_is_said_without_its_credentials() {
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let user = User::start(Protocols::Both).await;
        let url = user.with_credentials();
        let output = user.run("https", &[], &[(variable, &url)]).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "Keep it logically awesome.\n", "{error}");
        let expected =
            format!("https:// origins are reached through the proxy of {variable}: http://{}", user.proxy.addr());
        assert!(said(&output).contains(&expected), "{error}");
        assert!(!said(&output).contains("hunter2"), "{error}");
        // base64 of me:hunter2
        let heads = user.proxy.requests();
        assert!(heads.len() == 1 && heads[0].contains("proxy-authorization: Basic bWU6aHVudGVyMg=="), "{heads:?}");
        if variable != "ALL_PROXY" {
            assert!(!error.contains("hunter2"), "the command's own variables lead to the sidecar: {error}");
        }
    }
}

#[tokio::test]
async fn a_file_with_credentials_is_for_the_users_proxy_too_and_comes_before_those_of_the_variable() {
    let user = User::start(Protocols::Both).await;
    let file = user.dir.path().join("auth");
    std::fs::write(&file, "file:secret\n").unwrap();
    set_mode(&file, 0o600);
    let file = file.display().to_string();
    for url in [format!("http://{}", user.proxy.addr()), user.with_credentials()] {
        let output = user.run("https", &["--upstream-proxy-auth-file", &file], &[("HTTPS_PROXY", &url)]).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "Keep it logically awesome.\n", "{error}");
        assert!(said(&output).contains("with the credentials of --upstream-proxy-auth-file"), "{error}");
        assert!(!error.contains("set mode 0600"), "{error}");
    }
    // base64 of file:secret
    let heads = user.proxy.requests();
    assert!(heads.len() == 2 && heads.iter().all(|head| head.contains("Basic ZmlsZTpzZWNyZXQ=")), "{heads:?}");
    let output = user.run("https", &["--upstream-proxy-auth-file", &file, "--upstream-proxy", "none"], &[]).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(64) && error.contains("there is no proxy that it is for"), "{error}");
}

#[tokio::test]
async fn a_file_with_credentials_that_others_may_read_is_warned_of_wherever_it_is() {
    let user = User::start(Protocols::Both).await;
    let dir = tempfile::tempdir_in(".").unwrap();
    std::fs::write(dir.path().join("auth"), "file:secret\n").unwrap();
    set_mode(&dir.path().join("auth"), 0o644);
    let relative = std::path::Path::new(dir.path().file_name().unwrap()).join("auth").display().to_string();
    for path in [relative, dir.path().join("auth").canonicalize().unwrap().display().to_string()] {
        let arguments = ["--upstream-proxy-auth-file", &path];
        let output = user.run("https", &arguments, &[("HTTPS_PROXY", &user.with_credentials())]).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("auth has a password") && error.contains("mode 0644"), "{path}: {error}");
    }
}

#[tokio::test]
async fn plain_http_has_its_own_variable() {
    let user = User::start(Protocols::Plain).await;
    let url = user.with_credentials();
    let output = user.run("http", &[], &[("HTTPS_PROXY", &url)]).await;
    assert_eq!((output.stdout.len(), user.proxy.connections()), (27, 0), "{}", String::from_utf8_lossy(&output.stderr));
    let error = String::from_utf8_lossy(&output.stderr);
    let warning = format!("--allow http://origin.test:{}: http is neither encrypted", user.origin.port());
    assert!(error.contains(&warning) && !error.contains("line "), "{error}");
    let output = user.run("http", &[], &[("HTTP_PROXY", &url)]).await;
    assert_eq!((output.stdout.len(), user.proxy.connections()), (27, 1), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn what_no_proxy_lists_and_what_settings_say_comes_first() {
    let user = User::start(Protocols::Both).await;
    let url = user.with_credentials();
    let own = format!("http://{}", user.proxy.addr());
    for (arguments, variables, through) in [
        (&[][..], &[("NO_PROXY", "other.test, .test")][..], false),
        (&["--upstream-proxy", "none"], &[], false),
        (&["--no-env"], &[], false),
        (&["--upstream-no-proxy", "other.test"], &[("no_proxy", "origin.test")], true),
        (&["--upstream-proxy", &own], &[("no_proxy", "origin.test")], true),
    ] {
        let before = user.proxy.connections();
        let output = user.run("https", arguments, &[&[("https_proxy", url.as_str())], variables].concat()).await;
        assert_eq!(output.stdout.len(), 27, "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(user.proxy.connections() - before, usize::from(through), "{arguments:?} {variables:?}");
        let is_silent = arguments.first().is_some_and(|first| *first != "--upstream-no-proxy");
        assert_eq!(said(&output).contains("through the proxy of"), !is_silent, "{arguments:?}: {}", said(&output));
    }
}

#[tokio::test]
async fn the_summary_says_which_proxy_failed_and_how_of_a_passthrough_too() {
    let answer = b"HTTP/1.1 407 x\r\nproxy-authenticate: Basic realm=\"x\"\r\ncontent-length: 0\r\n\r\n";
    let proxy = RawOrigin::plain(move |connection| refuse_connect(connection, answer)).await;
    let dir = tempfile::tempdir().unwrap();
    let (policy, nowhere) =
        (dir.path().join("policy.yaml").display().to_string(), dir.path().join("no-servers").display().to_string());
    std::fs::write(&nowhere, "").unwrap();
    let url = format!("http://{}", proxy.addr());
    for tls in ["intercept", "passthrough"] {
        let text = format!("version: 1\ndestinations:\n  - {{id: a, host: origin.test, tls: {tls}}}\n");
        std::fs::write(&policy, text).unwrap();
        let run = async |format| {
            let all = ["run", "--no-env", "--policy", &policy, "--upstream-proxy", &url, "--summary", format];
            let all = [&all[..], &["--resolv-conf", &nowhere, "--", "curl", "-sk", "https://origin.test/"]].concat();
            let output = run_command(PROGRAM, &all, &[], DEADLINE).await.unwrap();
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let error = run("text").await;
        let line = |needle: &str| error.lines().any(|line| line.contains(needle));
        assert!(line("  failed   origin.test:443  1 request  upstream_proxy_auth"), "{tls}: {error}");
        assert!(line("           the upstream proxy on the way to origin.test wants"), "{tls}: {error}");
        assert!(line(&format!("{url} answered 407")), "{tls}: {error}");
        let error = run("json").await;
        let summary: serde_json::Value = serde_json::from_str(error.lines().last().unwrap()).unwrap();
        let message = summary["hosts"][0]["message"].as_str().unwrap();
        assert!(summary["hosts"][0]["verdict"] == "failed" && message.contains(&url), "{summary}");
    }
}

#[tokio::test]
async fn a_run_within_a_run_goes_through_it_and_has_to_trust_it() {
    let origin = Origin::builder().start().await;
    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path().join("roots.pem").display().to_string();
    origin.ca().write_root(&dir.path().join("roots.pem"));
    let url = format!("https://origin.test:{}", origin.port());
    let common = format!(
        "run --allow {url} --private-cidr 127.0.0.0/8 --resolve origin.test:{}:127.0.0.1 --upstream-ca",
        origin.port()
    );
    for (inner_root, expected) in [("$NODE_EXTRA_CA_CERTS", "Keep it"), (roots.as_str(), "certificate_unknown_issuer")]
    {
        let script = format!("\"$PROGRAM\" {common} \"{inner_root}\" -- curl -sS {url}/zen");
        let arguments: Vec<&str> = common.split(' ').chain([&*roots, "--", "sh", "-c", &script]).collect();
        let output = run_command(PROGRAM, &arguments, &[("PROGRAM", PROGRAM)], DEADLINE).await.unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(out.contains(expected), "{inner_root}: {out} {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(origin.request_count(), 1);
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_is_an_error_and_not_passed_over() {
    let user = User::start(Protocols::Both).await;
    for value in ["socks5h://me:hunter2@127.0.0.1:1080", "http://me:hunter2@proxy:port", "ftp://hunter2"] {
        let output = user.run("https", &[], &[("https_proxy", value)]).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{error}");
        assert!(error.starts_with("https_proxy: ") && error.contains("--upstream-proxy none"), "{error}");
        assert!(!error.contains("hunter2") && output.stdout.is_empty(), "{error}");
    }
    assert_eq!(user.origin.request_count(), 0);
}

#[tokio::test]
async fn what_is_learnt_through_a_proxy_is_enforced_through_it_with_the_addresses_of_the_origin() {
    let user = User::start(Protocols::Both).await;
    let (path, url) = (|name: &str| user.dir.path().join(name).display().to_string(), user.with_credentials());
    let resolve = format!("origin.test:{}:127.0.0.1", user.origin.port());
    let (roots, origin) = (path("roots.pem"), format!("https://origin.test:{}/zen", user.origin.port()));
    let run = async |flags: &[&str]| {
        let common = ["run", "--resolve", &resolve, "--upstream-ca", &roots];
        let all = [&common[..], flags, &["--", "curl", "-sS", &origin]].concat();
        let output = run_command(PROGRAM, &all, &[("https_proxy", &url)], DEADLINE).await.unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (learnt, logged, log) = (path("learnt.yaml"), path("logged.yaml"), path("audit.log"));
    let learning = ["--learn", &learnt, "--private-cidr", "127.0.0.0/8", "--audit-log", &log];
    let (out, error) = run(&learning).await;
    assert_eq!(out, "Keep it logically awesome.\n", "{error}");
    let lines = std::fs::read_to_string(&log).unwrap();
    let via = format!(
        "\"address\":\"{}\",\"via\":\"upstream_proxy\",\"origin_addresses\":[\"127.0.0.1\"]",
        user.proxy.addr()
    );
    assert!(lines.contains(&via), "{lines}");
    let learn = ["learn", "--audit-log", &log, "--policy", &logged];
    run_command(PROGRAM, &learn, &[], DEADLINE).await.unwrap();
    for (policy, range) in [(&learnt, "127.0.0.0/8"), (&logged, "127.0.0.1/32")] {
        let text = std::fs::read_to_string(policy).unwrap();
        assert!(text.contains(&format!("    private_cidrs: [\"{range}\"]\n")), "{text}");
        let (out, error) = run(&["--policy", policy]).await;
        assert_eq!(out, "Keep it logically awesome.\n", "{error}{text}");
    }
    // A destination that lost its range is refused, and told where it belongs.
    let text = std::fs::read_to_string(&learnt).unwrap();
    std::fs::write(&learnt, text.replace("    private_cidrs: [\"127.0.0.0/8\"]\n", "")).unwrap();
    let (_, error) = run(&learning).await;
    let remedy = format!("to allow it, add to origin.test-{}.private_cidrs: - 127.0.0.1/32\n", user.origin.port());
    let text = std::fs::read_to_string(&learnt).unwrap();
    assert!(text.contains(&remedy) && error.contains(&remedy), "{text}{error}");
    assert_eq!(user.proxy.connections(), 3);
}
