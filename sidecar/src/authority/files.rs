//! A CA that the operator puts into files, looked at by content: file notification is not reliable on every mount.
//! Never keeps the text of a key.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sandgate_ca::Authority;
use sandgate_contract::{CA_CERT_FILE, CA_KEY_FILE, CA_PREVIOUS_FILE};
use time::OffsetDateTime;

use super::{Authorities, CaError};
use crate::file;

/// The files of a CA.
#[derive(Debug)]
pub struct CaFiles {
    certificate: PathBuf,
    key: PathBuf,
    previous: PathBuf,
    hasher: RandomState,
    /// The hash of the contents that were taken last.
    taken: Option<u64>,
}

/// What the files say.
struct Contents {
    certificate: String,
    key: String,
    previous: Option<String>,
}

impl CaFiles {
    /// The files of a directory that is laid out as the sidecar's mount is.
    #[must_use]
    pub fn in_dir(dir: &Path) -> Self {
        Self::new(dir.join(CA_CERT_FILE), dir.join(CA_KEY_FILE), dir.join(CA_PREVIOUS_FILE))
    }

    /// `certificate` and `key` must exist; `previous` is there only after a rotation.
    #[must_use]
    pub fn new(certificate: PathBuf, key: PathBuf, previous: PathBuf) -> Self {
        Self { certificate, key, previous, hasher: RandomState::new(), taken: None }
    }

    /// The CA that the files hold, and the certificates of the one before it.
    pub(super) fn read(&mut self) -> Result<(Arc<Authority>, Vec<CertificateDer<'static>>), CaError> {
        let contents = self.contents()?;
        self.take(&contents)
    }

    /// Brings what the files say into `next` if they changed since they were taken last.
    pub(super) fn look(&mut self, next: &mut Authorities, now: OffsetDateTime) -> Result<(), CaError> {
        let contents = self.contents()?;
        if self.taken == Some(self.hash(&contents)) {
            return Ok(());
        }
        let (authority, previous) = self.take(&contents)?;
        next.offer(authority, now);
        next.trust_previous(previous);
        Ok(())
    }

    /// Makes the next look take the files again, because what they said could not be put to use.
    pub(super) fn forget(&mut self) {
        self.taken = None;
    }

    fn take(&mut self, contents: &Contents) -> Result<(Arc<Authority>, Vec<CertificateDer<'static>>), CaError> {
        let authority = Authority::from_pem(&contents.certificate, &contents.key).map_err(|source| {
            CaError::Unusable { certificate: self.certificate.clone(), key: self.key.clone(), source }
        })?;
        let previous = contents.previous.as_deref().map_or(Ok(Vec::new()), |text| self.previous(text))?;
        self.taken = Some(self.hash(contents));
        Ok((Arc::new(authority), previous))
    }

    fn previous(&self, text: &str) -> Result<Vec<CertificateDer<'static>>, CaError> {
        let bad = || CaError::Previous { path: self.previous.clone() };
        let found: Vec<_> =
            CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().map_err(|_| bad())?;
        let is_certificate =
            |der: &CertificateDer<'_>| x509_parser::parse_x509_certificate(der).is_ok_and(|(rest, _)| rest.is_empty());
        if !found.is_empty() && found.iter().all(is_certificate) { Ok(found) } else { Err(bad()) }
    }

    fn contents(&self) -> Result<Contents, CaError> {
        let previous = match read(&self.previous) {
            Err(CaError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            text => Some(text?),
        };
        Ok(Contents { certificate: read(&self.certificate)?, key: read(&self.key)?, previous })
    }

    fn hash(&self, contents: &Contents) -> u64 {
        self.hasher.hash_one((&contents.certificate, &contents.key, &contents.previous))
    }
}

pub(super) fn read(path: &Path) -> Result<String, CaError> {
    file::read_text(path, file::LIMIT).map_err(|source| CaError::Read { path: path.to_owned(), source })
}
