//! The command of `run`: its environment, its end, and the exit code that says how it ended.

use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandgate_contract::environment::REMOVED;
use sandgate_contract::{environment, merge};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::Options;
use super::signals::Signals;

/// The exit code where the command exists and cannot be run (as `env` and `timeout` have it).
pub(super) const CANNOT_RUN: u8 = 126;
/// The exit code where the command does not exist.
const NOT_FOUND: u8 = 127;
/// How long a command may tidy up after SIGTERM when its proxy has died.
const TIDY_UP: Duration = Duration::from_secs(5);

/// How the command ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// By itself or by a signal.
    Exited(ExitStatus),
    /// It was ended, because the proxy failed.
    ProxyFailed(anyhow::Error),
}

/// The command with the environment that a pod would give it. Standard streams are this process's own.
pub(super) fn command(options: &Options, proxy: SocketAddr, trust_dir: &Path) -> Command {
    let mut command = Command::new(&options.program);
    command.args(&options.arguments);
    for (variable, value) in environment(proxy, &trust_dir.to_string_lossy(), &[]) {
        let existing = std::env::var(variable.name).ok();
        command.env(variable.name, merge(existing.as_deref(), variable, &value));
    }
    for name in REMOVED {
        command.env_remove(name);
    }
    command
}

/// The exit code and the sentence for a command that did not start.
pub(super) fn failure_to_start(options: &Options, error: &io::Error) -> (u8, String) {
    let program = options.program.to_string_lossy();
    match error.kind() {
        io::ErrorKind::NotFound => (NOT_FOUND, format!("{program}: command not found")),
        _ => (CANNOT_RUN, format!("{program}: cannot be run: {error}")),
    }
}

/// Waits for the end of `child` and passes signals on to it, but those that the terminal has sent to it already. Ends
/// it when `proxy_failed` does.
///
/// # Errors
/// Where the kernel does not say how the child ended.
pub(super) async fn supervise(
    child: &mut Child,
    signals: &mut Signals,
    proxy_failed: impl Future<Output = anyhow::Error>,
) -> io::Result<Ended> {
    tokio::pin!(proxy_failed);
    loop {
        tokio::select! {
            status = child.wait() => return status.map(Ended::Exited),
            received = signals.next() => {
                if !received.from_terminal {
                    send(child, received.signal);
                }
            }
            error = &mut proxy_failed => {
                end(child).await?;
                return Ok(Ended::ProxyFailed(error));
            }
        }
    }
}

async fn end(child: &mut Child) -> io::Result<()> {
    send(child, Signal::SIGTERM);
    match timeout(TIDY_UP, child.wait()).await {
        Ok(status) => status.map(drop),
        Err(_) => child.kill().await,
    }
}

/// A child that was waited for has no id, so no other process can be hit.
fn send(child: &Child, signal: Signal) {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // It may have ended by now; the wait will say so.
        let _ = kill(Pid::from_raw(id), signal);
    }
}

/// The code that a shell would give: the command's own, or 128 and the signal that ended it.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(CANNOT_RUN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_whose_proxy_dies_is_ended() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let mut signals = Signals::start().unwrap();
        let ended = supervise(&mut child, &mut signals, async { anyhow::anyhow!("gone") }).await.unwrap();
        assert!(matches!(&ended, Ended::ProxyFailed(error) if error.to_string() == "gone"), "{ended:?}");
        assert_eq!(child.try_wait().unwrap().and_then(|status| status.signal()), Some(Signal::SIGTERM as i32));
    }

    #[test]
    fn the_exit_code_is_what_a_shell_would_say() {
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_code(ExitStatus::from_raw(Signal::SIGINT as i32)), 130);
    }
}
