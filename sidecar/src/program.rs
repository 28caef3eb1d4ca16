//! What is done in which order from the arguments to the exit code. Decides nothing else.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use sandgate_service::command_line::{WRONG_USAGE, in_words};
use sandgate_service::ends::Ends;
use sandgate_service::logging::{self, Log};
use sandgate_service::{healthcheck, memory, open_files, watches};
use tokio::runtime::Builder;
use tracing::{info, warn};

use crate::check::{self, CheckError};
use crate::cli::{self, Action};
use crate::settings::Settings;
use crate::{environment, learn, run, serve};

/// Events of sockets that are taken from the kernel at once: as many tasks as a worker's own queue holds. tokio's table for 1,024
/// would have the size of some of rustls' buffers, and after a load keep the half megabyte that these were in.
const EVENTS: usize = 256;

/// The whole program, from its arguments and variables to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let variables: Vec<(OsString, OsString)> = env::vars_os().collect();
    let action = match cli::parse(env::args_os(), &variables) {
        Ok(action) => action,
        Err(stop) => return stop.print(),
    };
    match perform(action, &variables) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn perform(action: Action, variables: &[(OsString, OsString)]) -> anyhow::Result<u8> {
    match action {
        Action::Serve(settings) => {
            let _log = prepare(&settings, &[memory::hide(), open_files::raise_limit()])?;
            block_on(settings.workers, until_a_signal(*settings))?
        }
        Action::Run(settings, options) => {
            let _log = prepare(&settings, &[memory::hide()])?;
            block_on(settings.workers, run::run(*settings, options))
        }
        Action::Healthcheck { address, wait } => {
            let healthy = block_on(1, healthcheck::healthcheck(address, wait))?;
            healthy.map(|()| 0).map_err(anyhow::Error::msg)
        }
        Action::Check { policy, method, url } => verdict(check::check(&policy, &method, &url, &mut io::stdout())),
        Action::Environment { proxy, trust_dir } => match environment::exports(proxy, &trust_dir, variables) {
            Ok(lines) => {
                if !trust_dir.is_dir() {
                    let missing = "is no directory yet: clients find no CA until serve --trust-dir has written it";
                    report(&anyhow::anyhow!("warning: --trust-dir {} {missing}", trust_dir.display()));
                }
                Ok(io::stdout().write_all(lines.as_bytes()).map(|()| 0)?)
            }
            Err(error) => {
                report(&anyhow::Error::msg(error));
                Ok(WRONG_USAGE)
            }
        },
        Action::Learn { logs, policy } => {
            let learnt = learn::from_logs(&logs, policy.as_deref(), &mut io::stdout(), &mut io::stderr())?;
            let _ = writeln!(io::stderr(), "sandgate: {learnt}");
            Ok(0)
        }
        Action::Validate { policy } => verdict(check::validate(&policy, &mut io::stdout())),
    }
}

/// 0 for yes, 1 for no, and 64 where the question made no sense.
fn verdict(answer: Result<bool, CheckError>) -> anyhow::Result<u8> {
    match answer {
        Ok(yes) => Ok(u8::from(!yes)),
        Err(error @ (CheckError::Method(_) | CheckError::Url { .. })) => {
            report(&error.into());
            Ok(WRONG_USAGE)
        }
        Err(error) => Err(error.into()),
    }
}

fn report(error: &anyhow::Error) {
    // Where stderr is closed, the exit code still says it.
    let _ = writeln!(io::stderr(), "sandgate-sidecar: {}", in_words(error));
}

/// The log, and in it what went less well until it was there.
fn prepare(settings: &Settings, steps: &[Result<(), String>]) -> anyhow::Result<Log> {
    let log = logging::start(settings.log_format, &settings.log_level)?;
    logging::take_panics();
    for warning in settings.warnings.iter().chain(steps.iter().filter_map(|step| step.as_ref().err())) {
        warn!("{warning}");
    }
    Ok(log)
}

fn block_on<T>(workers: usize, future: impl Future<Output = T>) -> anyhow::Result<T> {
    let mut builder = match workers {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if workers > 1 {
        builder.worker_threads(workers);
    }
    builder.max_io_events_per_tick(EVENTS).enable_all();
    let runtime = builder.build().map_err(watches::explained).context("the runtime cannot be started")?;
    let output = runtime.block_on(future);
    // A file or a name that is being read must not keep the process.
    runtime.shutdown_background();
    Ok(output)
}

async fn until_a_signal(settings: Settings) -> anyhow::Result<u8> {
    let mut ends = Ends::watch("the policy and the CA").context("signals cannot be watched")?;
    let mut running = serve::start(settings, None).await?;
    tokio::select! {
        () = ends.next() => info!("draining; a second signal ends it at once"),
        error = running.failed() => return Err(error),
    }
    tokio::select! {
        () = running.drain() => {}
        () = ends.next() => warn!("ended before everything was drained"),
    }
    Ok(0)
}
