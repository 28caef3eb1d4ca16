//! One process of `sandgate-webhook serve`, as a Deployment's pod has it. It does not outlive the test, not even one that
//! is killed: a shell waits for the end of its input beside it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::stage::eventually;

/// Arguments: the log, the program and its arguments. Says its process id, and at the end its exit code.
const RUN: &str = r#"
log=$1; shift
exec 3<&0
"$@" </dev/null 2>"$log" 3<&- & program=$!
(read -r _ <&3; kill -KILL $program) >/dev/null 2>&1 & watchdog=$!
echo $program
wait $program; code=$?
kill $watchdog
echo $code
"#;

pub(crate) struct Program {
    shell: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    id: i32,
    log: PathBuf,
    config: PathBuf,
    /// Where reviews are answered.
    pub(crate) reviews: SocketAddr,
    /// Where metrics and readiness are.
    pub(crate) admin: SocketAddr,
}

impl Program {
    /// Returns when it listens, which is before it is ready. `name` is its pod's; files go to `directory`.
    pub(crate) fn start(directory: &Path, name: &str, kubeconfig: &Path, config: &str) -> Self {
        let (path, log) = (directory.join(format!("{name}.yaml")), directory.join(format!("{name}.log")));
        fs::write(&path, config).unwrap();
        // It may be there of a process before.
        let _absent = fs::remove_file(&log);
        let mut command = Command::new("sh");
        command.args(["-c", RUN, "sh"]).arg(&log).arg(env!("CARGO_BIN_EXE_sandgate-webhook"));
        command.args(["serve", "--namespace=sandgate-system", "--pod-name", name, "--config"]).arg(&path);
        command.env("KUBECONFIG", kubeconfig).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().unwrap();
        let input = shell.stdin.take();
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        let id = number(&mut output);
        let (reviews, admin) = eventually("it listens", || addresses(&log));
        Self { shell, input, output, id, log, config: path, reviews, admin }
    }

    /// Changes its configuration, as a kubelet does: by another file in the same place.
    pub(crate) fn configure(&self, config: &str) {
        let next = self.config.with_extension("next");
        fs::File::create(&next).and_then(|mut file| file.write_all(config.as_bytes())).unwrap();
        fs::rename(next, &self.config).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id), signal).unwrap();
    }

    /// Waits until it ends; its exit code.
    pub(crate) fn ended(&mut self) -> i32 {
        number(&mut self.output)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.input.take());
        let mut rest = String::new();
        let _ended = self.output.read_to_string(&mut rest);
        let _ended = self.shell.wait();
    }
}

fn number(output: &mut impl BufRead) -> i32 {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim().parse().unwrap_or_else(|_| panic!("the shell says {line:?}"))
}

fn addresses(log: &Path) -> Result<(SocketAddr, SocketAddr), String> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().find(|line| line.contains("\"admin\"") && line.ends_with('}'));
    let line: Value = serde_json::from_str(line.ok_or(text.as_str())?).map_err(|error| error.to_string())?;
    let address = |field: &str| line[field].as_str().and_then(|text| text.parse().ok()).ok_or(format!("{line}"));
    Ok((address("listen")?, address("admin")?))
}
