//! kubectl as one user of an API server: what people type, and the very messages that they see.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::programs;

/// One user.
pub struct Kubectl {
    pub(super) kubeconfig: PathBuf,
    pub(super) cache: PathBuf,
}

impl Kubectl {
    /// Runs it with `arguments` and nothing on its standard input.
    ///
    /// # Errors
    /// What it printed on standard error, if it failed.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        self.run_with(arguments, "")
    }

    /// Runs it with `input` on its standard input, for `-f -`.
    ///
    /// # Errors
    /// What it printed on standard error, if it failed.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new(programs().join("kubectl"));
        command.arg("--kubeconfig").arg(&self.kubeconfig).arg("--cache-dir").arg(&self.cache).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        // It may end without reading: what it says then is in its output.
        let _unread = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().expect("a child can be waited for");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

/// What `kubectl kustomize` makes of a directory.
///
/// # Errors
/// What it printed on standard error, if it failed.
pub fn kustomize(directory: &std::path::Path) -> Result<String, String> {
    let output = Command::new(programs().join("kubectl")).arg("kustomize").arg(directory).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start kubectl: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
