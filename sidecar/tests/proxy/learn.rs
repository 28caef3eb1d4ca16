//! `run --learn` and `learn` as processes: what is written and when, exit codes, and what is said. That what is learnt of
//! real clients works is tested with the clients.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use sandgate_testkit::origin::Origin;
use sandgate_testkit::sidecar::run_command;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{DEADLINE, PROGRAM, resolve, start_origin};

/// A directory with a policy file, or the place for one, and the roots of an origin.
struct Place {
    origin: Origin,
    dir: TempDir,
}

impl Place {
    async fn new() -> Self {
        let (origin, dir) = (start_origin().await, tempfile::tempdir().expect("a directory"));
        origin.ca().write_root(&dir.path().join("roots.pem"));
        Self { origin, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn policy(&self) -> String {
        fs::read_to_string(self.path("policy.yaml")).expect("there is a policy")
    }

    /// Runs the program in the directory.
    async fn program(&self, arguments: &[&str]) -> Output {
        let (port, dir) = (self.origin.port().to_string(), self.dir.path().display().to_string());
        let arguments = [&["-C", &dir, PROGRAM][..], arguments].concat();
        run_command("env", &arguments, &[("TMPDIR", &dir), ("PORT", &port)], DEADLINE).await.expect("it ends")
    }

    /// Learns of a script for a shell.
    async fn learn(&self, flags: &[&str], script: &str) -> Output {
        let resolve = resolve(&self.origin);
        let all = ["run", "--no-env", "--learn", "policy.yaml", "--resolve", &resolve, "--upstream-ca", "roots.pem"];
        let all = [&all[..], &["--private-cidr", "127.0.0.0/8"], flags, &["--", "sh", "-c", script]].concat();
        self.program(&all).await
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const ZEN: &str = "curl -sS -o /dev/null https://origin.test:$PORT/zen";

#[tokio::test]
async fn the_policy_is_written_when_the_command_ends_however_it_ends_and_the_summary_says_so() {
    for (end, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $PPID; exec sleep 60", 143), ("kill -KILL $$", 137)]
    {
        let place = Place::new().await;
        let script = format!("{ZEN}; test ! -e policy.yaml || exit 99; {end}");
        let output = place.learn(&[], &script).await;
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.ends_with("\nsandgate: learnt 1 host, 1 rule: policy.yaml\n"), "{error}");
        assert!(place.policy().contains("- \"/zen\"  # 1 request\n"), "{}", place.policy());
        let mut files: Vec<_> =
            fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["policy.yaml", "roots.pem"], "something was left behind");
    }
}

#[tokio::test]
async fn the_summary_as_json_says_what_was_learnt_and_none_says_nothing() {
    let place = Place::new().await;
    let output = place.learn(&["--summary", "json"], ZEN).await;
    let summary: Value = serde_json::from_slice(&output.stderr).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert_eq!(summary["learnt"], json!({ "file": "policy.yaml", "hosts": 1, "rules": 1 }));
    let hosts = summary["hosts"].as_array().expect("a list of hosts");
    assert!(hosts.len() == 1 && hosts[0]["scheme"] == "https" && hosts[0]["requests"] == 1, "{summary}");
    assert_eq!(text(&place.learn(&["--summary", "none"], ZEN).await.stderr), "");
}

#[tokio::test]
async fn what_is_learnt_is_enforced_and_allows_nothing_else() {
    let place = Place::new().await;
    place.learn(&[], ZEN).await;
    let resolve = resolve(&place.origin);
    let script = format!("{ZEN} -w '%{{http_code}} '; {} -w '%{{http_code}}'", ZEN.replace("/zen", "/upload"));
    let all = ["run", "--no-env", "--policy", "policy.yaml", "--resolve", &resolve, "--upstream-ca", "roots.pem"];
    let output = place.program(&[&all[..], &["--", "sh", "-c", &script]].concat()).await;
    assert_eq!(text(&output.stdout), "200 403", "{}", text(&output.stderr));
}

#[tokio::test]
async fn addresses_are_refused_as_ever_and_become_comments() {
    let place = Place::new().await;
    let script = "for host in 169.254.169.254 10.1.2.3 192.0.2.1; do curl -s -o /dev/null -w '%{http_code} ' http://$host/secret; done";
    let output = place.learn(&[], script).await;
    assert_eq!(text(&output.stdout), "403 403 403 ", "{}", text(&output.stderr));
    let policy = place.policy();
    for comment in [
        "10.1.2.3:80: address_not_allowed, 1 request; to allow it, add to run: --private-cidr 10.1.2.3/32",
        "169.254.169.254:80: metadata_address, 1 request",
        "192.0.2.1:80: address_not_allowed, 1 request; to allow it, add to run: --private-cidr 192.0.2.1/32",
    ] {
        assert!(policy.contains(&format!("# Not learnt: {comment}\n")), "{policy}");
    }
    assert!(text(&output.stderr).contains("to allow it, add to run: --private-cidr 10.1.2.3/32\n"));
    assert!(policy.contains("\ndestinations: []\n"), "{policy}");
    assert!(text(&output.stderr).ends_with("sandgate: learnt nothing new: policy.yaml\n"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn the_message_of_a_private_address_says_what_admits_it_and_no_warning_is_made_of_an_empty_file() {
    for base in [None, Some("version: 1\ndestinations: []\n"), Some("version: 1\nmode: audit\ndestinations: []\n")] {
        let place = Place::new().await;
        if let Some(base) = base {
            fs::write(place.path("policy.yaml"), base).unwrap();
        }
        let resolve = resolve(&place.origin);
        let all = ["run", "--no-env", "--learn", "policy.yaml", "--resolve", &resolve, "--upstream-ca", "roots.pem"];
        let script = "curl -s https://origin.test:$PORT/zen";
        let output = place.program(&[&all[..], &["--", "sh", "-c", script]].concat()).await;
        let (answer, error) = (text(&output.stdout), text(&output.stderr));
        assert!(!answer.contains("whatever a policy lists") && answer.contains("private_cidrs"), "{answer}");
        assert!(error.contains("to allow it, add to run: --private-cidr 127.0.0.1/32\n"), "{error}");
        assert!(!error.contains("is valid, but"), "{error}");
        let remedy = ": address_not_allowed, 1 request; to allow it, add to run: --private-cidr 127.0.0.1/32\n";
        assert!(place.policy().contains(remedy), "{}", place.policy());
    }
}

#[tokio::test]
async fn what_flags_allow_is_warned_of_without_lines_that_nobody_wrote() {
    let place = Place::new().await;
    let all = ["run", "--no-env", "--allow", "http://a.test", "--allow", "http://b.test", "--", "true"];
    let error = text(&place.program(&all).await.stderr);
    assert!(error.contains("http is neither encrypted"), "{error}");
    assert!(!error.contains("line ") && !error.contains("allow-1"), "{error}");
}

#[tokio::test]
async fn a_private_address_needs_its_range_and_gets_it_into_the_policy() {
    let place = Place::new().await;
    let resolve = resolve(&place.origin);
    let all = ["run", "--no-env", "--learn", "policy.yaml", "--resolve", &resolve, "--upstream-ca", "roots.pem"];
    place.program(&[&all[..], &["--", "sh", "-c", ZEN]].concat()).await;
    assert!(place.policy().contains(": address_not_allowed, 1 request"), "{}", place.policy());
    place.learn(&[], ZEN).await;
    assert!(place.policy().contains("    private_cidrs: [\"127.0.0.0/8\"]\n"), "{}", place.policy());
}

#[tokio::test]
async fn a_file_that_is_there_is_extended_with_its_mode_and_its_own_lines() {
    let place = Place::new().await;
    let mine = "# mine\r\nversion: 1\r\ndestinations: # all\r\n    - {id: a, host: a.test}";
    fs::write(place.path("policy.yaml"), mine).unwrap();
    fs::set_permissions(place.path("policy.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
    place.learn(&[], ZEN).await;
    let policy = place.policy();
    assert!(policy.starts_with(&format!("{mine}\r\n    - id: origin.test-")), "{policy}");
    assert!(!policy.replace("\r\n", "").contains('\n') && policy.ends_with("- \"/zen\"  # 1 request"), "{policy}");
    assert_eq!(fs::metadata(place.path("policy.yaml")).unwrap().permissions().mode() & 0o777, 0o600);
    place.learn(&[], ZEN).await;
    assert_eq!(place.policy(), policy, "nothing is new");
}

#[tokio::test]
async fn what_could_not_be_written_later_is_wrong_usage_and_the_command_is_not_run() {
    let place = Place::new().await;
    fs::write(place.path("bad.yaml"), "version: 1\ndestinations:\n  - host: a.test\n").unwrap();
    for (file, expected) in [
        ("bad.yaml", "bad.yaml: line 3: destinations[0].id: is missing"),
        ("missing/policy.yaml", "missing/policy.yaml cannot be written later"),
        ("/proc/policy.yaml", "no file can be made in /proc"),
        (".", "it is a directory"),
        ("-", "which no stream can be; name a file (./- for one of that name)"),
    ] {
        let output = place.program(&["run", "--no-env", "--learn", file, "--", "echo", "ran"]).await;
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(64), ""), "{file}");
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
    let output = place.program(&["run", "--no-env", "--learn", "policy.yaml", "--", "sandgate-no-such-command"]).await;
    assert_eq!(output.status.code(), Some(127));
    assert!(!place.path("policy.yaml").exists(), "nothing ran, so nothing was learnt");
}

#[tokio::test]
async fn a_file_that_is_broken_meanwhile_stays_and_what_was_learnt_is_not_lost() {
    let place = Place::new().await;
    let output = place.learn(&[], &format!("{ZEN}; echo broken >policy.yaml")).await;
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{error}");
    assert_eq!(place.policy(), "broken\n");
    let kept = error
        .split("what was learnt is in ")
        .nth(1)
        .and_then(|rest| rest.split(':').next())
        .unwrap_or_else(|| panic!("{error}"));
    assert!(fs::read_to_string(kept).unwrap().contains("- \"/zen\"  # 1 request\n"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_made_read_only_meanwhile_stays_and_what_was_learnt_is_not_lost() {
    let place = Place::new().await;
    let mine = "version: 1\ndestinations: []\n";
    fs::write(place.path("policy.yaml"), mine).unwrap();
    let output = place.learn(&[], &format!("{ZEN}; chmod 444 policy.yaml")).await;
    let error = text(&output.stderr);
    assert_eq!((output.status.code(), place.policy().as_str()), (Some(125), mine), "{error}");
    assert!(error.contains("policy.yaml cannot be written: it is read-only by now: make it writable"), "{error}");
    let kept = error.split("what was learnt is in ").nth(1).and_then(|rest| rest.split(':').next());
    assert!(
        fs::read_to_string(kept.expect("a file is named")).unwrap().contains("- \"/zen\"  # 1 request\n"),
        "{error}"
    );
}

#[tokio::test]
async fn what_a_refusal_advises_may_be_done_while_the_command_runs() {
    let place = Place::new().await;
    fs::write(place.path("policy.yaml"), "version: 1\ndestinations: []\n").unwrap();
    let mine = format!(
        "version: 1\ndestinations:\n- {{id: origin, host: origin.test, ports: [{}], private_cidrs: [127.0.0.1/32]}}\n",
        place.origin.port()
    );
    fs::write(place.path("mine.yaml"), &mine).unwrap();
    let output = place.learn(&[], &format!("{ZEN}; cp mine.yaml policy.yaml")).await;
    let error = text(&output.stderr);
    assert_eq!((output.status.code(), place.policy()), (Some(0), mine), "{error}");
    assert!(error.ends_with("sandgate: learnt nothing new: policy.yaml\n"), "{error}");
}

/// The audit lines of a run that let one path through.
async fn audit_log(place: &Place) -> String {
    fs::write(place.path("enforced.yaml"), policy_of(&place.origin)).expect("the policy is written");
    let (resolve, script) =
        (resolve(&place.origin), format!("{ZEN}; {}; curl -s https://evil.test/", ZEN.replace("/zen", "/upload")));
    let all = ["run", "--no-env", "--policy", "enforced.yaml", "--audit-log", "audit.log", "--resolve", &resolve];
    place.program(&[&all[..], &["--upstream-ca", "roots.pem", "--", "sh", "-c", &script]].concat()).await;
    fs::read_to_string(place.path("audit.log")).expect("there is a log")
}

fn policy_of(origin: &Origin) -> String {
    format!(
        "version: 1\ndestinations:\n  - id: a\n    host: origin.test\n    ports: [{}]\n    private_cidrs: [127.0.0.0/8]\n    \
         allow:\n      - paths: [/zen]\n",
        origin.port()
    )
}

#[tokio::test]
async fn an_audit_log_becomes_a_policy_of_what_it_let_through_and_comments_on_the_rest() {
    let place = Place::new().await;
    let log = audit_log(&place).await;
    let lines = format!(
        "INFO ready\n{log}{}{}\n",
        &log[..40],
        log.lines().next().unwrap().replace("\"v\":1", "\"v\":2,\"lost\":3")
    );
    fs::write(place.path("audit.log"), lines).unwrap();
    let output = place.program(&["learn", "--audit-log", "audit.log"]).await;
    let (policy, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(policy.contains("    private_cidrs: [\"127.0.0.1/32\"]\n"), "{policy}");
    assert!(
        policy.contains("      - methods: [GET]  # 1 request\n        paths:\n          - \"/zen\"  # 1 request\n"),
        "{policy}"
    );
    assert!(
        policy.contains("# Refused: evil.test:443. This destination would allow it:\n#   - id: evil.test  #"),
        "{policy}"
    );
    assert!(policy.contains("#           - \"/upload\"  # 1 request\n"), "{policy}");
    assert!(error.contains("sandgate: audit.log: 2 passed over, as no whole audit line: lines 1, "), "{error}");
    assert!(error.ends_with("\nsandgate: learnt 1 host, 1 rule\n"), "{error}");
    fs::write(place.path("policy.yaml"), &policy).unwrap();
    let validate = place.program(&["validate", "policy.yaml"]).await;
    assert!(text(&validate.stdout).starts_with("policy.yaml: valid, 1 destination\n"), "{}", text(&validate.stdout));
}

#[tokio::test]
async fn a_log_from_the_standard_input_extends_a_file() {
    let place = Place::new().await;
    audit_log(&place).await;
    let script = "exec \"$0\" learn --audit-log - --audit-log /dev/null --policy policy.yaml <audit.log";
    let dir = place.dir.path().display().to_string();
    for said in ["sandgate: learnt 1 host, 1 rule: policy.yaml\n", "sandgate: learnt nothing new: policy.yaml\n"] {
        let output =
            run_command("env", &["-C", &dir, "sh", "-c", script, PROGRAM], &[], DEADLINE).await.expect("it ends");
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), ""));
        assert_eq!(text(&output.stderr), said);
    }
    assert_eq!(place.policy().matches("evil.test:443").count(), 1, "{}", place.policy());
}

#[tokio::test]
async fn a_log_that_is_none_is_an_error_and_nothing_is_written() {
    let place = Place::new().await;
    fs::write(place.path("other.log"), "nothing\nof the kind\n").unwrap();
    fs::write(place.path("bad.yaml"), "version: 2\n").unwrap();
    for (arguments, code, expected) in [
        (&["--audit-log", "missing.log"][..], 1, "cannot read missing.log: No such file"),
        (&["--audit-log", "other.log", "--policy", "policy.yaml"], 1, "there is no audit line"),
        (&["--audit-log", "other.log", "--policy", "bad.yaml"], 1, "bad.yaml: line 1: version: \"2\" is not known"),
        (&["--audit-log", "-", "--policy", "-"], 64, "which no stream can be; name a file (./- for one of that name)"),
        (&["--policy", "policy.yaml"], 64, "--audit-log"),
        (&[], 64, "--audit-log"),
    ] {
        let output = place.program(&[&["learn"][..], arguments].concat()).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
        assert!(!place.path("policy.yaml").exists(), "{arguments:?}");
    }
}
