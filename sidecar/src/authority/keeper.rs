//! Keeps the CAs: looks where they come from, has the trust files say what is trusted, and only then tells who signs.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use sandgate_ca::AuthorityError;
use sandgate_ca::constraints::ConstraintsError;
use sandgate_ca::date;
use thiserror::Error;
use time::{Duration, OffsetDateTime};
use tokio::sync::watch;

use super::made::most_of;
use super::{Authorities, CaFiles, MadeCa, Signing};
use crate::trust::{TrustError, TrustFiles};

/// How many hosts a warning names.
const NAMED_HOSTS: usize = 10;

/// Where CAs come from.
#[derive(Debug)]
pub enum Source {
    /// The operator puts them into files.
    Files(CaFiles),
    /// This process makes them.
    Made(MadeCa),
}

/// How the CAs are, for the health port and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Counts up from 1 with every change of what is trusted or who signs.
    pub generation: u64,
    /// When the CA that signs ends.
    pub expires: OffsetDateTime,
    /// How many certificates are trusted.
    pub trusted: usize,
    /// What went wrong at the last look, if something did. What was good before goes on.
    pub error: Option<String>,
    /// That the last CA ends within a day, or has ended.
    pub end: Option<End>,
}

/// The end of the last CA that may sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Whether it is past, and so no host can be intercepted.
    pub expired: bool,
    /// When, and what to do.
    pub words: String,
}

impl End {
    fn of(authorities: &Authorities, now: OffsetDateTime) -> Option<Self> {
        let end = authorities.end(now)?;
        let (expired, at) = (end <= now, date::text(&end));
        let words = if expired {
            format!("the CA expired at {at}, so no host can be intercepted; put another one in its place")
        } else {
            format!("the CA expires at {at}, and no other is there to follow it; put one in its place before")
        };
        Some(Self { expired, words })
    }

    fn log(&self) {
        if self.expired {
            tracing::error!("{}", self.words);
        } else {
            tracing::warn!("{}", self.words);
        }
    }
}

/// The one owner of the CAs.
pub struct Keeper {
    authorities: Authorities,
    source: Source,
    trust: Option<TrustFiles>,
    /// What the trust files say.
    written: Vec<CertificateDer<'static>>,
    /// Whether what is needed after a restart is kept.
    is_kept: bool,
    /// The hosts that the policy intercepts: names, `*.suffix`, addresses.
    hosts: Arc<[String]>,
    /// What was said last of those that no CA may sign for.
    excluded: Option<String>,
    signing: watch::Sender<Arc<Signing>>,
    status: watch::Sender<Status>,
}

impl Keeper {
    /// Reads or makes the first CA and writes the trust files, if there is a directory for them. `hosts` are the
    /// policy's intercepted ones, from which name constraints are drawn where that is asked for.
    ///
    /// # Errors
    /// [`CaError`], which names the file. There is nothing to listen for then.
    pub fn start(
        mut source: Source,
        overlap: Duration,
        trust: Option<TrustFiles>,
        hosts: Arc<[String]>,
        now: OffsetDateTime,
    ) -> Result<Self, CaError> {
        let authorities = match &mut source {
            Source::Files(files) => {
                let (authority, previous) = files.read()?;
                let mut authorities = Authorities::new(authority, overlap);
                authorities.trust_previous(previous);
                authorities
            }
            Source::Made(made) => made.start(overlap, &hosts, now)?,
        };
        let written = authorities.trusted();
        if let Some(trust) = &trust {
            trust.write(&written)?;
        }
        warn(&authorities);
        let end = End::of(&authorities, now);
        end.iter().for_each(End::log);
        let signing = watch::Sender::new(Arc::new(authorities.signing()));
        let status = watch::Sender::new(Status {
            generation: 1,
            expires: authorities.current.not_after(),
            trusted: written.len(),
            error: None,
            end,
        });
        let (is_kept, excluded) = (true, None);
        let mut keeper = Self { authorities, source, trust, written, is_kept, hosts, excluded, signing, status };
        keeper.warn_of_excluded_hosts();
        Ok(keeper)
    }

    /// Who signs, now and later.
    #[must_use]
    pub fn signing(&self) -> watch::Receiver<Arc<Signing>> {
        self.signing.subscribe()
    }

    /// How the CAs are, now and later.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Takes the hosts of a new policy. They count from the next [`Self::poll`] on.
    pub fn set_hosts(&mut self, hosts: Arc<[String]>) {
        self.hosts = hosts;
        // Said again after each reload.
        self.excluded = None;
    }

    /// Does what is due at `now` and takes what is new at the source. What goes wrong is logged and in the status, and
    /// everything stays as it was. Blocks on a few small files and, when a CA changed, on the trust files.
    pub fn poll(&mut self, now: OffsetDateTime) {
        let (looked, repaired) = (self.look(now), self.repair());
        let error = looked.and(repaired).err().map(|error| error.to_string());
        let is_news = self.status.borrow().error != error;
        if let Some(error) = error.as_deref().filter(|_| is_news) {
            tracing::error!(error, "the CA stays as it was");
        }
        if is_news {
            self.status.send_modify(|status| status.error = error);
        }
        let end = End::of(&self.authorities, now);
        if self.status.borrow().end != end {
            end.iter().for_each(End::log);
            self.status.send_modify(|status| status.end = end);
        }
        self.warn_of_excluded_hosts();
    }

    fn warn_of_excluded_hosts(&mut self) {
        let excluded = excluded(&self.signing.borrow(), &self.hosts);
        if let Some(warning) = excluded.as_ref().filter(|_| excluded != self.excluded) {
            tracing::warn!("{warning}");
        }
        self.excluded = excluded;
    }

    /// Polls every `interval`, and at once when `hosts` changes, until its sender is gone.
    pub async fn watch(mut self, interval: std::time::Duration, mut hosts: watch::Receiver<Arc<[String]>>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                changed = hosts.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.set_hosts(Arc::clone(&hosts.borrow_and_update()));
                }
            }
            self.poll(OffsetDateTime::now_utc());
        }
    }

    fn look(&mut self, now: OffsetDateTime) -> Result<(), CaError> {
        // What the clock brings does not wait for a source that is broken.
        let mut next = self.authorities.clone();
        next.step(now);
        self.adopt(next)?;

        let mut next = self.authorities.clone();
        match &mut self.source {
            Source::Files(files) => files.look(&mut next, now)?,
            Source::Made(made) => made.look(&mut next, &self.hosts, now)?,
        }
        self.adopt(next).inspect_err(|_| {
            if let Source::Files(files) = &mut self.source {
                files.forget();
            }
        })
    }

    /// Has the trust files say again what they said, if something happened to them since.
    fn repair(&self) -> Result<(), CaError> {
        let Some(trust) = &self.trust else { return Ok(()) };
        let repaired = trust.write(&self.written)?;
        if !repaired.is_empty() {
            let names: Vec<String> = repaired.iter().map(|path| path.display().to_string()).collect();
            tracing::warn!(files = names.join(", "), "trust files were removed or changed by others, and are restored");
        }
        Ok(())
    }

    /// Makes `next` hold. The order is the point: kept for a restart, trusted, and only then asked to sign.
    ///
    /// What fails stops a CA that nobody trusts yet. A change among those that are trusted already goes on, and the
    /// files are tried again at the next look.
    fn adopt(&mut self, next: Authorities) -> Result<(), CaError> {
        let is_new = |certificate| !self.written.contains(certificate);
        let has_new = next.trusted().iter().any(is_new);
        let outcome = self.keep(&next).and_then(|()| self.write(&next));
        if has_new && outcome.is_err() {
            return outcome;
        }
        let signing = next.signing();
        let changed = has_new || signing != self.authorities.signing();
        let previous = std::mem::replace(&mut self.authorities, next);
        if self.authorities.newest().certificate_der() != previous.newest().certificate_der() {
            warn(&self.authorities);
        }
        if changed || previous.trusted().len() != self.authorities.trusted().len() {
            self.publish(signing);
        }
        outcome
    }

    fn keep(&mut self, next: &Authorities) -> Result<(), CaError> {
        let Source::Made(made) = &self.source else { return Ok(()) };
        if !self.is_kept || next.signing() != self.authorities.signing() {
            self.is_kept = false;
            made.keep(next)?;
            self.is_kept = true;
        }
        Ok(())
    }

    fn write(&mut self, next: &Authorities) -> Result<(), CaError> {
        let trusted = next.trusted();
        if trusted != self.written {
            if let Some(trust) = &self.trust {
                trust.write(&trusted)?;
            }
            self.written = trusted;
        }
        Ok(())
    }

    fn publish(&self, signing: Signing) {
        let (current, trusted) = (&self.authorities.current, self.authorities.trusted().len());
        tracing::info!(signs = current.fingerprint_sha256(), trusted, "the CAs changed");
        self.status.send_modify(|status| {
            status.generation += 1;
            status.expires = current.not_after();
            status.trusted = trusted;
        });
        self.signing.send_replace(Arc::new(signing));
    }
}

/// That name constraints keep every CA from signing for some of the policy's `hosts`, of which it names a few.
pub(super) fn excluded(signing: &Signing, hosts: &[String]) -> Option<String> {
    let permitted = |host: &&String| signing.authorities().iter().any(|authority| authority.permits(most_of(host)));
    let excluded: Vec<&str> = hosts.iter().filter(|host| !permitted(host)).map(String::as_str).collect();
    let mut named = excluded.iter().take(NAMED_HOSTS).copied().collect::<Vec<_>>().join(", ");
    match excluded.len() {
        0 => return None,
        count if count > NAMED_HOSTS => named.push_str(&format!(" and {} more", count - NAMED_HOSTS)),
        _ => {}
    }
    Some(format!(
        "the CA's name constraints exclude hosts that the policy intercepts, so requests to them fail: {named}"
    ))
}

/// Says what is unusual about the newest CA.
fn warn(authorities: &Authorities) {
    for warning in authorities.newest().warnings() {
        tracing::warn!("{warning}");
    }
}

/// Why there is no CA, or no new one. No message quotes a key.
#[derive(Debug, Error)]
pub enum CaError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The pair of files is no CA that can sign.
    #[error("cannot use the CA of {} and {}: {source}", certificate.display(), key.display())]
    Unusable {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// What is wrong with it.
        source: AuthorityError,
    },
    /// The certificate before the last rotation is none.
    #[error("{} holds no certificate in PEM form, or a broken one; write it again, or remove it", path.display())]
    Previous {
        /// The file.
        path: PathBuf,
    },
    /// The CAs cannot be kept for the next start.
    #[error("cannot keep the CA in {}: {source}; the sidecar's user must be able to write there", path.display())]
    State {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The CAs that were kept are damaged.
    #[error("cannot use the CA kept in {}: {source}; remove the file to have a new one made", path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: AuthorityError,
    },
    /// No name constraints can be drawn from the policy.
    #[error("cannot constrain the CA to the policy's hosts: {0}")]
    Constraints(#[from] ConstraintsError),
    /// No CA can be made.
    #[error("cannot make a CA: {0}")]
    Make(#[source] AuthorityError),
    /// The trust files cannot be written.
    #[error(transparent)]
    Trust(#[from] TrustError),
}
