//! What tests of the images and of Compose need: the repository, commands that must succeed, Docker, and waiting. It knows
//! nothing of what is in an image.
//!
//! Functions here panic where a test could only fail: a command that is missing, an image that was not built.

mod container;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

pub use container::Container;

/// A path in the repository.
#[must_use]
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository").join(path)
}

/// What a command did, with its words for a test that fails.
#[derive(Debug)]
pub struct Said {
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// All of stdout.
    pub out: String,
    /// All of stderr.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Runs a command to its end.
///
/// # Panics
/// Where it cannot be started.
pub fn run(command: &mut Command) -> Said {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}")).into()
}

/// Runs a command that must succeed, and gives its stdout.
///
/// # Panics
/// Where it does not exit with 0; the message has all that it said.
pub fn must(command: &mut Command) -> String {
    let said = run(command);
    assert!(said.code == Some(0), "{command:?}: {said:#?}");
    said.out
}

/// A command of the engine that `scripts/docker-engine` finds or started.
#[must_use]
pub fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new(repository("scripts/docker-engine"));
    command.args(["run", "docker"]).args(arguments).current_dir(repository(""));
    command
}

/// What `docker inspect` says of one image or container.
///
/// # Panics
/// Where there is none of that name.
#[must_use]
pub fn inspect(name: &str) -> Value {
    let said = run(&mut docker(&["inspect", name]));
    assert!(
        said.code == Some(0),
        "there is no {name}; `make images` or `make images-local` makes images: {}",
        said.err
    );
    serde_json::from_str::<Value>(&said.out).expect("docker prints JSON")[0].take()
}

/// Asks again until there is an answer, and gives it.
///
/// # Panics
/// Where there was none within `limit`.
pub fn until<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
    }
}
