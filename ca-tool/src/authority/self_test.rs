//! Tries a CA before it is used: a leaf that it signs must be accepted by the verifier of rustls.

use std::sync::Arc;

use rcgen::KeyPair;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use time::{Duration, OffsetDateTime};

use super::{Authority, AuthorityError, Facts, LeafRequest};
use crate::constraints::{NameConstraints, San};
use crate::crypto::PROVIDER;

/// How long the leaf of the test would be valid, each way from now.
const VALIDITY: Duration = Duration::MINUTE;

/// Signs a leaf and verifies it up to the last certificate of the CA's chain.
pub(super) fn run(authority: &Authority, now: OffsetDateTime) -> Result<(), AuthorityError> {
    let failed = |reason: String| AuthorityError::SelfTest { subject: authority.subject().to_owned(), reason };
    let key = KeyPair::generate().map_err(|_| AuthorityError::Generate)?;
    let samples = samples(authority);
    let Some(name) = samples.iter().map(|sample| name(sample)).find(|name| authority.permits(*name)) else {
        // A CA for nobody is what an empty policy makes. There is nothing to verify: it never signs.
        return Ok(());
    };
    let request = LeafRequest { name, not_before: now - VALIDITY, not_after: now + VALIDITY, key: &key };
    let leaf = authority.issue(&request)?;
    if Facts::read(&leaf)?.issuer_der != authority.subject_der() {
        return Err(failed("its issuer is not byte for byte the CA's subject".to_owned()));
    }
    verify(authority, &leaf).map_err(|error| failed(reason(&error)))
}

/// Names to try: those that the constraints along the chain suggest, and one of the reserved domain `invalid`
/// (RFC 6761 6.4).
fn samples(authority: &Authority) -> Vec<String> {
    let constraints = authority.facts.iter().filter_map(|facts| facts.constraints.as_ref());
    constraints.flat_map(NameConstraints::samples).chain(["self-test.invalid".to_owned()]).collect()
}

fn name(sample: &str) -> San<'_> {
    sample.parse().map_or(San::Dns(sample), San::Address)
}

pub(super) fn verify(authority: &Authority, leaf: &CertificateDer<'_>) -> Result<(), rustls::Error> {
    let (anchor, between) = authority.chain.split_last().expect("a CA has its own certificate");
    let mut roots = RootCertStore::empty();
    roots.add(anchor.clone())?;
    let leaf = ParsedCertificate::try_from(leaf)?;
    let algorithms = PROVIDER.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&leaf, &Arc::new(roots), between, UnixTime::now(), algorithms)
}

/// The verifier's reason, without its outer "invalid peer certificate".
fn reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(inner) => inner.to_string(),
        other => other.to_string(),
    }
}
