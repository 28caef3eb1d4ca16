//! `validate-config`: what is wrong with a configuration file, for people and for CI.

use std::io::Write;
use std::path::Path;

use super::file::{LoadError, load};

/// Says whether `file` is a valid configuration: its problems one a line as `FILE:LINE: key: message`, or its hash.
///
/// # Errors
/// Where the file cannot be read, or the output not written.
pub fn validate(file: &Path, out: &mut impl Write) -> anyhow::Result<bool> {
    match load(file) {
        Ok(config) => {
            writeln!(out, "{}: ok (hash {})", file.display(), config.hash())?;
            Ok(true)
        }
        Err(error @ LoadError::Config { .. }) => {
            writeln!(out, "{error}")?;
            Ok(false)
        }
        Err(error @ LoadError::Read { .. }) => Err(anyhow::Error::msg(format!("cannot read {error}"))),
    }
}
