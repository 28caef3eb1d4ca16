//! The log on stderr, panics among it. Never stdout, which belongs to what commands print.

use std::io::{self, IsTerminal};
use std::panic;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

use crate::cli::LogFormat;

/// The targets of Sandgate's own crates begin like this.
const OWN: &str = "sandgate";

/// Starts the log of this process: once, before anything logs. A plain level in `filter` is that of Sandgate's own
/// crates; others, which log whatever a client makes them, say nothing unless the filter names them.
///
/// # Errors
/// Where `filter` cannot be read, or a log was started before.
pub fn start(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let directives = EnvFilter::builder().parse(own_levels(filter));
    let directives = directives.map_err(|error| anyhow::anyhow!("log level \"{filter}\": {error}"))?;
    // A closed stderr would otherwise be reported on stderr, which panics.
    let log = fmt().with_env_filter(directives).with_writer(io::stderr).log_internal_errors(false).with_ansi(false);
    match format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))?;
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("without a text");
        tracing::error!(place, "a panic, which is a mistake of the program: {message}");
    }));
    Ok(())
}

/// The same filter with every plain level bound to Sandgate's own crates.
fn own_levels(filter: &str) -> String {
    let mut directives = vec!["off".to_owned()];
    directives.extend(filter.split(',').map(|directive| match directive.parse::<LevelFilter>() {
        Ok(level) => format!("{OWN}={level}"),
        Err(_) => directive.to_owned(),
    }));
    directives.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_level_is_that_of_our_own_crates_and_others_are_silent_unless_named() {
        for (filter, expected) in [
            ("info", "off,sandgate=info"),
            ("off", "off,sandgate=off"),
            ("warn,kube_client=debug", "off,sandgate=warn,kube_client=debug"),
        ] {
            assert_eq!(own_levels(filter), expected);
            assert!(EnvFilter::builder().parse(own_levels(filter)).is_ok());
        }
    }
}
