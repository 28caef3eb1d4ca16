//! What is done in which order from the arguments to the exit code. Decides nothing else.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use sandgate_service::command_line::{WRONG_USAGE, in_words};
use sandgate_service::{healthcheck, logging, memory, watches};
use tokio::runtime::Builder;

use crate::cli::{self, Action};
use crate::config::{self, Config, LoadError};
use crate::{explain, inject, report, serve};

/// The whole program, from its arguments and variables to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let variables: Vec<(OsString, OsString)> = env::vars_os().collect();
    let action = match cli::parse(env::args_os(), &variables) {
        Ok(action) => action,
        Err(stop) => return stop.print(),
    };
    perform(action).unwrap_or_else(|error| fail(&error))
}

fn perform(action: Action) -> anyhow::Result<ExitCode> {
    match action {
        Action::Serve(serve) => {
            let _log = logging::start(serve.log_format, &serve.log_level)?;
            logging::take_panics();
            if let Err(problem) = memory::hide() {
                tracing::warn!("{problem}");
            }
            let runtime = Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(watches::explained)
                .context("the runtime cannot be started")?;
            let served = runtime.block_on(serve::serve(&serve));
            // What is being read or asked must not keep the process.
            runtime.shutdown_background();
            served.map(|()| ExitCode::SUCCESS)
        }
        Action::Inject(inject) => {
            let config = configuration(inject.offline.config.as_deref())?;
            inject::run(&inject, &config, &mut io::stdout(), &mut io::stderr())
        }
        Action::Explain(offline) => {
            let config = configuration(offline.config.as_deref())?;
            explain::run(&offline, &config, &mut io::stdout())
        }
        Action::Report(report) => {
            let config = configuration(report.config.as_deref())?;
            block_on(report::run(&report, &config, &mut io::stdout(), &mut io::stderr()))?
        }
        Action::ValidateConfig { file } => {
            let valid = config::check::validate(&file, &mut io::stdout())?;
            Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Action::Healthcheck { address, wait } => {
            let healthy = block_on(healthcheck::healthcheck(address, wait))?;
            healthy.map(|()| ExitCode::SUCCESS).map_err(anyhow::Error::msg)
        }
    }
}

/// The configuration of commands that are not told of changes.
fn configuration(file: Option<&Path>) -> Result<Config, LoadError> {
    file.map_or_else(|| Ok(Config::default()), config::load)
}

/// Says what went wrong, on stderr. A broken configuration is wrong usage, with all its problems.
fn fail(error: &anyhow::Error) -> ExitCode {
    let (text, code) = match error.downcast_ref::<LoadError>() {
        Some(broken) => (format!("{broken}\n\ndocs/configuration.md says what each setting takes\n"), WRONG_USAGE),
        None => (format!("sandgate-webhook: {}\n", in_words(error)), 1),
    };
    // Where stderr is closed, the exit code still says it.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}

fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(watches::explained)
        .context("the runtime cannot be started")?;
    let output = runtime.block_on(future);
    // A file or a name that is being read must not keep the process.
    runtime.shutdown_background();
    Ok(output)
}
