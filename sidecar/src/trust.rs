//! The trust files that the workload reads: the proxy's CAs, the public roots beside them, and the small settings
//! files of clients that no variable can tell. Nothing secret is ever written here.

mod store;
pub(crate) mod whole_file;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use sandgate_contract::{
    APT_CONFIG_FILE, PHP_INI_FILE, PHP_SCAN_DIR, TRUST_BUNDLE_FILE, TRUST_CA_FILE, TRUST_STORE_FILE, WGETRC_FILE,
};
use thiserror::Error;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::file;

/// Readable by everyone: apt reads as a user of its own.
const DIR_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
/// What others need of the directory, so that it can be used where its mode is not ours to change.
const OTHERS_MAY_READ: u32 = 0o005;
/// RFC 7468 2: lines of 64 characters.
const PEM_LINE: usize = 64;

/// One directory of trust files.
#[derive(Clone, Debug)]
pub struct TrustFiles {
    dir: PathBuf,
    seen_at: PathBuf,
    /// The SHA-256 of the store that was written last, for its bytes can't be told in advance.
    store: Arc<Mutex<Option<[u8; 32]>>>,
}

impl TrustFiles {
    /// Trust files in `dir`, which its readers see at the same path.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self { seen_at: dir.clone(), dir, store: Arc::default() }
    }

    /// The same files for readers that see the directory at another path, as a second container of a pod does.
    #[must_use]
    pub fn seen_at(self, seen_at: impl Into<PathBuf>) -> Self {
        Self { seen_at: seen_at.into(), ..self }
    }

    /// The directory as this process sees it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the files say that `cas` are trusted, the first one being the one that signs.
    ///
    /// A file is replaced by a rename, so that a reader finds the old or the new one whole; one that says the right
    /// thing already is left alone. The directory is made if it is missing. Blocks on the file system. The
    /// paths that were replaced are what comes back.
    ///
    /// # Errors
    /// [`TrustError`], which names the path. Files before it may have been replaced; `bundle.crt` is the last.
    pub fn write(&self, cas: &[CertificateDer<'_>]) -> Result<Vec<PathBuf>, TrustError> {
        let bundle_path = self.path_for_settings()?;
        make_dir(&self.dir)?;
        make_dir(&self.dir.join(PHP_SCAN_DIR))?;

        let mut bundle = pem(cas);
        let wgetrc = format!("ca_certificate = {bundle_path}\n");
        let apt = format!("Acquire::https::CaInfo \"{bundle_path}\";\n");
        let php = format!("curl.cainfo = \"{bundle_path}\"\nopenssl.cafile = \"{bundle_path}\"\n");
        let mut replaced = vec![
            self.replace(TRUST_CA_FILE, bundle.as_bytes())?,
            self.replace(WGETRC_FILE, wgetrc.as_bytes())?,
            self.replace(APT_CONFIG_FILE, apt.as_bytes())?,
            self.replace(&format!("{PHP_SCAN_DIR}/{PHP_INI_FILE}"), php.as_bytes())?,
        ];
        bundle.push_str(&pem(TLS_SERVER_ROOT_CERTS));
        replaced.push(self.replace_store(cas, bundle.as_bytes())?);
        replaced.push(self.replace(TRUST_BUNDLE_FILE, bundle.as_bytes())?);
        Ok(replaced.into_iter().flatten().collect())
    }

    /// The store has random salts, so its bytes do not tell whether it is current. The bundle does, for it is written
    /// after the store; and that it is whole is told by its hash, or at first by its own checksum.
    fn replace_store(&self, cas: &[CertificateDer<'_>], bundle: &[u8]) -> Result<Option<PathBuf>, TrustError> {
        let path = self.dir.join(TRUST_STORE_FILE);
        let mut known = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if whole_file::holds(&self.dir.join(TRUST_BUNDLE_FILE), bundle)
            && let Ok(found) = file::read(&path, file::LIMIT)
        {
            let sum = sha256(&found);
            if known.map_or_else(|| store::is_whole(&found), |known| known == sum) {
                *known = Some(sum);
                return Ok(None);
            }
        }
        let store = store::encode(cas, TLS_SERVER_ROOT_CERTS)
            .map_err(|source| TrustError::Store { path: path.clone(), source: Box::new(source) })?;
        let replaced = self.replace(TRUST_STORE_FILE, &store)?;
        *known = Some(sha256(&store));
        Ok(replaced)
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<Option<PathBuf>, TrustError> {
        let path = self.dir.join(name);
        if whole_file::holds(&path, content) {
            return Ok(None);
        }
        match whole_file::replace(&path, content, FILE_MODE) {
            Ok(()) => Ok(Some(path)),
            Err(source) => Err(TrustError::Io { path, source }),
        }
    }

    /// The path of the bundle as readers see it, if all the languages that it is written in can say it.
    fn path_for_settings(&self) -> Result<String, TrustError> {
        Ok(format!("{}/{TRUST_BUNDLE_FILE}", usable_path(&self.seen_at)?.trim_end_matches('/')))
    }
}

/// A directory of trust files as text, if the settings of all clients can say it.
pub(crate) fn usable_path(dir: &Path) -> Result<&str, TrustError> {
    let plain = |char: char| !char.is_control() && !char.is_whitespace() && !"\"'\\;$:`".contains(char);
    let path = dir.to_str().filter(|path| path.starts_with('/') && path.chars().all(plain));
    path.ok_or_else(|| TrustError::UnusablePath { path: dir.to_owned() })
}

fn sha256(content: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, content).as_ref());
    sum
}

fn make_dir(dir: &Path) -> Result<(), TrustError> {
    let failed = |source| TrustError::Io { path: dir.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir).map_err(failed)?;
    let mode = fs::metadata(dir).map_err(failed)?.permissions().mode() & 0o777;
    if mode == DIR_MODE {
        return Ok(());
    }
    match fs::set_permissions(dir, fs::Permissions::from_mode(DIR_MODE)) {
        // The mount point of an emptyDir belongs to root, with mode 0777.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && mode & OTHERS_MAY_READ == OTHERS_MAY_READ => {
            Ok(())
        }
        result => result.map_err(failed),
    }
}

fn pem(certificates: &[CertificateDer<'_>]) -> String {
    let size = certificates.iter().map(|certificate| certificate.len() * 7 / 5 + 64).sum();
    let mut text = String::with_capacity(size);
    for certificate in certificates {
        let encoded = STANDARD.encode(certificate);
        let (lines, rest) = encoded.as_bytes().as_chunks::<PEM_LINE>();
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in lines.iter().map(<[u8; PEM_LINE]>::as_slice).chain((!rest.is_empty()).then_some(rest)) {
            text.extend(line.iter().map(|byte| char::from(*byte)));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// Why the trust files could not be written.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A file or directory could not be made.
    #[error("cannot write {}: {source}; the sidecar's user must be able to write there", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A CA cannot be put into the Java trust store.
    #[error("cannot encode {}: {source}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<p12_keystore::error::Error>,
    },
    /// The directory has a name that some client's settings cannot say.
    #[error(
        "cannot use {} for trust files: the path must be absolute, without spaces, quotes, colons, semicolons, \
         backslashes or dollar signs; choose another directory",
        path.display()
    )]
    UnusablePath {
        /// The directory, as its readers see it.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests;
