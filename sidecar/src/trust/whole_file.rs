//! Files that are whole or absent: written aside in the same directory, then renamed. Never follows a link that
//! somebody put in the place of the file aside.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::file;

/// Whether the file is there with exactly this content.
pub(crate) fn holds(path: &Path, content: &[u8]) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() == content.len() as u64)
        && file::read(path, content.len()).is_ok_and(|found| found == content)
}

/// Puts `content` at `path` with `mode`, whatever the umask. The file never has more permissions than `mode`.
///
/// # Errors
/// What the system says; the old file is then still there, and the one aside is removed.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    // A fixed name, so that what a killed process left is used up by the next one.
    let aside = path.with_file_name(format!(".{}.new", name.to_string_lossy()));
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let result = write_new(&aside, content, mode).and_then(|()| fs::rename(&aside, path));
    if result.is_err() {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&aside);
    }
    result
}

/// Gives the file exactly the permissions of `mode`.
///
/// # Errors
/// What the system says.
pub(crate) fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o7777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_data()
}
