//! CAs that this process makes for itself, kept in memory or in a directory of its own. The workload must never see
//! that directory.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandgate_ca::{Authority, AuthorityError, KeyType, NameConstraints, Profile, San};
use time::{Duration, OffsetDateTime};

use super::files::read;
use super::{Authorities, CaError};
use crate::trust::whole_file;

/// A year: far longer than a pod lives, and short enough that a lost key ends.
const LIFETIME: Duration = Duration::days(365);
/// The part of its lifetime before its end in which a CA has a successor: a month of a year.
const RENEWALS: i32 = 12;
const COMMON_NAME: &str = "Sandgate sidecar CA";
/// In a directory of our own making, since the mount point above it may belong to root.
const STATE_DIR: &str = "ca";
/// One file for all CAs, so that a certificate is never without its key.
const STATE_FILE: &str = "authorities.pem";
const END_OF_KEY: &str = "-----END PRIVATE KEY-----\n";

/// How CAs are made here.
#[derive(Debug)]
pub struct MadeCa {
    lifetime: Duration,
    constrained: bool,
    state: Option<PathBuf>,
}

impl MadeCa {
    /// P-256 CAs that live a year and sign leaves only, and that go with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { lifetime: LIFETIME, constrained: false, state: None }
    }

    /// The same, kept in `dir` for the next start: `dir` itself may be a mount point of anyone's.
    #[must_use]
    pub fn kept_in(dir: &Path) -> Self {
        Self { state: Some(dir.join(STATE_DIR)), ..Self::in_memory() }
    }

    /// With `constrained`, CAs may sign for the policy's hosts alone (RFC 5280 4.2.1.10).
    #[must_use]
    pub fn constrained(self, constrained: bool) -> Self {
        Self { constrained, ..self }
    }

    #[cfg(test)]
    pub(super) fn lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// The CAs of the last start or, where there are none, a new one; and that they are enough for `hosts`.
    pub(super) fn start(
        &self,
        overlap: Duration,
        hosts: &[String],
        now: OffsetDateTime,
    ) -> Result<Authorities, CaError> {
        let mut kept = self.load()?.into_iter();
        let first = kept.next().map_or_else(|| self.make(hosts, now), Ok)?;
        let mut authorities = Authorities::new(first, overlap);
        kept.for_each(|authority| authorities.offer(authority, now));
        self.look(&mut authorities, hosts, now)?;
        authorities.step(now);
        self.keep(&authorities)?;
        Ok(authorities)
    }

    /// Gives `next` a successor if its newest CA nears its end, or is not for the hosts that there are.
    pub(super) fn look(&self, next: &mut Authorities, hosts: &[String], now: OffsetDateTime) -> Result<(), CaError> {
        let newest = next.newest();
        let ends = newest.not_after() - now < self.lifetime / RENEWALS;
        let fits = newest.name_constraints().is_some() == self.constrained
            && (!self.constrained || hosts.iter().all(|host| newest.permits(most_of(host))));
        if ends || !fits {
            next.offer(self.make(hosts, now)?, now);
        }
        Ok(())
    }

    /// Writes what is needed to go on with these CAs after a restart.
    pub(super) fn keep(&self, authorities: &Authorities) -> Result<(), CaError> {
        let Some(dir) = &self.state else { return Ok(()) };
        make_private(dir).map_err(|source| CaError::State { path: dir.clone(), source })?;
        let mut text = String::new();
        for authority in authorities.signing().authorities() {
            text.push_str(&authority.chain_pem());
            text.push_str(&authority.private_key_pem());
        }
        let path = dir.join(STATE_FILE);
        let kept = if whole_file::holds(&path, text.as_bytes()) {
            whole_file::restrict(&path, 0o600)
        } else {
            whole_file::replace(&path, text.as_bytes(), 0o600)
        };
        kept.map_err(|source| CaError::State { path, source })
    }

    /// The CAs that were kept, without those that have expired since.
    fn load(&self) -> Result<Vec<Arc<Authority>>, CaError> {
        let Some(path) = self.state.as_ref().map(|dir| dir.join(STATE_FILE)) else { return Ok(Vec::new()) };
        let text = match read(&path) {
            Err(CaError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text?,
        };
        let mut kept = Vec::new();
        let text = text.trim_start();
        for pair in text.split_inclusive(END_OF_KEY) {
            match Authority::from_pem(pair, pair) {
                Ok(authority) => kept.push(Arc::new(authority)),
                Err(AuthorityError::Expired { .. }) => {}
                Err(source) => return Err(CaError::Kept { path, source }),
            }
        }
        if kept.is_empty() {
            let problem = if text.is_empty() { "is empty" } else { "holds only CAs that have expired" };
            let path = path.display();
            tracing::warn!(
                "{path} {problem}, so another CA is made; programs that trust the old one have to start again"
            );
        }
        Ok(kept)
    }

    fn make(&self, hosts: &[String], now: OffsetDateTime) -> Result<Arc<Authority>, CaError> {
        let constraints =
            if self.constrained { Some(NameConstraints::for_hosts(hosts.iter().map(String::as_str))?) } else { None };
        let profile = Profile {
            common_name: COMMON_NAME.to_owned(),
            organization: None,
            // The library counts from its own clock, and we from the caller's.
            lifetime: now + self.lifetime - OffsetDateTime::now_utc(),
            key_type: KeyType::P256,
            constraints,
        };
        Ok(Arc::new(Authority::generate(&profile).map_err(CaError::Make)?))
    }
}

/// The name that stands for a host of the policy: of a wildcard its suffix, which a constraint covers with all below.
pub(super) fn most_of(host: &str) -> San<'_> {
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    literal.parse().map_or_else(|_| San::Dns(host.strip_prefix("*.").unwrap_or(host)), San::Address)
}

fn make_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if fs::metadata(dir)?.permissions().mode() & 0o777 == 0o700 {
        return Ok(());
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}
