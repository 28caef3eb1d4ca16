//! The configuration file, watched by content: loads it, keeps the last good one, and hands every new one on.
//!
//! Polled, because file notification is not reliable on every mount. It puts nothing in force by itself.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sandgate_policy::yaml;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Config, ConfigErrors};

/// How often the file is read to see whether its content changed.
pub const POLL: Duration = Duration::from_secs(2);
/// A file that is being written in place must be quiet for so long before it is taken.
const SETTLE: Duration = Duration::from_millis(100);

/// Why there is no configuration. Displays the file and every problem, one a line as `FILE:LINE: key: message`.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is no valid configuration.
    #[error("{}", placed(path, errors).join("\n"))]
    Config {
        /// The file.
        path: PathBuf,
        /// All that is wrong with it.
        errors: ConfigErrors,
    },
}

/// Every problem with its place, as `FILE:LINE: key: message`.
fn placed(path: &Path, errors: &ConfigErrors) -> Vec<String> {
    let place = |line: usize| if line == 0 { String::new() } else { format!(":{line}") };
    let problems = errors.0.iter();
    problems
        .map(|problem| {
            let unplaced = sandgate_policy::problem::Unplaced(problem);
            format!("{}{}: {unplaced}", path.display(), place(problem.line))
        })
        .collect()
}

/// What a look at the file led to, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// A new configuration was handed on.
    Taken,
    /// The file is broken or gone; the last good configuration stays.
    Failed,
}

/// A configuration file and what was last seen of it.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    seen: Seen,
    /// The configuration that the process started with: what needs a restart is compared with it.
    started: Arc<Config>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Content(Vec<u8>),
    /// A text instead of [`io::Error`], which can't be compared.
    Unreadable(String),
}

/// Reads a file once, as the commands do that do not watch it.
///
/// # Errors
/// [`LoadError`].
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let text = read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    Config::parse(&text).map_err(|errors| LoadError::Config { path: path.to_owned(), errors })
}

impl ConfigFile {
    /// Loads the file for the first time, and logs its hash.
    ///
    /// # Errors
    /// [`LoadError`]: without a last good configuration a broken one is no reason to start.
    pub fn open(path: &Path) -> Result<(Self, Arc<Config>), LoadError> {
        let text = read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        let config = Config::parse(&text).map_err(|errors| LoadError::Config { path: path.to_owned(), errors })?;
        let config = Arc::new(config);
        tracing::info!(file = %path.display(), hash = config.hash(), "configuration loaded");
        let file = Self { path: path.to_owned(), seen: Seen::Content(text), started: Arc::clone(&config) };
        Ok((file, config))
    }

    /// Looks at the file every `period`, sends what is new and valid, and tells `looked` of everything that changed.
    /// Ends when nobody receives any more.
    pub async fn watch(
        mut self,
        period: Duration,
        configuration: watch::Sender<Arc<Config>>,
        looked: impl Fn(Reload) + Send,
    ) {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = configuration.closed() => return,
            }
            match self.poll().await {
                Some(Ok(config)) => {
                    configuration.send_replace(config);
                    looked(Reload::Taken);
                }
                Some(Err(())) => looked(Reload::Failed),
                None => {}
            }
        }
    }

    /// Whether the file has changed since the last look, and if so what is to be put in force.
    async fn poll(&mut self) -> Option<Result<Arc<Config>, ()>> {
        let seen = look(&self.path);
        if seen == self.seen {
            return None;
        }
        // Half of a file may be valid and mean something else.
        sleep(SETTLE).await;
        if look(&self.path) != seen {
            return None;
        }
        self.seen = seen;
        Some(self.take())
    }

    fn take(&self) -> Result<Arc<Config>, ()> {
        let problems = match &self.seen {
            Seen::Unreadable(error) => vec![format!("{}: {error}", self.path.display())],
            Seen::Content(text) => match Config::parse(text) {
                Ok(config) => return Ok(self.accept(config)),
                Err(errors) => placed(&self.path, &errors),
            },
        };
        for problem in problems {
            tracing::error!(problem, "the configuration was not loaded; the last good one stays");
        }
        Err(())
    }

    fn accept(&self, config: Config) -> Arc<Config> {
        let restart = self.started.restart_needed(&config);
        if !restart.is_empty() {
            tracing::warn!(settings = restart.join(", "), "changed settings hold after a restart only");
        }
        tracing::info!(file = %self.path.display(), hash = config.hash(), "another configuration is in force");
        Arc::new(config)
    }
}

fn look(path: &Path) -> Seen {
    read(path).map_or_else(|error| Seen::Unreadable(error.to_string()), Seen::Content)
}

/// The content of a regular file, as large as a configuration may be. A FIFO, which would be waited for, is refused.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut content = Vec::new();
    File::open(path)?.take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests;
