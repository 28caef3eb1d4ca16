//! The file with user and password for the upstream proxy. Its content goes into one field of a CONNECT, and nowhere
//! else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::file;
use crate::settings::upstream_proxy::Credentials;

/// More than any user and password have, in bytes.
const MOST: usize = 4096;
/// Permission of anybody but the owner and the group to read, and of anybody but the owner to write.
const OPEN_TO_OTHERS: u32 = 0o026;

/// A file with one line, `user:password`.
pub(super) struct AuthFile {
    path: PathBuf,
    /// What was wrong last: the log says it once.
    problem: Mutex<Option<String>>,
}

impl AuthFile {
    /// The file at `path`, which has to be right now.
    ///
    /// # Errors
    /// What is wrong with it, by its path and without any of its content.
    pub(super) fn open(path: PathBuf) -> Result<Self, String> {
        read(&path)?;
        // The volume of a Secret is for whoever mounts it to share or not: it is read only, so no mode can be set here.
        if let Some(mode) = open_mode(&path).filter(|_| !is_read_only(&path)) {
            let path = path.display();
            tracing::warn!(
                "{path} has a password and may be read or written by others (mode {mode:04o}): set mode 0600 or 0640"
            );
        }
        Ok(Self { path, problem: Mutex::default() })
    }

    /// What the file says now; `None` where it can't be used, which is logged.
    pub(super) fn read(&self) -> Option<Credentials> {
        let read = read(&self.path);
        let problem = read.as_ref().err();
        let mut last = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != problem {
            match problem {
                Some(problem) => tracing::error!("{problem}; nothing reaches the upstream proxy until that is mended"),
                None => tracing::info!("the credentials for the upstream proxy can be read again"),
            }
            *last = problem.cloned();
        }
        read.ok()
    }
}

/// The file's mode, where it is one that lets others in.
fn open_mode(path: &Path) -> Option<u32> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & OPEN_TO_OTHERS != 0).then_some(mode)
}

/// Whether the file system is mounted read only there.
fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
}

fn read(path: &Path) -> Result<Credentials, String> {
    let named = |what: &str| format!("--upstream-proxy-auth-file {}: {what}", path.display());
    let text = file::read_text(path, MOST).map_err(|error| named(&error.to_string()))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let parsed = match line.chars().next() {
        Some('\u{feff}') => Err("it begins with a byte order mark (BOM): save it as UTF-8 without one"),
        Some(first) if first.is_whitespace() => Err("it begins with a blank: remove that"),
        _ => Credentials::parse(line),
    };
    parsed.map_err(|what| named(&format!("{what}; it has to have one line, user:password")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_may_read_or_write_is_noticed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, expected) in
            [(0o600, None), (0o640, None), (0o440, None), (0o644, Some(0o644)), (0o660, Some(0o660))]
        {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(open_mode(file.path()), expected, "{mode:o}");
        }
    }

    #[test]
    fn the_file_is_read_anew_and_its_content_is_in_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth");
        let error = AuthFile::open(path.clone()).err().unwrap();
        assert!(error.contains("auth: No such file"), "{error}");
        for text in ["secret", "", ":secret", "user:secret\nsecond:line\n", "user:sec\0ret"] {
            fs::write(&path, text).unwrap();
            let error = AuthFile::open(path.clone()).err().unwrap();
            assert!(error.contains("user:password") && !error.contains("sec"), "{error}");
        }
        for (text, what) in [("\u{feff}user:secret\n", "byte order mark"), (" user:secret", "begins with a blank")] {
            fs::write(&path, text).unwrap();
            let error = AuthFile::open(path.clone()).err().unwrap();
            assert!(error.contains(what) && !error.contains("sec"), "{error}");
        }
        let reads = |text: &str| Credentials::parse(text).unwrap();
        fs::write(&path, "user:one\r\n").unwrap();
        let file = AuthFile::open(path.clone()).unwrap();
        assert_eq!(file.read(), Some(reads("user:one")));
        fs::write(&path, "user:two").unwrap();
        assert_eq!(file.read(), Some(reads("user:two")));
        fs::remove_file(&path).unwrap();
        assert_eq!(file.read(), None);
    }
}
