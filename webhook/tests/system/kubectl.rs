//! kubectl as one user: what people type, and everything that they see.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sandgate_testkit::api_server;

pub(crate) struct Kubectl {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) cache: PathBuf,
}

/// What it printed, warnings on `errors`.
pub(crate) struct Printed {
    pub(crate) succeeded: bool,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Kubectl {
    /// Runs it with the words of `line` as arguments.
    pub(crate) fn run(&self, line: &str) -> Printed {
        self.run_with(line, "")
    }

    /// The same, with `input` for `-f -`.
    pub(crate) fn run_with(&self, line: &str, input: &str) -> Printed {
        let mut command = Command::new(api_server::kubectl());
        command.arg("--kubeconfig").arg(&self.kubeconfig).arg("--cache-dir").arg(&self.cache);
        command.args(line.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may end without reading: what it says then is on its stderr.
        let _unread = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Printed { succeeded: output.status.success(), output: text(&output.stdout), errors: text(&output.stderr) }
    }
}

impl Printed {
    #[track_caller]
    pub(crate) fn accepted(self) -> Self {
        assert!(self.succeeded, "{}", self.errors);
        self
    }

    #[track_caller]
    pub(crate) fn refused_with(&self, parts: &[&str]) {
        assert!(!self.succeeded, "it was accepted: {} {}", self.output, self.errors);
        crate::answer::contains(&self.errors, parts);
    }
}
