//! A directory with a CA: `ca.crt` and `ca.key`, and after a rotation `previous.crt` and `bundle.crt`.
//!
//! Two files can't be replaced in one step. So the new certificate is staged whole beside the old one first, then the
//! key is put in place, then the certificate. Killed before the key, the old pair stands; killed after it, the staged
//! certificate belongs to the key, and the next command finishes. Never removes the last key of a CA on the way.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::authority::{self, Authority, AuthorityError};
use crate::files::{self, FileError, Overwrite};
use crate::key::CaKey;
use sandgate_contract::{CA_BUNDLE_FILE, CA_CERT_FILE, CA_KEY_FILE, CA_PREVIOUS_FILE};

/// The mode of certificates: nothing in them is secret.
pub const PUBLIC_MODE: u32 = 0o644;
/// The mode of a directory that is made here: what is secret in it has a mode of its own.
const DIRECTORY_MODE: u32 = 0o755;
/// The mode of private keys.
pub const PRIVATE_MODE: u32 = 0o600;
/// A new certificate that waits for its key.
const STAGED_FILE: &str = "ca.crt.new";

/// Why a directory's CA could not be read or written.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The files were read, and what is in them was refused.
    #[error("{path}: {reason}", path = .path.display())]
    Authority {
        /// The file that is at fault, or the directory if it takes both to tell.
        path: PathBuf,
        /// Why.
        reason: AuthorityError,
    },
    /// Another process writes here.
    #[error("another process is changing the CA in {path}; try again when it is done", path = .0.display())]
    Busy(PathBuf),
}

impl DirectoryError {
    /// Whether a file, or the directory itself, is not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::File(error) if error.is_absent())
    }
}

/// A directory that holds a CA, or will.
#[derive(Clone, Debug)]
pub struct CaDirectory {
    path: PathBuf,
}

/// That nobody else writes in the directory, as long as this lives.
struct Lock(#[expect(dead_code, reason = "the lock ends when the file is closed")] File);

impl CaDirectory {
    /// The directory at `path`, which need not exist yet. A write that was cut off is finished first.
    ///
    /// # Errors
    /// [`DirectoryError::File`] when that can't be done.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DirectoryError> {
        let directory = Self { path: path.into() };
        directory.recover()?;
        Ok(directory)
    }

    /// The path of a file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads and checks the CA.
    ///
    /// # Errors
    /// [`DirectoryError`], which names the file at fault.
    pub fn read(&self) -> Result<Authority, DirectoryError> {
        let (certificate, key) = (self.file(CA_CERT_FILE), self.file(CA_KEY_FILE));
        let pair = (files::read_text(&certificate)?, files::read_text(&key)?);
        Authority::from_pem(&pair.0, &pair.1).map_err(|reason| {
            let path = match reason.is_about_key() {
                Some(true) => key,
                Some(false) => certificate,
                None => self.path.clone(),
            };
            DirectoryError::Authority { path, reason }
        })
    }

    /// The certificate of the CA before this one as PEM, if the directory has it.
    ///
    /// # Errors
    /// [`DirectoryError`] when the file is there, but can't be read or has no certificate.
    pub fn previous(&self) -> Result<Option<String>, DirectoryError> {
        let path = self.file(CA_PREVIOUS_FILE);
        let text = match files::read_text(&path) {
            Err(error) if error.is_absent() => return Ok(None),
            other => other?,
        };
        match authority::read_chain(&text) {
            Ok(_) => Ok(Some(text)),
            Err(reason) => Err(DirectoryError::Authority { path, reason }),
        }
    }

    /// Writes a new CA here. With [`Overwrite::Replace`] an older CA is gone afterwards, with what a rotation left.
    ///
    /// # Errors
    /// [`FileError::Exists`] when there is a CA and `overwrite` refuses; else [`DirectoryError`].
    pub fn write(&self, authority: &Authority, overwrite: Overwrite) -> Result<(), DirectoryError> {
        let _lock = self.prepare()?;
        if overwrite == Overwrite::Refuse {
            for path in [self.file(CA_KEY_FILE), self.file(CA_CERT_FILE)] {
                if path.symlink_metadata().is_ok() {
                    return Err(FileError::Exists(path).into());
                }
            }
        }
        self.stage(authority)?;
        // They speak of a CA that this one does not follow.
        remove(&self.file(CA_BUNDLE_FILE))?;
        remove(&self.file(CA_PREVIOUS_FILE))?;
        self.swap(authority, overwrite)
    }

    /// Puts `new` in the place of `old`, whose certificate is kept as `previous.crt`, and writes `bundle.crt` with
    /// both. Who reads the bundle trusts the new CA before it signs anything.
    ///
    /// # Errors
    /// [`DirectoryError`]; the old CA then still stands, or the next command finishes.
    pub fn rotate(&self, old: &Authority, new: &Authority) -> Result<(), DirectoryError> {
        let _lock = self.prepare()?;
        self.stage(new)?;
        let previous = old.certificate_pem();
        let bundle = new.chain_pem() + &previous;
        files::write_whole(&self.file(CA_BUNDLE_FILE), bundle.as_bytes(), PUBLIC_MODE, Overwrite::Replace)?;
        files::write_whole(&self.file(CA_PREVIOUS_FILE), previous.as_bytes(), PUBLIC_MODE, Overwrite::Replace)?;
        self.swap(new, Overwrite::Replace)
    }

    fn stage(&self, authority: &Authority) -> Result<(), FileError> {
        let certificate = authority.chain_pem();
        files::write_whole(&self.file(STAGED_FILE), certificate.as_bytes(), PUBLIC_MODE, Overwrite::Replace)
    }

    fn swap(&self, authority: &Authority, overwrite: Overwrite) -> Result<(), DirectoryError> {
        let key = authority.private_key_pem();
        files::write_whole(&self.file(CA_KEY_FILE), key.as_bytes(), PRIVATE_MODE, overwrite)?;
        files::put(&self.file(STAGED_FILE), &self.file(CA_CERT_FILE), overwrite)?;
        Ok(())
    }

    /// Makes the directory, locks it, and removes what a killed process left half written.
    fn prepare(&self) -> Result<Lock, DirectoryError> {
        self.make().map_err(|error| FileError::io("create", &self.path, error))?;
        let lock = self.lock()?.ok_or_else(|| DirectoryError::Busy(self.path.clone()))?;
        let entries = fs::read_dir(&self.path).map_err(|error| FileError::io("read", &self.path, error))?;
        for entry in entries {
            let path = entry.map_err(|error| FileError::io("read", &self.path, error))?.path();
            if is_left_over(&path) {
                remove(&path)?;
            }
        }
        Ok(lock)
    }

    /// Makes the directory, unless it is there, with its mode whatever the umask is.
    fn make(&self) -> io::Result<()> {
        if let Some(parent) = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(DIRECTORY_MODE).create(&self.path) {
            Ok(()) => fs::set_permissions(&self.path, Permissions::from_mode(DIRECTORY_MODE)),
            Err(_) if self.path.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// `None` when another process has it. Only for directories that nobody else may enter: who can read a directory
    /// can lock it.
    fn lock(&self) -> Result<Option<Lock>, FileError> {
        let directory = File::open(&self.path).map_err(|error| FileError::io("open", &self.path, error))?;
        match directory.try_lock() {
            Ok(()) => Ok(Some(Lock(directory))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(FileError::io("lock", &self.path, error)),
        }
    }

    /// Finishes a write that was cut off between the key and the certificate.
    fn recover(&self) -> Result<(), DirectoryError> {
        let staged = self.file(STAGED_FILE);
        if staged.symlink_metadata().is_err() {
            return Ok(());
        }
        // Without the lock, the writer is alive and will finish by itself.
        let Some(_lock) = self.lock()? else { return Ok(()) };
        let certificate = self.file(CA_CERT_FILE);
        if self.belongs_to_key(&certificate) {
            // Killed before the key was put in place, or after all was done: nothing is missing.
            remove(&staged)?;
        } else if self.belongs_to_key(&staged) {
            files::put(&staged, &certificate, Overwrite::Replace)?;
        }
        Ok(())
    }

    fn belongs_to_key(&self, certificate: &Path) -> bool {
        let read = |path: &Path| files::read_text(path).ok();
        let key = read(&self.file(CA_KEY_FILE)).and_then(|text| CaKey::from_pem(&text).ok());
        let chain = read(certificate).and_then(|text| authority::read_chain(&text).ok());
        let facts = chain.and_then(|chain| authority::Facts::read(&chain[0]).ok());
        key.zip(facts).is_some_and(|(key, facts)| facts.belongs_to(&key.pair))
    }
}

/// Whether a file is one that [`files::write_whole`] was writing here when its process was killed.
fn is_left_over(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.display().to_string()).unwrap_or_default();
    let ours = [CA_CERT_FILE, CA_KEY_FILE, CA_PREVIOUS_FILE, CA_BUNDLE_FILE, STAGED_FILE];
    name.ends_with(files::ASIDE_SUFFIX) && ours.iter().any(|file| name.starts_with(&format!(".{file}.")))
}

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::io("remove", path, error)),
        _ => Ok(()),
    }
}
