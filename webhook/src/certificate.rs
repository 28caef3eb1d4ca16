//! The webhook's own certificate: signed by a CA that the replicas agree on in a Secret (`managed`), or read from files.
//! Says when it would be accepted by API servers, which is when this replica is ready.

mod bundles;
mod files;
mod managed;
mod secret;
mod serving;
mod stage;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use kube::Client;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use time::OffsetDateTime;

use crate::cluster::{Identity, vitals::Vitals};
use crate::config::{self, CertificateSource};
use crate::health::{Condition, Health};
use bundles::{Configuration, Unverified};

/// Why a certificate could not be made or read. No text quotes a key.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The CA is none that can sign.
    #[error(transparent)]
    Authority(#[from] sandgate_ca::AuthorityError),
    /// It could not be signed.
    #[error("the serving certificate could not be made: {0}")]
    Issue(#[from] rcgen::Error),
    /// There is no private key in the file.
    #[error("there is no private key in PEM form")]
    NoKey,
    /// The key can't be used, or is another certificate's.
    #[error("the private key can't be used with the certificate: {0}")]
    Key(rustls::Error),
}

/// What TLS serves. Swapped as a whole, so that each handshake has one pair from start to end.
#[derive(Default)]
pub struct Resolver {
    current: ArcSwapOption<CertifiedKey>,
}

impl Resolver {
    /// One that serves `key` from the start, for tests.
    #[must_use]
    pub fn fixed(key: CertifiedKey) -> Arc<Self> {
        Arc::new(Self { current: ArcSwapOption::from_pointee(key) })
    }

    /// What is served now; `None` before there is a certificate, when handshakes fail.
    #[must_use]
    pub fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }

    fn serve(&self, key: Arc<CertifiedKey>) {
        self.current.store(Some(key));
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("serves", &self.current.load().is_some()).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

/// Keeps the certificate for ever, in the way that the configuration says.
pub(crate) async fn run(
    client: Client,
    identity: Identity,
    config: config::Certificate,
    resolver: Arc<Resolver>,
    health: Arc<Health>,
    vitals: Vitals,
) {
    let keeper =
        Keeper { client, identity, config, resolver, readiness: Readiness { health, verified: false }, vitals };
    match keeper.config.source.clone() {
        CertificateSource::Managed => managed::run(keeper).await,
        CertificateSource::Files(directory) => files::run(keeper, &directory).await,
    }
}

/// What both ways need.
struct Keeper {
    client: Client,
    identity: Identity,
    config: config::Certificate,
    resolver: Arc<Resolver>,
    readiness: Readiness,
    vitals: Vitals,
}

impl Keeper {
    /// Whether what is served verifies against every live caBundle.
    fn verify(&self, configurations: &[Configuration]) -> Result<(), Unverified> {
        let Some(key) = self.resolver.current() else {
            return Err(Unverified::Missing("there is no certificate yet".to_owned()));
        };
        let service = &serving::names(&self.config.service_name, &self.identity.namespace)[0];
        configurations.iter().try_for_each(|configuration| configuration.verify(&key.cert, service))
    }

    fn expires(&self, certificate: &str, at: OffsetDateTime) {
        self.vitals.expiry.with_label_values(&[certificate]).set(at.unix_timestamp());
    }
}

/// [`Condition::Certificate`]: met by one verified match, and from then on only a mismatch that was seen takes it away.
struct Readiness {
    health: Arc<Health>,
    verified: bool,
}

impl Readiness {
    /// Takes what a look at both configurations showed.
    fn seen(&mut self, result: Result<(), Unverified>) {
        match result {
            Ok(()) => {
                if !std::mem::replace(&mut self.verified, true) {
                    tracing::info!("the certificate verifies against every caBundle");
                }
                self.health.set(Condition::Certificate, Ok(()));
            }
            // Nobody calls through a configuration that is gone.
            Err(Unverified::Missing(_)) if self.verified => {}
            Err(Unverified::Missing(why) | Unverified::Mismatch(why)) => {
                self.health.set(Condition::Certificate, Err(why));
            }
        }
    }

    /// Takes that nothing could be seen.
    fn blind(&self, why: String) {
        if !self.verified {
            self.health.set(Condition::Certificate, Err(why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_match_is_needed_and_after_that_only_a_mismatch_counts() {
        let health = Arc::new(Health::default());
        let unmet = || health.unmet().iter().find(|text| text.starts_with("certificate:")).cloned();
        let mut readiness = Readiness { health: Arc::clone(&health), verified: false };
        readiness.blind("unreachable".to_owned());
        assert_eq!(unmet().unwrap(), "certificate: unreachable");
        readiness.seen(Err(Unverified::Missing("not there".to_owned())));
        assert_eq!(unmet().unwrap(), "certificate: not there");
        readiness.seen(Ok(()));
        assert_eq!(unmet(), None);
        readiness.blind("unreachable".to_owned());
        readiness.seen(Err(Unverified::Missing("not there".to_owned())));
        assert_eq!(unmet(), None);
        readiness.seen(Err(Unverified::Mismatch("emptied".to_owned())));
        assert_eq!(unmet().unwrap(), "certificate: emptied");
    }
}
