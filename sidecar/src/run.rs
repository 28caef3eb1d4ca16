//! `run`: a proxy for one command. Starts it, runs the command with the environment of a pod, tidies up, and says what
//! was reached. Does not confine the command.

mod allowed;
mod command;
mod options;
mod signals;
mod user_proxy;

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use sandgate_service::command_line::{WRONG_USAGE, in_words};
use tempfile::TempDir;

use crate::audit::Observer;
use crate::check;
use crate::learn::Learning;
use crate::serve::{self, Running};
use crate::settings::{PolicySource, Settings};
use crate::summary::{Source, Tally};
use command::Ended;
pub use options::{DEFAULTS, Learn, Options, flags};
use signals::Signals;

/// The exit code where the proxy did not start or died.
const PROXY_FAILED: u8 = 125;
/// The policy where no flag gives one.
const NO_HOSTS: &str = "version: 1\ndestinations: []\n";

/// Runs the command of `options` with a proxy of its own, and returns the exit code.
pub async fn run(settings: Settings, options: Options) -> u8 {
    // Unlike a pod's sidecar, which waits for a better policy: a command that can reach nothing helps nobody.
    if let PolicySource::File(path) = &settings.policy
        && let Err(problems) = valid(path)
    {
        let _ = io::stderr().write_all(problems.as_bytes());
        return WRONG_USAGE;
    }
    for sentence in &options.said {
        report(sentence);
    }
    let learning = options.learn.as_ref().map(|learn| Learning::begin(&learn.file, learn.private_cidrs.clone()));
    let learning = match learning.transpose() {
        Ok(learning) => learning,
        Err(error) => {
            report(&in_words(&error));
            return WRONG_USAGE;
        }
    };
    attempt(settings, &options, learning).await.unwrap_or_else(|error| {
        report(&in_words(&error));
        PROXY_FAILED
    })
}

/// Whether the file is a valid policy; what `validate` says of it where it is not.
fn valid(policy: &Path) -> Result<(), String> {
    let mut said = Vec::new();
    match check::validate(policy, &mut said) {
        Ok(true) => Ok(()),
        Ok(false) => Err(String::from_utf8_lossy(&said).into_owned()),
        Err(error) => Err(format!("sandgate-sidecar: {error}\n")),
    }
}

async fn attempt(mut settings: Settings, options: &Options, learning: Option<Learning>) -> anyhow::Result<u8> {
    let mut signals = Signals::start().context("signals cannot be watched")?;
    let (trust_dir, temporary) = trust_dir(&settings)?;
    settings.trust_dir = Some(trust_dir.clone());
    // The command sees what this process sees.
    settings.trust_path = None;
    if let (Some(learning), Some(Learn { private_cidrs, .. })) = (&learning, &options.learn) {
        // As below: to an empty policy a range can be added, which the refusal of a private address then says.
        let base = learning.base().unwrap_or_else(|| NO_HOSTS.to_owned());
        settings.policy = PolicySource::Learning { base, private_cidrs: private_cidrs.clone() };
    }
    let tally = Arc::new(Mutex::new(Tally::new(Source::from(&settings.policy))));
    if settings.policy == PolicySource::None {
        // A host can be added to an empty policy; to none at all, nothing can.
        settings.policy = PolicySource::Text(NO_HOSTS.to_owned());
    }
    let mut running = tokio::select! {
        started = serve::start(settings, Some(observer(&tally, learning.as_ref()))) => started.context("the proxy did not start")?,
        signal = signals.end() => return Ok(128 + signal as u8),
    };
    let outcome = run_command(&mut running, options, &mut signals, &trust_dir).await;
    tokio::select! {
        () = running.drain() => {}
        _ = signals.end() => {}
    }
    let learnt = match learning {
        Some(learning) if !matches!(outcome, Ok(Ran::Never(_))) => learning.finish().map(Some),
        _ => Ok(None),
    };
    let learnt_now = learnt.as_ref().ok().and_then(Option::as_ref);
    if let Some(summary) = tally.lock().unwrap_or_else(PoisonError::into_inner).write(options.summary, learnt_now) {
        let _ = io::stderr().write_all(summary.as_bytes());
    }
    if let Some(Err(error)) = temporary.map(TempDir::close) {
        report(&format!("{} cannot be removed: {error}", trust_dir.display()));
    }
    learnt?;
    outcome.map(|(Ran::Never(code) | Ran::ToItsEnd(code))| code)
}

/// The exit code, and whether it is that of the command.
enum Ran {
    Never(u8),
    ToItsEnd(u8),
}

async fn run_command(
    running: &mut Running,
    options: &Options,
    signals: &mut Signals,
    trust_dir: &Path,
) -> anyhow::Result<Ran> {
    let proxy = *running.proxy_addresses().first().context("the proxy listens nowhere")?;
    let mut child = match command::command(options, proxy, trust_dir).spawn() {
        Ok(child) => child,
        Err(error) => {
            let (code, message) = command::failure_to_start(options, &error);
            report(&message);
            return Ok(Ran::Never(code));
        }
    };
    match command::supervise(&mut child, signals, running.failed()).await.context("the command's end is not known")? {
        Ended::Exited(status) => Ok(Ran::ToItsEnd(command::exit_code(status))),
        Ended::ProxyFailed(error) => Err(error.context("the proxy died, so the command was ended")),
    }
}

/// The directory for the trust files, and what removes it at the end if it is of our making. Readable to all, for the
/// command may change its user, and nothing in it is secret.
fn trust_dir(settings: &Settings) -> anyhow::Result<(PathBuf, Option<TempDir>)> {
    if let Some(named) = &settings.trust_dir {
        return Ok((std::path::absolute(named)?, None));
    }
    let mode = Permissions::from_mode(0o755);
    let directory = tempfile::Builder::new().prefix("sandgate-").permissions(mode).tempdir();
    let directory = directory.context("a temporary directory for the trust files")?;
    Ok((directory.path().to_owned(), Some(directory)))
}

fn observer(tally: &Arc<Mutex<Tally>>, learning: Option<&Learning>) -> Observer {
    let tally = Arc::clone(tally);
    let learn = learning.map(Learning::observer);
    Arc::new(move |record| {
        tally.lock().unwrap_or_else(PoisonError::into_inner).add(record);
        if let Some(learn) = &learn {
            learn(record);
        }
    })
}

fn report(message: &str) {
    // Where stderr is closed, the exit code still says it.
    let _ = writeln!(io::stderr(), "sandgate-sidecar: {message}");
}
