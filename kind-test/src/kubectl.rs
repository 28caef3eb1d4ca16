//! kubectl: what people type, and everything that they see. `KUBECTL` names the program, else that of scripts/api-server
//! is taken, else the one in PATH.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The longest that a command may take: no test waits for one that hangs.
const LIMIT: &str = "300";

/// What a command printed.
#[derive(Debug)]
pub struct Printed {
    /// Whether it ended with 0.
    pub succeeded: bool,
    /// Its standard output.
    pub output: String,
    /// Its standard error: refusals, and warnings of what succeeded.
    pub errors: String,
}

/// Runs kubectl with `arguments`, and `input` on its standard input for `-f -`.
///
/// # Panics
/// Where it can't be started.
#[must_use]
pub fn kubectl(arguments: &[&str], input: &str) -> Printed {
    kubectl_within(LIMIT, arguments, input)
}

/// The same, ended after a time as coreutils' `timeout` reads it, for what does not end by itself.
///
/// # Panics
/// Where it can't be started.
#[must_use]
pub fn kubectl_within(limit: &str, arguments: &[&str], input: &str) -> Printed {
    let mut command = Command::new("timeout");
    command.arg(limit).arg(program()).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    // It may end without reading: what it says then is on its stderr.
    let _unread = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("a child can be waited for");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Printed { succeeded: output.status.success(), output: text(&output.stdout), errors: text(&output.stderr) }
}

fn program() -> String {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/kubernetes/bin/kubectl");
    std::env::var("KUBECTL").unwrap_or_else(|_| if Path::new(built).exists() { built.into() } else { "kubectl".into() })
}

impl Printed {
    /// What it printed where it succeeded.
    ///
    /// # Panics
    /// Where it did not.
    #[track_caller]
    pub fn accepted(self) -> Self {
        assert!(self.succeeded, "refused: {}\n{}", self.errors, self.output);
        self
    }

    /// Its error has all these parts.
    ///
    /// # Panics
    /// Where it succeeded, or a part is missing.
    #[track_caller]
    pub fn refused_with(&self, parts: &[&str]) {
        assert!(!self.succeeded, "it was accepted: {} {}", self.output, self.errors);
        self.says(parts);
    }

    /// What it printed on standard error has all these parts.
    ///
    /// # Panics
    /// Where one is missing.
    #[track_caller]
    pub fn says(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.errors.contains(part), "without {part:?}: {}", self.errors);
        }
    }

    /// What it printed on standard output has all these parts.
    ///
    /// # Panics
    /// Where one is missing.
    #[track_caller]
    pub fn shows(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.output.contains(part), "without {part:?}: {}\n{}", self.output, self.errors);
        }
    }
}
