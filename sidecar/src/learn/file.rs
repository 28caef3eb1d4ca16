//! The policy file that is learnt for: read as it is, and replaced as a whole, with the mode and the owner that it had.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use sandgate_policy::yaml;
use tempfile::{Builder, NamedTempFile};

use crate::file;

/// What a new file may be, less the umask.
const NEW_MODE: u32 = 0o666;

/// A policy file, which may be missing.
#[derive(Debug)]
pub(super) struct PolicyFile {
    named: PathBuf,
    /// Where it is, links followed.
    path: PathBuf,
    /// Device and inode of its directory: a program that runs meanwhile may put another in its place.
    directory: Option<(u64, u64)>,
    text: Option<String>,
}

impl PolicyFile {
    /// Reads the file, and makes sure that it can be replaced.
    pub(super) fn open(named: &Path) -> anyhow::Result<Self> {
        let path = match fs::canonicalize(named) {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(named).is_ok() => {
                bail!("{} is a link to a file that is not there: make that file, or remove the link", named.display())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => std::path::absolute(named)?,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", named.display())),
        };
        let directory = identity(&path).ok();
        let file = Self { named: named.to_owned(), path, directory, text: None };
        let text = file.read()?;
        if file.is_read_only() {
            bail!("{} is read-only: make it writable (chmod u+w) to have it extended", named.display());
        }
        let directory = file.path.parent().unwrap_or(Path::new("/"));
        file.aside().with_context(|| {
            format!("{} cannot be written later: no file can be made in {}", named.display(), directory.display())
        })?;
        Ok(Self { text, ..file })
    }

    /// As it was named.
    pub(super) fn named(&self) -> &Path {
        &self.named
    }

    /// What stood in it when it was opened.
    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// What stands in it now; `None` where it is missing.
    pub(super) fn read(&self) -> anyhow::Result<Option<String>> {
        match file::read_text(&self.path, yaml::MAX_BYTES) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(anyhow!("cannot read {}: {error}", self.named.display())),
        }
    }

    /// Puts `text` in its place.
    pub(super) fn replace(&self, text: &str) -> io::Result<()> {
        if self.directory != Some(identity(&self.path)?) {
            return Err(io::Error::other("its directory is another one than when the command was started"));
        }
        if self.is_read_only() {
            let reason = "it is read-only by now: make it writable (chmod u+w) to have it extended";
            return Err(io::Error::new(ErrorKind::PermissionDenied, reason));
        }
        let mut aside = self.aside()?;
        aside.write_all(text.as_bytes())?;
        if let Ok(known) = fs::metadata(&self.path) {
            if let Ok(new) = aside.as_file().metadata()
                && (new.uid(), new.gid()) != (known.uid(), known.gid())
            {
                // Only root can; for others the file is theirs from now on.
                let _ = fchown(aside.as_file(), Some(known.uid()), Some(known.gid()));
            }
            aside.as_file().set_permissions(Permissions::from_mode(known.mode() & 0o7777))?;
        }
        aside.as_file().sync_data()?;
        aside.persist(&self.path)?;
        Ok(())
    }

    /// Whether it is there and nobody may write it: a rename would not ask.
    fn is_read_only(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| metadata.permissions().readonly())
    }

    /// A new file in the same directory; it is removed unless it is renamed.
    fn aside(&self) -> io::Result<NamedTempFile> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        Builder::new().prefix(".sandgate-learn-").permissions(Permissions::from_mode(NEW_MODE)).tempfile_in(directory)
    }
}

/// Which directory a file is in, whatever that is called.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let directory = fs::metadata(path.parent().unwrap_or(Path::new("/")))?;
    Ok((directory.dev(), directory.ino()))
}

/// Writes a text to a new file in the directory for temporary ones, where it stays.
pub(super) fn keep(text: &str) -> io::Result<PathBuf> {
    let mut file = Builder::new().prefix("sandgate-learnt-").suffix(".yaml").tempfile()?;
    file.write_all(text.as_bytes())?;
    let (_, path) = file.keep()?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const TEXT: &str = "version: 1\ndestinations: []\n";

    #[test]
    fn a_file_keeps_its_mode_and_its_place_behind_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("policy.yaml"), directory.path().join("link.yaml"));
        fs::write(&path, TEXT).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        symlink("policy.yaml", &link).unwrap();
        let file = PolicyFile::open(&link).unwrap();
        assert_eq!(file.text(), Some(TEXT));
        file.replace("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "something was left behind");
    }

    #[test]
    fn another_directory_in_its_place_is_not_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("project")).unwrap();
        fs::create_dir(path("other")).unwrap();
        fs::write(path("other/policy.yaml"), TEXT).unwrap();
        let file = PolicyFile::open(&path("project/policy.yaml")).unwrap();
        fs::rename(path("project"), path("moved")).unwrap();
        symlink("other", path("project")).unwrap();
        let error = file.replace("new").unwrap_err().to_string();
        assert!(error.contains("its directory is another one"), "{error}");
        assert_eq!(fs::read_to_string(path("other/policy.yaml")).unwrap(), TEXT);
    }

    #[test]
    fn what_cannot_be_written_later_is_told_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("read-only.yaml"), TEXT).unwrap();
        fs::set_permissions(path("read-only.yaml"), Permissions::from_mode(0o444)).unwrap();
        symlink("nowhere", path("dangling.yaml")).unwrap();
        fs::write(path("latin.yaml"), b"\xff").unwrap();
        for (path, expected) in [
            (path("read-only.yaml"), "is read-only"),
            (path("dangling.yaml"), "is a link to a file that is not there"),
            (path("latin.yaml"), "not text in UTF-8"),
            (path("."), "it is a directory"),
            (path("missing/policy.yaml"), "no file can be made in"),
            ("/proc/policy.yaml".into(), "no file can be made in /proc"),
        ] {
            let error = format!("{:#}", PolicyFile::open(&path).unwrap_err());
            assert!(error.contains(expected) && error.contains(&*path.to_string_lossy()), "{path:?}: {error}");
        }
    }
}
