//! Files that are whole or absent, whenever the process is killed: written aside, flushed, then put in place.
//! Never writes through a symbolic link, and never shows a file under its final name before all of it is there.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::crypto;

/// The end of the names of files that are being written.
pub(crate) const ASIDE_SUFFIX: &str = ".tmp";
/// The largest file that is read. A certificate or key has a few kilobytes.
const MAX_READ_BYTES: u64 = 1 << 20;

/// What to do when the file is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Fail with [`FileError::Exists`], and leave it as it is.
    Refuse,
    /// Put the new file in its place. A symbolic link is replaced, and what it points to stays as it is.
    Replace,
}

/// A file could not be read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// It is there already.
    #[error("{path} is there already, and is not overwritten without --force", path = .0.display())]
    Exists(PathBuf),
    /// It is larger than a certificate or key can be.
    #[error("{path} is larger than 1 MiB, so it is no certificate or key", path = .0.display())]
    TooLarge(PathBuf),
    /// The system refused.
    #[error("can't {action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl FileError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    /// Whether the file, or its directory, is not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Writes `bytes` to `path`, which is whole or absent afterwards (or the old file still), and has `mode` exactly,
/// whatever the umask: from the first byte on nobody can read it whom `mode` does not let.
///
/// # Errors
/// [`FileError`], which names the path.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32, overwrite: Overwrite) -> Result<(), FileError> {
    let aside = Aside(aside_name(path)?);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&aside.0)
        .map_err(|error| FileError::io("create", path, error))?;
    file.set_permissions(Permissions::from_mode(mode))
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .map_err(|error| FileError::io("write", path, error))?;
    put(&aside.0, path, overwrite)
}

/// Moves a whole file to its name in the same directory.
pub(crate) fn put(from: &Path, to: &Path, overwrite: Overwrite) -> Result<(), FileError> {
    let moved = match overwrite {
        Overwrite::Replace => fs::rename(from, to),
        // A link fails when the name is taken, in one step, where rename would replace.
        Overwrite::Refuse => fs::hard_link(from, to).and_then(|()| fs::remove_file(from)),
    };
    match moved {
        Ok(()) => sync_directory(to),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(FileError::Exists(to.to_owned())),
        Err(error) => Err(FileError::io("write", to, error)),
    }
}

/// The text of a file.
///
/// # Errors
/// [`FileError`], which names the path; also when it is no text, or larger than a certificate or key can be.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_READ_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| FileError::io("read", path, error))?;
    if text.len() as u64 > MAX_READ_BYTES { Err(FileError::TooLarge(path.to_owned())) } else { Ok(text) }
}

/// A file that is being written. Removed on the way out, unless it was moved to its name.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and the error that led here is reported.
        let _ = fs::remove_file(&self.0);
    }
}

fn aside_name(path: &Path) -> Result<PathBuf, FileError> {
    let random = crypto::serial_number()
        .map_err(|_| FileError::io("write", path, io::Error::other("the system gave no randomness")))?;
    let name = path.file_name().ok_or_else(|| FileError::io("write", path, io::ErrorKind::IsADirectory.into()))?;
    let random: String = random.to_bytes()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(path.with_file_name(format!(".{}.{random}{ASIDE_SUFFIX}", name.display())))
}

/// Makes a name's place in its directory last through a power failure.
fn sync_directory(path: &Path) -> Result<(), FileError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(|error| FileError::io("flush", parent, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().display().to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_not_overwritten_unless_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        write_whole(&path, b"one", 0o600, Overwrite::Refuse).unwrap();
        let error = write_whole(&path, b"two", 0o600, Overwrite::Refuse).unwrap_err();
        assert!(matches!(&error, FileError::Exists(named) if *named == path), "{error}");
        assert_eq!(read_text(&path).unwrap(), "one");
        write_whole(&path, b"two", 0o644, Overwrite::Replace).unwrap();
        assert_eq!(read_text(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(entries(directory.path()), ["a"], "nothing is left aside");
    }

    #[test]
    fn a_symbolic_link_is_never_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(write_whole(&link, b"new", 0o600, Overwrite::Refuse).is_err());
        write_whole(&link, b"new", 0o600, Overwrite::Replace).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        assert!(!fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn an_error_names_the_file_and_not_the_one_aside() {
        let path = Path::new("/nonexistent/ca.key");
        let error = write_whole(path, b"", 0o600, Overwrite::Refuse).unwrap_err();
        assert!(error.is_absent() && error.to_string().contains("/nonexistent/ca.key:"), "{error}");
    }
}
