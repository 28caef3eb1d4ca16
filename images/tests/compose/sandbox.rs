//! One sandbox for all tests that run at the same time: that of docker-compose.yml, and beside it an origin, a decoy that
//! owns the addresses which nobody may reach, and a watcher of this machine's interfaces.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sandgate_images_test::{Said, docker, inspect, must, repository, run, until};
use sandgate_testkit::pki::TestCa;
use serde_json::Value;
use tempfile::TempDir;

/// What the name server of this test must never be asked from outside the sandbox.
pub(crate) const MARKER: &str = "sandgate-test-marker";
/// Addresses that the decoy has: a metadata service, public ones (of documentation), and a private one.
pub(crate) const FORBIDDEN: [&str; 6] =
    ["169.254.169.254", "203.0.113.80", "203.0.113.53", "10.123.45.67", "2001:db8::80", "2001:db8::53"];

/// The policy: an origin of ours, whose address is a private one.
const POLICY: &str = "
version: 1
destinations:
  - id: origin
    host: origin.test
    private_cidrs: [172.16.0.0/12, 192.168.0.0/16, 10.0.0.0/8]
";

pub(crate) struct Sandbox {
    dir: TempDir,
    project: String,
}

impl Sandbox {
    /// The one that another test uses now, or a new one.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Sandbox>> = Mutex::new(Weak::new());
        // A test that failed while it waited leaves nothing half done behind this lock.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let sandbox = Arc::new(Self::up());
            *shared = Arc::downgrade(&sandbox);
            sandbox
        })
    }

    fn up() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let sandbox = Self { dir, project: format!("sandgate-test-{}", std::process::id()) };
        sandbox.write("policy/policy.yaml", POLICY);
        let ca = TestCa::named("Sandgate Compose Test");
        let origin = ca.issue(&["origin.test"]);
        sandbox.write("origin/root.pem", &ca.root_pem());
        sandbox.write("origin/server.pem", &format!("{}{}", origin.key_pem(), origin.chain_pem()));
        sandbox.write("scripts/watch.py", include_str!("watch.py"));
        sandbox.write("scripts/origin.py", include_str!("origin.py"));
        sandbox.write("scripts/decoy.sh", include_str!("decoy.sh"));
        sandbox.write("override.yaml", include_str!("override.yaml"));
        // Such as the image that `make sandbox` makes.
        must(sandbox.command("scripts/sandbox").arg("true"));
        must(&mut sandbox.compose(&["up", "--detach", "--wait", "--quiet-pull"]));
        for watcher in ["decoy", "watcher"] {
            until(Duration::from_secs(30), "it watches", || sandbox.log(watcher).contains("watching").then_some(()));
        }
        sandbox
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in the directory")).expect("a directory");
        fs::write(path, text).expect("it can be written");
        // For the containers, whose users are others.
        must(Command::new("chmod").args(["-R", "a+rX"]).arg(self.dir.path()));
    }

    /// A script of the repository, for this sandbox instead of the one that `make sandbox` has.
    pub(crate) fn command(&self, script: &str) -> Command {
        let mut command = Command::new(repository(script));
        command.current_dir(repository(""));
        let files = format!("docker-compose.yml:{}", self.dir.path().join("override.yaml").display());
        command.env("COMPOSE_FILE", files).env("COMPOSE_PROJECT_NAME", &self.project);
        command.env("SANDGATE_POLICY_DIR", self.dir.path().join("policy"));
        command.env("SANDGATE_HEALTH_PORT", "0").env("TESTS", self.dir.path());
        command.env("FORBIDDEN", FORBIDDEN.join(" ")).env("MARKER", MARKER);
        command
    }

    pub(crate) fn compose(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("scripts/compose");
        command.args(["--progress", "quiet"]).args(arguments);
        command
    }

    /// Runs a command in a service's container.
    pub(crate) fn exec(&self, service: &str, command: &[&str]) -> Said {
        run(self.compose(&["exec", "-T", service]).args(command))
    }

    /// Runs a shell's line in the workload; it must succeed, and what it printed comes back.
    pub(crate) fn says(&self, line: &str) -> String {
        let said = self.exec("workload", &["sh", "-c", line]);
        assert_eq!(said.code, Some(0), "{line}: {said:#?}");
        said.out
    }

    /// Runs a Python program in a service's container, and reads the JSON that it prints.
    pub(crate) fn python(&self, service: &str, program: &str, arguments: &[&str]) -> Value {
        let mut command = self.compose(&["exec", "-T", service, "python3", "-"]);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        child.stdin.take().expect("it is piped").write_all(program.as_bytes()).expect("it reads");
        let said = Said::from(child.wait_with_output().expect("it ends"));
        assert_eq!(said.code, Some(0), "{service}: {said:#?}");
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:#?}"))
    }

    /// All that a service's container printed.
    pub(crate) fn log(&self, service: &str) -> String {
        must(&mut self.compose(&["logs", "--no-log-prefix", service]))
    }

    /// What Docker knows of a service's container.
    pub(crate) fn inspect(&self, service: &str) -> Value {
        let id = must(&mut self.compose(&["ps", "--quiet", service]));
        inspect(id.trim())
    }

    /// The interface of this machine that is a network of the sandbox.
    pub(crate) fn bridge(&self, network: &str) -> String {
        let name = format!("{}_{network}", self.project);
        let id = must(&mut docker(&["network", "inspect", "--format={{.Id}}", &name]));
        format!("br-{}", &id[..12])
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let said = run(&mut self.compose(&["down", "--volumes", "--timeout=2"]));
        if said.code != Some(0) {
            // A test that fails already must not end the whole program here.
            eprintln!("{} was not removed: {}", self.project, said.err);
        }
    }
}
