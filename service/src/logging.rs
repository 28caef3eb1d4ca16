//! The log on stderr. Never stdout, which belongs to audit lines, to what commands print, and to the command of `run`.
//!
//! It never waits for whoever reads stderr: lines that the reader is too slow for are lost, and counted in the log.

mod queue;

use std::io::{self, IsTerminal};
use std::panic;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

use queue::Queue;

/// The targets of Sandgate's own crates begin like this.
const OWN: &str = "sandgate";
/// Lines that wait for the reader of stderr, some 200 bytes each.
const WAITING: usize = 1024;
/// How long the last lines may take.
const FLUSH: Duration = Duration::from_millis(500);

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The log of this process. Dropped at its end, it waits a little for the last lines.
#[must_use = "the last lines are waited for when it is dropped"]
pub struct Log(Queue);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush(FLUSH);
    }
}

/// Starts the log of this process: once, before anything logs. A plain level in `filter` is that of Sandgate's own
/// crates; others, which log whatever a client makes them, say nothing unless the filter names them.
///
/// # Errors
/// Where `filter` cannot be read, or a log was started before.
pub fn start(format: LogFormat, filter: &str) -> anyhow::Result<Log> {
    let directives = EnvFilter::builder().parse(own_levels(filter));
    let directives = directives.map_err(|error| anyhow::anyhow!("log level \"{filter}\": {error}"))?;
    let queue = Queue::start(io::stderr(), format, WAITING)?;
    let lines = queue.clone();
    // A closed stderr would otherwise be reported on stderr, which panics.
    let log = fmt()
        .with_env_filter(directives)
        .with_writer(move || lines.clone())
        .log_internal_errors(false)
        .with_ansi(false);
    match format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))?;
    Ok(Log(queue))
}

/// Has panics logged, like everything else, in place of a text on stderr that waits for its reader.
pub fn take_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("without a text");
        tracing::error!(place, "a panic, which is a mistake of the program: {message}");
    }));
}

/// Whether [`start`] takes `text` as its filter: a level, or a list of `tracing-subscriber`'s directives.
#[must_use]
pub fn is_filter(text: &str) -> bool {
    // A lone word is a level. The filter itself would take a misspelt level for the name of a target.
    let is_level = || ["off", "error", "warn", "info", "debug", "trace"].contains(&text.to_ascii_lowercase().as_str());
    let is_directive_list = text.contains(['=', ',', '[']);
    EnvFilter::builder().parse(text).is_ok() && (is_directive_list || is_level())
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
    use std::io::{Read as _, pipe};
    use std::sync::Arc;

    use super::*;

    fn others() {
        tracing::error!(target: "h2::proto", "h2 error");
        tracing::warn!(target: "h2::proto", "h2 warn");
    }

    /// What a log with this filter holds after a line of each level from several crates.
    fn logged(filter: &str) -> Vec<String> {
        let (mut lines, writer) = pipe().unwrap();
        let filter = EnvFilter::builder().parse(own_levels(filter)).unwrap();
        let log = fmt().with_env_filter(filter).with_writer(Arc::new(writer)).with_ansi(false);
        tracing::subscriber::with_default(log.without_time().finish(), || {
            others();
            tracing::info!(target: "sandgate_sidecar::serve", "own info");
            tracing::debug!(target: "sandgate_sidecar::serve", "own debug");
            tracing::warn!(target: "sandgate_ca", "ca warn");
        });
        let mut text = String::new();
        lines.read_to_string(&mut text).unwrap();
        text.lines().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect()
    }

    #[test]
    fn a_plain_level_holds_for_our_own_crates_and_others_are_silent_unless_named() {
        for (filter, expected) in [
            ("info", &["own info", "ca warn"][..]),
            ("INFO", &["own info", "ca warn"]),
            ("off", &[]),
            ("error", &[]),
            ("debug", &["own info", "own debug", "ca warn"]),
            ("warn,sandgate_sidecar::serve=debug", &["own info", "own debug", "ca warn"]),
            ("warn,h2=warn", &["h2 error", "h2 warn", "ca warn"]),
            ("h2=error", &["h2 error"]),
        ] {
            let lines = logged(filter);
            assert_eq!(lines.len(), expected.len(), "{filter}: {lines:?}");
            for line in expected {
                assert!(lines.iter().any(|logged| logged.ends_with(line)), "{filter}: {lines:?}");
            }
        }
    }

    #[test]
    fn a_misspelt_log_level_is_not_taken_for_a_target() {
        for text in ["info", "DEBUG", "info,sandgate_sidecar::upstream=debug", "sandgate_sidecar=trace"] {
            assert!(is_filter(text), "{text}");
        }
        for text in ["inf", "loud", "a=loud", "info,,=x"] {
            assert!(!is_filter(text), "{text}");
        }
    }
}
