//! `sandgate-sidecar run` around a client, beside an origin on loopback that only the proxy can name.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandgate_testkit::origin::{Builder, Origin, RecordedRequest};
use sandgate_testkit::sidecar::run_command;
use serde_json::Value;
use tempfile::TempDir;

/// What a client reads from `/zen`.
pub(crate) const ZEN: &str = "Keep it logically awesome.\n";
/// The reason phrase of the refusal of [`Bench::other`], which is what many clients show of it.
pub(crate) const REASON: &str = "Forbidden: other.test is not in the policy (host_not_allowed)";
/// Generous: clients such as the JVM start slowly where tests share their machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// An origin, and a directory in which the client runs, which is its home too.
pub(crate) struct Bench {
    pub(crate) origin: Origin,
    pub(crate) dir: TempDir,
    /// The host that is listed, in canonical form.
    host: &'static str,
}

/// What became of the client.
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    /// What the client wrote there; the summary is taken off.
    pub(crate) stderr: String,
    pub(crate) summary: Value,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_as("origin.test", Origin::builder()).await
    }

    /// A bench whose origin is `host`, in canonical form: an address is its own.
    pub(crate) async fn start_as(host: &'static str, origin: Builder) -> Self {
        let (origin, dir) = (origin.start().await, tempfile::tempdir().expect("a temporary directory"));
        origin.ca().write_root(&dir.path().join("origin-ca.pem"));
        Self { origin, dir, host }
    }

    /// The host that is listed, with its port.
    pub(crate) fn listed(&self) -> String {
        format!("{}:{}", self.host, self.origin.port())
    }

    /// A host that is not listed, with the same port.
    pub(crate) fn other(&self) -> String {
        format!("other.test:{}", self.origin.port())
    }

    /// Writes a program for the client to run, and returns its path.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("the script is written");
        path.display().to_string()
    }

    /// Runs `client` behind a proxy that lets it reach [`Bench::listed`] and nothing else.
    pub(crate) async fn run(&self, client: &[&str]) -> Finished {
        self.run_with(&[], client).await
    }

    /// As [`Bench::run`], with these variables in the environment of `run` itself.
    pub(crate) async fn run_with(&self, variables: &[(&str, &str)], client: &[&str]) -> Finished {
        self.run_inside(&["env"], variables, client).await
    }

    /// As [`Bench::run_with`], where `run` itself is the command of `outer`.
    pub(crate) async fn run_inside(&self, outer: &[&str], variables: &[(&str, &str)], client: &[&str]) -> Finished {
        let policy = ["--allow", &self.listed(), "--private-cidr", "127.0.0.0/8", "--private-cidr", "::1/128"];
        self.run_under(&policy, outer, variables, client).await
    }

    /// As [`Bench::run`], behind a proxy that lets it reach one path of [`Bench::listed`], `/zen`.
    pub(crate) async fn run_listing_zen(&self, client: &[&str]) -> Finished {
        let rule = "{id: origin, host: origin.test, private_cidrs: [127.0.0.0/8], allow: [{paths: [/zen]}], ports:";
        let text = format!("version: 1\ndestinations:\n  - {rule} [{}]}}\n", self.origin.port());
        self.run_under(&["--policy", &self.script("policy.yaml", &text)], &["env"], &[], client).await
    }

    /// As [`Bench::run_inside`], with these flags in place of a list of hosts.
    pub(crate) async fn run_under(
        &self,
        policy: &[&str],
        outer: &[&str],
        variables: &[(&str, &str)],
        client: &[&str],
    ) -> Finished {
        let (listed, home) = (self.listed(), self.dir.path().display().to_string());
        let (resolve, ca) = (format!("{listed}:127.0.0.1"), format!("{home}/origin-ca.pem"));
        let mut arguments = outer[1..].to_vec();
        arguments.extend([env!("CARGO_BIN_EXE_sandgate-sidecar"), "run", "--summary", "json"]);
        arguments.extend(policy);
        // What is an address by itself needs none by hand.
        if self.host.parse::<IpAddr>().is_err() && !self.host.starts_with('[') {
            arguments.extend(["--resolve", &resolve]);
        }
        arguments.extend(["--upstream-ca", &ca, "--"]);
        arguments.extend(client);
        let mut environment = vec![("HOME", home.as_str()), ("TMPDIR", home.as_str())];
        environment.extend(variables);
        let output = run_command(outer[0], &arguments, &environment, DEADLINE).await.expect("the command runs");
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
        let Some(code) = output.status.code() else { panic!("{client:?} ended by {}:\n{stderr}", output.status) };
        let (stderr, summary) = match stderr.trim_end().rsplit_once('\n') {
            Some((before, last)) => (format!("{before}\n"), last.to_owned()),
            None => (String::new(), stderr),
        };
        let summary = serde_json::from_str(&summary).unwrap_or_else(|_| panic!("no summary:\n{stderr}{summary}"));
        Finished { code, stdout, stderr, summary }
    }

    /// The requests that arrived at the origin, at least one.
    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        let requests = self.origin.requests();
        assert!(!requests.is_empty(), "nothing arrived at the origin");
        requests
    }

    /// Asserts that the client reached its host and nothing else, and returns what it printed.
    pub(crate) fn reached(&self, finished: Finished) -> String {
        assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
        let hosts = finished.summary["hosts"].as_array().expect("a list of hosts");
        assert_eq!(hosts.len(), 1, "{hosts:?}");
        assert_eq!(hosts[0]["host"], self.host);
        assert_eq!(hosts[0]["port"], self.origin.port());
        assert_eq!(hosts[0]["verdict"], "allowed", "{hosts:?}");
        assert_eq!(hosts[0]["requests"], self.requests().len());
        finished.stdout
    }

    /// Asserts that the client failed, that the summary names the host and why, and that nothing went out. Returns all
    /// that the client printed.
    pub(crate) fn refused(&self, finished: Finished) -> String {
        let printed = finished.stdout + &finished.stderr;
        assert_ne!(finished.code, 0, "{printed}");
        let hosts = finished.summary["hosts"].as_array().expect("a list of hosts");
        assert_eq!(hosts.len(), 1, "{hosts:?}");
        assert_eq!(hosts[0]["host"], "other.test");
        assert_eq!(hosts[0]["port"], self.origin.port());
        assert_eq!(hosts[0]["verdict"], "refused");
        assert_eq!(hosts[0]["code"], "host_not_allowed");
        assert!(hosts[0]["requests"].as_u64().expect("a count") >= 1);
        assert_eq!(self.origin.request_count(), 0);
        printed
    }
}

/// A program that `make test` installs below `target`.
pub(crate) fn tool(path: &str) -> String {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(path);
    // Not canonical: a virtual environment is found by the place of the link to its interpreter.
    let target: PathBuf = std::path::absolute(target).expect("a path");
    assert!(target.exists(), "{} is missing: run make test, or scripts/test-tools", target.display());
    target.display().to_string()
}

/// Python with the packages of the tests.
pub(crate) fn python() -> String {
    tool("venv/bin/python")
}

/// Asserts that the text contains each of these.
pub(crate) fn assert_shows(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}
