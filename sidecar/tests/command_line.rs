//! The program's exit codes, and how `run` treats its command: real processes and signals. What goes through the proxy
//! is tested elsewhere.
#![allow(clippy::unwrap_used, reason = "the setting that allows it in tests does not reach their helper functions")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn sidecar() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandgate-sidecar"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

fn run(script: &str) -> Output {
    sidecar().args(["run", "--", "sh", "-c", script]).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A `run` whose command wrote its process id, to say that it is ready for a signal.
struct Ready {
    run: Child,
    stdout: BufReader<ChildStdout>,
    command: Pid,
    /// Ends both after a minute, unless it is dropped before: a test must fail, and not wait for ever.
    _deadline: Sender<()>,
}

impl Ready {
    fn start(script: &str) -> Self {
        // Where the tests run in the background, signals may be ignored, and would be in the command.
        let mut run = Command::new("env")
            .args(["--default-signal", env!("CARGO_BIN_EXE_sandgate-sidecar")])
            .args(["run", "--no-env", "--", "sh", "-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(run.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let command = Pid::from_raw(line.trim().parse().unwrap());
        let (sender, deadline) = channel();
        let sidecar = id(&run);
        thread::spawn(move || {
            if deadline.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
                for process in [command, sidecar] {
                    let _ = kill(process, Signal::SIGKILL);
                }
            }
        });
        Self { run, stdout, command, _deadline: sender }
    }

    fn send(&self, signal: Signal) {
        kill(id(&self.run), signal).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.run.wait().unwrap().code()
    }
}

fn id(process: &Child) -> Pid {
    Pid::from_raw(i32::try_from(process.id()).unwrap())
}

#[test]
fn wrong_usage_exits_64_and_names_everything() {
    let output = sidecar().args(["serve", "--workers", "0"]).env("SANDGATE_LISTEN", "nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("--workers: ") && stderr.contains("SANDGATE_LISTEN: "), "{stderr}");
    assert_eq!(sidecar().arg("--nonsense").output().unwrap().status.code(), Some(64));
    assert_eq!(sidecar().output().unwrap().status.code(), Some(64));
}

#[test]
fn a_missing_ca_is_told_once_and_with_what_to_do() {
    let output = sidecar().args(["serve", "--listen", "127.0.0.1:0", "--ca-dir", "/nonexistent"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    let last = stderr.lines().last().unwrap();
    assert_eq!(last.matches("No such file").count(), 1, "{last}");
    assert!(last.contains("/nonexistent/ca.crt") && last.contains("--ca generate"), "{last}");
}

#[test]
fn a_missing_secret_is_named_with_the_command_that_makes_it() {
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--ca-dir", "/nonexistent", "--ca-secret", "sandbox-proxy-ca"];
    let output = sidecar().args(arguments).args(["--pod-namespace", "sandboxes"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    let last = stderr.lines().last().unwrap();
    assert!(last.contains("Secret sandbox-proxy-ca is missing"), "{last}");
    assert!(last.contains("sandgate-ca secret --dir DIR | kubectl apply -n sandboxes -f -"), "{last}");
}

/// A `serve` whose log is read line by line, and which ends with the test.
struct Serve {
    process: Child,
    log: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Serve {
    fn start(arguments: &[&str]) -> Self {
        // `timeout`: a test must fail, and not wait for ever. In the foreground, it passes signals on to its command.
        let mut process = Command::new("timeout")
            .args(["--signal=KILL", "60", "env", "--default-signal", env!("CARGO_BIN_EXE_sandgate-sidecar")])
            .args(["serve", "--no-env", "--ca", "generate", "--listen", "127.0.0.1:0", "--admin-listen", "none"])
            .args(["--audit-log", "none", "--drain-quiet", "0", "--log-format", "text"])
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { process, log }
    }

    /// Reads the log up to a line with `words`.
    fn until(&mut self, words: &str) {
        let mut seen = Vec::new();
        for line in self.log.by_ref().map(Result::unwrap) {
            if line.contains(words) {
                return;
            }
            seen.push(line);
        }
        panic!("no {words:?} in {seen:#?}");
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // To `timeout`, which passes it on; SIGKILL would leave the sidecar behind.
        if let Ok(None) = self.process.try_wait() {
            let _ = kill(id(&self.process), Signal::SIGTERM);
        }
    }
}

#[test]
fn sighup_ends_nothing_and_says_so() {
    let mut serve = Serve::start(&[]);
    serve.until("ready");
    kill(id(&serve.process), Signal::SIGHUP).unwrap();
    serve.until("SIGHUP is ignored");
    kill(id(&serve.process), Signal::SIGTERM).unwrap();
    serve.until("draining");
    assert_eq!(serve.process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_told_with_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for setting in ["listen", "admin-listen"] {
        let other = if setting == "listen" { "admin-listen" } else { "listen" };
        let output = sidecar()
            .args(["serve", "--no-env", "--ca", "generate", &format!("--{setting}"), &address])
            .args([format!("--{other}"), "127.0.0.1:0".to_owned()])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let stderr = text(&output.stderr);
        let last = stderr.lines().last().unwrap();
        assert!(last.contains(&format!("--{setting}: can't listen on {address}: Address already in use")), "{last}");
    }
}

#[test]
fn run_does_not_run_its_command_without_a_valid_policy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.yaml");
    std::fs::write(&path, "version: 2\n").unwrap();
    let validate = sidecar().arg("validate").arg(&path).output().unwrap();
    assert!(!validate.stdout.is_empty());
    let run =
        |policy: &Path| sidecar().args(["run", "--policy"]).arg(policy).args(["--", "echo", "ran"]).output().unwrap();
    let output = run(&path);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(64), ""));
    assert_eq!(text(&output.stderr), text(&validate.stdout));
    let output = run(Path::new("/nonexistent/p.yaml"));
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(64), ""));
    assert!(text(&output.stderr).contains("cannot read /nonexistent/p.yaml: No such file"), "{}", text(&output.stderr));
}

#[test]
fn run_without_dashes_says_where_to_put_them() {
    for arguments in [&["run", "curl", "https://a.test"][..], &["run", "--allow", "a.test", "npm", "install"]] {
        let output = sidecar().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        let stderr = text(&output.stderr);
        assert!(stderr.contains("put -- before the command"), "{stderr}");
    }
    let output = sidecar().args(["run", "--nonsense", "--", "true"]).output().unwrap();
    assert!(!text(&output.stderr).contains("put -- before"), "{}", text(&output.stderr));
}

#[test]
fn check_and_validate_answer_with_their_exit_codes() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let good = file("good.yaml", "version: 1\ndestinations:\n  - id: a\n    host: a.test\n");
    let bad = file("bad.yaml", "version: 2\n");
    let check = |policy: &Path, method: &str, url: &str| {
        sidecar().args(["check", "--policy"]).arg(policy).args([method, url]).output().unwrap().status.code()
    };
    assert_eq!(check(&good, "GET", "https://a.test/"), Some(0));
    assert_eq!(check(&good, "GET", "https://b.test/"), Some(1));
    assert_eq!(check(&bad, "GET", "https://a.test/"), Some(1));
    assert_eq!(check(&good, "G T", "https://a.test/"), Some(64));
    assert_eq!(check(&good, "GET", "a.test"), Some(64));
    let validate = |policy: &Path| sidecar().arg("validate").arg(policy).output().unwrap().status.code();
    assert_eq!(validate(&good), Some(0));
    assert_eq!(validate(&bad), Some(1));
    assert_eq!(validate(Path::new("/nonexistent")), Some(1));
}

#[test]
fn healthcheck_is_1_where_nothing_answers() {
    let output = sidecar().args(["healthcheck", "--address", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("127.0.0.1:1/healthz"), "{}", text(&output.stderr));
}

#[test]
fn the_environment_is_printed_for_a_shell() {
    let output = sidecar().args(["environment", "--trust-dir", "/run/trust/", "--listen", "[::1]:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let lines = text(&output.stdout);
    for line in ["export https_proxy='http://[::1]:1'", "export SSL_CERT_FILE='/run/trust/bundle.crt'"] {
        assert!(lines.lines().any(|printed| printed == line), "{lines}");
    }
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("warning: --trust-dir /run/trust/ is no directory yet"), "{error}");
    let output = sidecar().args(["environment", "--trust-dir", "/tmp"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let output = sidecar().args(["environment", "--trust-dir", "/a:b"]).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(64), ""));
    assert_eq!(sidecar().arg("environment").output().unwrap().status.code(), Some(64));
}

#[test]
fn the_version_goes_to_stdout() {
    let output = sidecar().arg("--version").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), concat!("sandgate-sidecar ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn the_commands_exit_code_is_the_exit_code() {
    assert_eq!(run("exit 7").status.code(), Some(7));
    assert_eq!(run("exit 0").status.code(), Some(0));
    assert_eq!(run("kill -KILL $$").status.code(), Some(128 + 9));
}

#[test]
fn a_command_that_cannot_be_run_is_told_from_one_that_is_not_there() {
    let exit_code = |program: &str| {
        let output = sidecar().args(["run", "--", program]).output().unwrap();
        assert!(text(&output.stderr).contains(program), "{}", text(&output.stderr));
        output.status.code()
    };
    assert_eq!(exit_code("sandgate-no-such-command"), Some(127));
    assert_eq!(exit_code("/etc/hostname"), Some(126));
}

#[test]
fn a_proxy_that_does_not_start_is_125_and_the_command_is_not_run() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = sidecar().args(["run", "--listen", &address, "--", "echo", "ran"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).contains("the proxy did not start"), "{}", text(&output.stderr));
}

#[test]
fn the_command_gets_the_environment_of_a_pod() {
    let output = run(r#"echo "$https_proxy $SSL_CERT_FILE"; stat -c %a "$(dirname "$SSL_CERT_FILE")""#);
    let stdout = text(&output.stdout);
    let (first, mode) = stdout.trim_end().split_once('\n').unwrap();
    let (proxy, bundle) = first.split_once(' ').unwrap();
    assert!(proxy.starts_with("http://127.0.0.1:") && !proxy.ends_with(":0"), "{proxy}");
    assert_eq!(mode, "755");
    assert!(bundle.ends_with("/bundle.crt"), "{bundle}");
    assert!(!Path::new(bundle).parent().unwrap().exists(), "{bundle} was left behind");
}

#[test]
fn the_summary_is_on_stderr_and_nothing_is_on_stdout() {
    let output = run("exit 3");
    assert_eq!(text(&output.stdout), "");
    let stderr = text(&output.stderr);
    assert!(stderr.ends_with("sandgate: no request came to the proxy\n"), "{stderr}");
    let output = sidecar().args(["run", "--summary", "json", "--", "true"]).output().unwrap();
    let last = text(&output.stderr).lines().last().map(str::to_owned).unwrap_or_default();
    assert_eq!(last, r#"{"v":1,"hosts":[],"unlisted_requests":0}"#);
    let output = sidecar().args(["run", "--summary", "none", "--", "true"]).output().unwrap();
    assert!(!text(&output.stderr).contains("no request"), "{}", text(&output.stderr));
}

#[test]
fn a_signal_to_run_alone_reaches_the_command() {
    for (signal, name) in [(Signal::SIGTERM, "TERM"), (Signal::SIGHUP, "HUP"), (Signal::SIGINT, "INT")] {
        let script = format!("trap 'echo got-{name}; exit 5' {name}; echo $$; while :; do sleep 0.1; done");
        let mut ready = Ready::start(&script);
        ready.send(signal);
        assert_eq!(ready.line(), format!("got-{name}\n"));
        assert_eq!(ready.exit_code(), Some(5), "{name}");
    }
}

#[test]
fn a_command_that_a_signal_ends_gives_128_and_the_signal() {
    let mut ready = Ready::start("echo $$; exec sleep 600");
    ready.send(Signal::SIGTERM);
    assert_eq!(ready.exit_code(), Some(128 + 15));
    assert!(kill(ready.command, None).is_err(), "the command still runs");
}

#[test]
fn a_signal_that_the_command_handles_does_not_end_run() {
    let mut ready = Ready::start("trap 'echo got' USR2; echo $$; while :; do sleep 0.1; done");
    ready.send(Signal::SIGUSR2);
    assert_eq!(ready.line(), "got\n");
    kill(ready.command, Signal::SIGKILL).unwrap();
    assert_eq!(ready.exit_code(), Some(128 + 9));
}

#[test]
fn a_signal_that_was_ignored_stays_ignored_for_the_command() {
    let output = Command::new("nohup")
        .arg(env!("CARGO_BIN_EXE_sandgate-sidecar"))
        .args(["run", "--no-env", "--summary", "none", "--", "sh", "-c", "kill -HUP $$; echo survived"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "survived\n", "{}", text(&output.stderr));
}

/// Ctrl-C on a real terminal, whose other end Python holds: the terminal signals the whole foreground group, so the
/// command must not get the signal from `run` too. USR1 to `run` then follows on the same way, and ends the command.
#[test]
fn ctrl_c_reaches_the_command_once() {
    const TERMINAL: &str = r#"
import os, pty, signal, sys
signal.alarm(60)
signal.signal(signal.SIGINT, signal.SIG_DFL)
process, terminal = pty.fork()
if process == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
def until(mark):
    global seen
    while mark not in seen:
        seen += os.read(terminal, 4096)
until(b"ready")
os.write(terminal, b"\x03")
until(b"interrupted")
os.kill(process, signal.SIGUSR1)
until(b"ended")
print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), seen.count(b"interrupted"))
"#;
    // The descriptor sees every signal, where handlers in Python see several as one.
    const COMMAND: &str = r#"
import os, signal
seen, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake)
for watched in (signal.SIGINT, signal.SIGUSR1):
    signal.signal(watched, lambda *_: None)
print("ready", flush=True)
came = b""
while signal.SIGUSR1 not in came:
    came = os.read(seen, 64)
    print("interrupted " * came.count(signal.SIGINT), flush=True)
os.set_blocking(seen, False)
try:
    # Of two signals that wait together, the kernel runs the handler of the second first.
    print("interrupted " * os.read(seen, 64).count(signal.SIGINT), flush=True)
except BlockingIOError:
    pass
print("ended", flush=True)
os._exit(6)
"#;
    let output = Command::new("python3")
        .args(["-c", TERMINAL, env!("CARGO_BIN_EXE_sandgate-sidecar")])
        .args(["run", "--no-env", "--", "python3", "-c", COMMAND])
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "6 1\n", "{}", text(&output.stderr));
}
