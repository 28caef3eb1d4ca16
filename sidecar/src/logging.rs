//! The log on stderr. Never stdout, which belongs to audit lines and to the command of `run`.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing_subscriber::{EnvFilter, fmt};

use crate::settings::LogFormat;

/// Starts the log of this process: once, before anything logs.
///
/// # Errors
/// Where `filter` cannot be read, or a log was started before.
pub fn start(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(filter).with_context(|| format!("log level \"{filter}\""))?;
    // A closed stderr would otherwise be reported on stderr, which panics.
    let log = fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    match format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}
