//! The shell that runs etcd and kube-apiserver, at the other end of a pipe: they end with the process that holds it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Starts both processes, and ends them when the pipe from the test ends.
const RUN: &str = include_str!("run.sh");

/// The shell that has the two processes as its children.
pub(super) struct Runner {
    shell: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// The ids of etcd and, unless it is stopped, kube-apiserver.
    processes: Vec<u32>,
}

impl Runner {
    pub(super) fn start(directory: &Path, programs: &Path, port: u16) -> Self {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("sh");
        command.args(["-c", RUN, "sh"]).arg(directory).arg(programs).arg(port.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Not in the test's process group: what a terminal sends to that must not kill the shell before its children.
        let mut shell = command.process_group(0).spawn().expect("there is a shell");
        let commands = shell.stdin.take();
        let answers = BufReader::new(shell.stdout.take().expect("the output is a pipe"));
        let mut runner = Self { shell, commands, answers, processes: Vec::new() };
        runner.read_processes();
        runner
    }

    /// The ids of etcd and, unless it is stopped, kube-apiserver.
    pub(super) fn processes(&self) -> &[u32] {
        &self.processes
    }

    /// Sends a line that the shell knows, and waits for its answer.
    pub(super) fn command(&mut self, command: &str) {
        let commands = self.commands.as_mut().expect("the pipe is closed by drop alone");
        writeln!(commands, "{command}").expect("the shell reads until the pipe is closed");
        self.read_processes();
    }

    /// Ends the shell, which first ends the two and waits for them.
    pub(super) fn end(&mut self) {
        drop(self.commands.take());
        // Nothing can be done about an error, and a panic here would hide the test's own.
        let _ended = self.shell.wait();
    }

    fn read_processes(&mut self) {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the shell writes text");
        self.processes = line.split_whitespace().filter_map(|id| id.parse().ok()).collect();
        assert!(!self.processes.is_empty(), "the shell that runs the API server ended");
    }
}
