//! The memory of the running program, in which the CA's key lies: not its user's to read, but root's alone.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use sandgate_testkit::sidecar::{Sidecar, isolated};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::harness::{DEADLINE, PROGRAM};

/// A group that is nobody's and not root's.
const GROUP: u32 = 65532;

/// Starts a program whose files in /proc would not be root's: under root, in another group.
fn ours(program: &str) -> Command {
    let mut command = isolated(program, &[]);
    if fs::metadata("/proc/self").expect("/proc is there").uid() == 0 {
        command.gid(GROUP);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// Whom the kernel names as owner of a process's memory: its user and group, or root and root where it is undumpable.
fn owner(id: u32) -> (u32, u32) {
    let memory = fs::metadata(format!("/proc/{id}/mem")).expect("the process runs");
    (memory.uid(), memory.gid())
}

#[tokio::test]
async fn the_memory_of_serve_and_run_is_roots_and_that_of_runs_command_is_not() {
    let other = ours("cat").spawn().expect("cat starts");
    let plain = owner(other.id().expect("it runs"));
    assert_ne!(plain, (0, 0), "a program that hides nothing is its user's, or this test would show nothing");

    let dir = TempDir::new().expect("a directory");
    let mut serve = ours(PROGRAM);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--no-env", "--ca", "generate"]);
    serve.args(["--allowed-domains", "origin.test", "--trust-dir"]).arg(dir.path());
    let sidecar = Sidecar::start_command(serve).await;
    assert_eq!(owner(sidecar.id().unsigned_abs()), (0, 0));

    let mut run = ours(PROGRAM).args(["run", "--no-env", "--", "sh", "-c", "echo $$; read -r _"]).spawn().expect("run");
    let mut lines = BufReader::new(run.stdout.take().expect("it is piped")).lines();
    let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("the command starts in time");
    let command = line.expect("it is text").expect("there is one").parse().expect("an id");
    assert_eq!(owner(run.id().expect("it runs")), (0, 0));
    assert_eq!(owner(command), plain, "the command is an ordinary program");
    // It reads to the end of its standard input.
    drop(run.stdin.take());
    let ended = tokio::time::timeout(DEADLINE, run.wait()).await.expect("it ends in time");
    ended.expect("it is waited for");
}
