//! Certificates of intercepted hosts: one TLS configuration a host, made once, cached and renewed.
//!
//! It makes a leaf for whatever host it is asked for, so the caller asks only for hosts that the policy intercepts.

mod tls;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use quick_cache::sync::{Cache, EntryAction, EntryResult};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use sandgate_ca::{Authority, AuthorityError, LeafRequest, San};
use sandgate_policy::destination::Host;
use thiserror::Error;
use time::{Duration, OffsetDateTime};
use tokio::sync::watch;

use crate::authority::{Signing, san};

/// How long a leaf is valid, unless its CA ends before.
pub const LIFETIME: Duration = Duration::days(7);
/// How far a leaf's notBefore lies in the past, so that a client whose clock is behind accepts it.
pub const BACK_DATED: Duration = Duration::HOUR;
/// A leaf that no handshake used for so long is dropped. To make it again takes some 100 µs; kept, each holds a page of the
/// allocator's in memory, which is more than its own size.
pub const IDLE: Duration = Duration::seconds(30);

/// The leaves of this process, all with one key: it is made at start, is never the CA's, and never leaves memory. A
/// key for each host would protect nothing more, since one process holds them all.
pub struct LeafCache {
    signing: watch::Receiver<Arc<Signing>>,
    key: KeyPair,
    tls: tls::Template,
    leaves: Cache<Host, Arc<Leaf>>,
    hits: AtomicU64,
    mints: AtomicU64,
}

/// What is kept for a host.
struct Leaf {
    config: Arc<ServerConfig>,
    /// When another one is to be made.
    due: OffsetDateTime,
    /// When it is of no use any more.
    ends: OffsetDateTime,
    /// When a handshake last asked for it, as Unix time in seconds.
    used: AtomicI64,
}

impl Leaf {
    fn use_at(&self, now: OffsetDateTime) -> Arc<ServerConfig> {
        self.used.store(now.unix_timestamp(), Ordering::Relaxed);
        Arc::clone(&self.config)
    }

    fn is_idle_at(&self, now: OffsetDateTime) -> bool {
        now.unix_timestamp() - self.used.load(Ordering::Relaxed) > IDLE.whole_seconds()
    }
}

/// What the cache did since the start, and its size now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Configurations that were there already.
    pub hits: u64,
    /// Leaves that were signed.
    pub mints: u64,
    /// Hosts in the cache.
    pub size: usize,
}

impl LeafCache {
    /// A cache for at most `capacity` hosts, whose leaves are signed as `signing` says at that moment.
    ///
    /// # Errors
    /// [`LeafError::Setup`] when the cryptographic library gives no randomness or no key.
    pub fn new(signing: watch::Receiver<Arc<Signing>>, capacity: usize) -> Result<Self, LeafError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| setup(&error))?;
        let tls = tls::Template::new(&key).map_err(|error| setup(&error))?;
        let (hits, mints) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { signing, key, tls, leaves: Cache::new(capacity), hits, mints })
    }

    /// Does once what the first handshake would otherwise wait for: the library's first randomness, a signature of
    /// each key, the first ticket. Nothing of it is kept or shown to a client.
    ///
    /// # Errors
    /// [`LeafError::Setup`] when the library fails.
    pub fn warm_up(&self) -> Result<(), LeafError> {
        let signing = Arc::clone(&self.signing.borrow());
        let now = OffsetDateTime::now_utc();
        // A name that cannot exist (RFC 6761 6.4). Constrained CAs refuse it, which warms nothing and does no harm.
        let name = San::Dns("warm-up.invalid");
        if let Some(authority) = signing.current().filter(|authority| authority.permits(name)) {
            self.sign(authority, name, now).map_err(|error| setup(&error))?;
        }
        self.tls.warm_up().map_err(|error| setup(&error))
    }

    /// The TLS configuration for a client that was let through to `host`. Made once however many ask at once; the
    /// others wait for it, some 100 µs with a P-256 CA and some milliseconds with an RSA one.
    ///
    /// # Errors
    /// [`LeafError`] when no CA can sign for the host.
    pub fn server_config(&self, host: &Host) -> Result<Arc<ServerConfig>, LeafError> {
        self.server_config_at(host, OffsetDateTime::now_utc())
    }

    /// As [`Self::server_config`], at a time of the caller's choice.
    ///
    /// # Errors
    /// As there.
    pub fn server_config_at(&self, host: &Host, now: OffsetDateTime) -> Result<Arc<ServerConfig>, LeafError> {
        if let Some(leaf) = self.leaves.get(host).filter(|leaf| now < leaf.due) {
            return Ok(self.hit(&leaf, now));
        }
        let decide = |_: &Host, leaf: &mut Arc<Leaf>| {
            if now < leaf.due { EntryAction::Retain(Arc::clone(leaf)) } else { EntryAction::ReplaceWithGuard }
        };
        let (guard, old) = match self.leaves.entry(host, None, decide) {
            EntryResult::Retained(leaf) => return Ok(self.hit(&leaf, now)),
            EntryResult::Vacant(guard) => (guard, None),
            EntryResult::Replaced(guard, old) => (guard, Some(old)),
            // Only asked-for removals and a timeout lead here, and there is neither.
            EntryResult::Removed(..) | EntryResult::Timeout => return Ok(self.mint(host, now)?.config),
        };
        let leaf = match (self.mint(host, now), old) {
            (Ok(leaf), _) => Arc::new(leaf),
            // It was due early enough that there is time to try again with every connection.
            (Err(_), Some(old)) if now < old.ends => old,
            (Err(error), _) => return Err(error),
        };
        // Refused only if the entry was evicted meanwhile; then it is made again next time.
        let _ = guard.insert(Arc::clone(&leaf));
        Ok(leaf.use_at(now))
    }

    /// Drops the leaves that were not used for [`IDLE`] before `now`.
    pub fn sweep(&self, now: OffsetDateTime) {
        self.leaves.retain(|_, leaf| !leaf.is_idle_at(now));
    }

    /// What the cache did since the start, and its size now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            hits: self.hits.load(Ordering::Relaxed),
            mints: self.mints.load(Ordering::Relaxed),
            size: self.leaves.len(),
        }
    }

    fn hit(&self, leaf: &Leaf, now: OffsetDateTime) -> Arc<ServerConfig> {
        self.hits.fetch_add(1, Ordering::Relaxed);
        leaf.use_at(now)
    }

    fn mint(&self, host: &Host, now: OffsetDateTime) -> Result<Leaf, LeafError> {
        let signing = Arc::clone(&self.signing.borrow());
        let authority = signing.signer_for(host, now).ok_or_else(|| LeafError::NoAuthority { host: host.clone() })?;
        let failed = |source| LeafError::Sign { host: host.clone(), source };
        let leaf = self.sign(authority, san(host), now).map_err(failed)?;
        self.mints.fetch_add(1, Ordering::Relaxed);
        let mut chain = vec![leaf];
        chain.extend(authority.chain_to_send());
        let ends = (now + LIFETIME).min(authority.not_after());
        let due = now + (ends - now) * 2 / 3;
        let used = AtomicI64::new(now.unix_timestamp());
        Ok(Leaf { config: self.tls.server_config(host, chain), due, ends, used })
    }

    fn sign(
        &self,
        authority: &Authority,
        name: San<'_>,
        now: OffsetDateTime,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let (not_before, not_after) = (now - BACK_DATED, now + LIFETIME);
        authority.issue(&LeafRequest { name, not_before, not_after, key: &self.key })
    }
}

/// Whether a handshake ended because the ClientHello named another host than the one the configuration is for. The
/// client has got a fatal alert then.
#[must_use]
pub fn is_sni_mismatch(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    // What rustls says when there is no certificate for a ClientHello, for which an SNI is our only reason.
    matches!(inner, Some(rustls::Error::General(text)) if text == "no server certificate chain resolved")
}

fn setup(error: &dyn std::fmt::Display) -> LeafError {
    LeafError::Setup { reason: error.to_string() }
}

/// Why there is no leaf.
#[derive(Debug, Error)]
pub enum LeafError {
    /// Every CA is over, or excludes the host by its name constraints.
    #[error("no CA may sign a certificate for {host}: it is outside their name constraints, or they have expired")]
    NoAuthority {
        /// The host.
        host: Host,
    },
    /// The CA could not sign.
    #[error("cannot sign a certificate for {host}: {source}")]
    Sign {
        /// The host.
        host: Host,
        /// What the CA said.
        source: AuthorityError,
    },
    /// The key or the TLS settings of all leaves could not be made.
    #[error("cannot set up TLS for intercepted hosts: {reason}")]
    Setup {
        /// What the cryptographic library said.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
