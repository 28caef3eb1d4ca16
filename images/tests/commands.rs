//! `scripts/sandbox`, as people use it: several at once, interrupted, with a policy that is broken, and taken away while a
//! command runs. One test, for there is one sandbox at a time on a machine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sandgate_images_test::{Said, docker, must, repository, run, until};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);
const POLICY: &str = "version: 1\ndestinations: []\n";

/// A sandbox of its own; it is taken away when this is dropped.
struct Project {
    name: String,
    policy: TempDir,
}

impl Project {
    fn new() -> Self {
        let policy = tempfile::tempdir().unwrap();
        // For the sidecar, whose user is another.
        must(Command::new("chmod").arg("a+rx").arg(policy.path()));
        let project = Self { name: format!("sandgate-test-commands-{}", std::process::id()), policy };
        project.write(POLICY);
        project
    }

    fn write(&self, policy: &str) {
        std::fs::write(self.policy.path().join("policy.yaml"), policy).unwrap();
    }

    fn sandbox(&self, argument: &str) -> Command {
        let mut command = Command::new(repository("scripts/sandbox"));
        command.arg(argument).env("COMPOSE_PROJECT_NAME", &self.name).env("SANDGATE_HEALTH_PORT", "0");
        command.env("SANDGATE_POLICY_DIR", self.policy.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What there is of it: containers with the words of their command, networks, volumes.
    fn all(&self) -> String {
        let label = format!("--filter=label=com.docker.compose.project={}", self.name);
        let containers = must(&mut docker(&["ps", "--all", "--no-trunc", "--format={{.Names}} {{.Command}}", &label]));
        containers
            + &must(&mut docker(&["network", "ls", "--quiet", &label]))
            + &must(&mut docker(&["volume", "ls", "--quiet", &label]))
    }

    /// Starts a command and waits until its container is there.
    fn started(&self, line: &str) -> Child {
        let child = self.sandbox(line).spawn().unwrap();
        until(LIMIT, line, || self.all().contains(line).then_some(()));
        child
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let said = run(&mut self.sandbox("--down"));
        if said.code != Some(0) {
            // A test that fails already must not end the whole program here.
            eprintln!("{} was not taken away: {said:#?}", self.name);
        }
    }
}

fn signal(child: &Child, name: &str) {
    must(Command::new("kill").args(["-s", name, &child.id().to_string()]));
}

fn ended(child: Child) -> Said {
    Said::from(child.wait_with_output().unwrap())
}

#[test]
fn commands_run_beside_each_other_end_when_they_are_told_to_and_nothing_is_left() {
    let project = Project::new();
    // From nothing, at once.
    let both =
        ["exit 3", "echo out; echo err >&2; exit 4"].map(|line| project.sandbox(line).spawn().unwrap()).map(ended);
    assert_eq!(both.each_ref().map(|said| said.code), [Some(3), Some(4)], "{both:#?}");
    assert!(both[1].out == "out\n" && both[1].err.contains("err\n"), "{:#?}", both[1]);
    assert!(!both[1].err.contains("not in force"), "{:#?}", both[1]);

    // A policy that means nothing is named, whoever asks.
    project.write("version: 1\ndestinations: [{id: a, hots: b}]\n");
    let said = run(&mut project.sandbox("true"));
    assert!(said.code == Some(0) && said.err.contains("is not in force") && said.err.contains("hots"), "{said:#?}");
    project.write(POLICY);

    // A shell in its own process namespace ignores what it does not handle.
    for (name, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let child = project.started(&format!("sleep 300; echo {name}"));
        signal(&child, name);
        let said = ended(child);
        assert!(said.code == Some(code) && !said.out.contains(name), "{said:#?}");
        assert!(!project.all().contains("sleep 300"), "{name}: {}", project.all());
    }

    // Nobody is left to end this one but `--down`.
    let mut child = project.started("sleep 301");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(project.all().contains("sleep 301"));
    must(&mut project.sandbox("--down"));
    assert_eq!(project.all(), "");
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_starts() {
    for argument in ["", "--donw", "-x"] {
        let said = run(Command::new(repository("scripts/sandbox")).arg(argument));
        assert!(said.code == Some(64) && said.err.contains("usage: sandbox COMMAND"), "{argument:?}: {said:#?}");
    }
    let said = run(Command::new(repository("scripts/sandbox")).arg("true").env("SANDGATE_HEALTH_PORT", "http"));
    assert!(said.code == Some(1) && said.err.contains("SANDGATE_HEALTH_PORT is 'http'"), "{said:#?}");
    // A line break is part of the command, a dollar is the shell's.
    let mut make = Command::new("make");
    make.args(["--dry-run", "sandbox", "CMD=echo $HOME\nexit 1"]).current_dir(repository(""));
    // Of the make that runs this test.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let said = run(&mut make);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "scripts/sandbox \"$SANDBOX_COMMAND\"\n"), "{said:#?}");
}
