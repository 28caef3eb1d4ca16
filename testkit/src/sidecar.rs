//! The sidecar as a process: started on free ports, watched through its output, ended by signals. It only ever signals
//! the child that it started, and that child dies with it.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// How long a sidecar may take to say that it listens: generous, because tests share their machine.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// The messages whose log line carries the fields `proxy` and `admin`.
const READY_MESSAGES: &[&str] = &["ready", "listening"];
/// Variables that programs cannot do without; all others are dropped, so that the machine's own proxies do not matter.
const KEPT_VARIABLES: &[&str] = &["PATH", "HOME", "LANG", "TMPDIR", "PYENV_ROOT", "LLVM_PROFILE_FILE"];

/// The lines that a process wrote to one of its streams.
#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<String>>,
    changes: watch::Sender<()>,
}

impl Lines {
    fn all(&self) -> Vec<String> {
        self.lines.lock().expect("nothing panics while it holds the lines").clone()
    }

    /// Reads in a task, so that the process never waits for a full pipe.
    fn collect(stream: impl AsyncRead + Send + Unpin + 'static) -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let writer = Arc::clone(&lines);
        tokio::spawn(async move {
            let mut read = BufReader::new(stream).lines();
            while let Ok(Some(line)) = read.next_line().await {
                writer.lines.lock().expect("nothing panics while it holds the lines").push(line);
                writer.changes.send_replace(());
            }
        });
        lines
    }

    /// Waits for the first line that `pick` makes something of; `None` after `deadline`.
    async fn wait<T>(&self, deadline: Duration, mut pick: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let mut changes = self.changes.subscribe();
        let mut seen = 0;
        let found = async {
            loop {
                let lines = self.all();
                if let Some(found) = lines[seen..].iter().find_map(|line| pick(line)) {
                    return found;
                }
                seen = lines.len();
                changes.changed().await.expect("the lines own the sender");
            }
        };
        tokio::time::timeout(deadline, found).await.ok()
    }
}

/// A running sidecar.
pub struct Sidecar {
    child: Child,
    pid: Pid,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
    proxy: SocketAddr,
    admin: SocketAddr,
}

impl Sidecar {
    /// Starts `binary serve` on free loopback ports with `arguments` added and only `environment` set, and waits until it
    /// listens.
    ///
    /// # Panics
    /// Where it cannot be started, exits, or is not ready in 20 seconds; with its standard error.
    pub async fn start(binary: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = isolated(binary, environment);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]).args(arguments);
        Self::start_command(command).await
    }

    /// The same with a command line of the caller's own, which must log where it listens.
    ///
    /// # Panics
    /// As [`Sidecar::start`].
    pub async fn start_command(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = Lines::collect(child.stdout.take().expect("stdout is piped"));
        let stderr = Lines::collect(child.stderr.take().expect("stderr is piped"));
        let id = child.id().and_then(|id| i32::try_from(id).ok()).expect("a child that was not waited for has an id");
        let ready = tokio::select! {
            ready = stderr.wait(START_DEADLINE, addresses) => ready,
            _ = child.wait() => None,
        };
        let Some((proxy, admin)) = ready else {
            panic!("the sidecar does not listen; its standard error:\n{}", stderr.all().join("\n"));
        };
        Self { child, pid: Pid::from_raw(id), stdout, stderr, proxy, admin }
    }

    /// Where its proxy listens.
    #[must_use]
    pub fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// Where its health and metrics listen.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its proxy as `http://…`, for the variables of clients.
    #[must_use]
    pub fn proxy_url(&self) -> String {
        format!("http://{}", self.proxy)
    }

    /// The audit lines so far, parsed.
    ///
    /// # Panics
    /// Where a line of standard output is not JSON: then the log is broken.
    #[must_use]
    pub fn audit_lines(&self) -> Vec<Value> {
        self.stdout.all().iter().map(|line| parse_audit(line)).collect()
    }

    /// Waits for the first audit line that `matches`, looking at earlier ones too.
    ///
    /// # Panics
    /// After `deadline`, with the lines that there were.
    pub async fn wait_for_audit(&self, mut matches: impl FnMut(&Value) -> bool, deadline: Duration) -> Value {
        let found = self.stdout.wait(deadline, |line| Some(parse_audit(line)).filter(|line| matches(line))).await;
        found.unwrap_or_else(|| {
            panic!("no such audit line after {deadline:?}; there were:\n{}", self.stdout.all().join("\n"))
        })
    }

    /// Its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.all().join("\n")
    }

    /// Waits until a line of standard error contains `text`, and returns it.
    ///
    /// # Panics
    /// After `deadline`, with all of it.
    pub async fn wait_for_stderr(&self, text: &str, deadline: Duration) -> String {
        let found = self.stderr.wait(deadline, |line| line.contains(text).then(|| line.to_owned())).await;
        found.unwrap_or_else(|| panic!("no {text:?} on standard error after {deadline:?}:\n{}", self.stderr()))
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Its resident memory in KiB.
    ///
    /// # Panics
    /// Where it does not run any more.
    #[must_use]
    pub fn rss_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// Its resident memory without pages of files in KiB: what it can give back. Of its program, more is resident the more
    /// of it has run.
    ///
    /// # Panics
    /// Where it does not run any more.
    #[must_use]
    pub fn own_rss_kib(&self) -> u64 {
        self.status_kib("RssAnon:")
    }

    /// The most resident memory that it ever had, in KiB.
    ///
    /// # Panics
    /// Where it does not run any more.
    #[must_use]
    pub fn peak_rss_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid);
        let status = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok());
        value.unwrap_or_else(|| panic!("{path} has no {field} any more: the sidecar has exited"))
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// Where it does not run any more.
    pub fn signal(&self, signal: Signal) {
        // An id that was waited for may be another process by now.
        assert!(self.child.id().is_some(), "the sidecar has exited already");
        kill(self.pid, signal).unwrap_or_else(|error| panic!("cannot signal the sidecar: {error}"));
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it still runs after `deadline`.
    pub async fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let exited = tokio::time::timeout(deadline, self.child.wait()).await;
        let status = exited
            .unwrap_or_else(|_| panic!("the sidecar still runs after {deadline:?}:\n{}", self.stderr.all().join("\n")));
        status.expect("the child can be waited for")
    }
}

impl Drop for Sidecar {
    /// A panic is never acceptable, whatever else the test saw.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let stderr = self.stderr();
            assert!(!stderr.contains("panicked at"), "the sidecar panicked:\n{stderr}");
        }
    }
}

fn parse_audit(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("an audit line is not JSON ({error}): {line}"))
}

/// The listeners' addresses in a JSON log line, whose fields may be at the top or under `fields`; the first of each
/// where there are more.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    let message = fields.get("message").or_else(|| line.get("message"))?.as_str()?;
    let address = |name| fields.get(name)?.as_str()?.split(',').next()?.parse().ok();
    READY_MESSAGES.contains(&message).then_some(())?;
    Some((address("proxy")?, address("admin")?))
}

/// A program of another package of the workspace, which is built into the same directory as `binary`.
///
/// # Panics
/// Where it is not there: cargo builds the programs of all packages only when it tests all of them.
#[must_use]
pub fn program_beside(binary: &Path, name: &str) -> PathBuf {
    let program = binary.with_file_name(name);
    assert!(program.exists(), "{} is missing: run cargo build --bins", program.display());
    program
}

/// A command with only `environment` and what programs cannot do without.
#[must_use]
pub fn isolated(program: impl AsRef<OsStr>, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in KEPT_VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(environment.iter().copied());
    command
}

/// Runs a program to its end with only `environment` set, and returns what it printed.
///
/// # Errors
/// Where it cannot be started, or still runs after `deadline`; then it is killed.
pub async fn run_command(
    program: impl AsRef<OsStr>,
    arguments: &[&str],
    environment: &[(&str, &str)],
    deadline: Duration,
) -> io::Result<Output> {
    let mut command = isolated(program, environment);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(deadline, command.output()).await;
    output.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("{command:?} still runs after {deadline:?}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_at_the_top_and_under_fields() {
        let expected = Some(("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()));
        let fields = r#"{"message":"ready","proxy":"127.0.0.1:1","admin":"127.0.0.1:2"}"#;
        assert_eq!(addresses(fields), expected);
        assert_eq!(addresses(&format!(r#"{{"level":"INFO","fields":{fields}}}"#)), expected);
        assert_eq!(addresses(&fields.replace("ready", "draining")), None);
    }

    #[tokio::test]
    async fn a_process_is_watched_and_ended_by_a_signal() {
        let script = r#"echo '{"message":"ready","proxy":"127.0.0.1:1","admin":"127.0.0.1:2"}' >&2
            sleep 60 & trap "kill $!; exit 7" TERM; echo '{"v":1}'; wait"#;
        let mut command = isolated("sh", &[]);
        command.args(["-c", script]);
        let mut process = Sidecar::start_command(command).await;
        let deadline = Duration::from_secs(10);
        assert_eq!(process.wait_for_audit(|line| line["v"] == 1, deadline).await["v"], 1);
        assert!(process.rss_kib() > 0);
        process.signal(Signal::SIGTERM);
        assert_eq!(process.wait_exit(deadline).await.code(), Some(7));
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_an_error() {
        let error = run_command("sleep", &["60"], &[], Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
