//! A leaf with a key of its own, for debugging: what the sidecar would make for a host, as files.

use std::net::IpAddr;
use std::str::FromStr;

use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use time::{Duration, OffsetDateTime};

use crate::authority::{Authority, AuthorityError, LeafRequest};
use crate::constraints::{San, is_dns_name};
use crate::pem;
use crate::profile::BACK_DATED;

/// The text is neither a DNS name nor an address.
#[derive(Debug, Error)]
#[error("{0:?} is neither a DNS name (ASCII; write other names as xn--...) nor an IP address")]
pub struct NotAName(String);

/// The name of a leaf: a DNS name in lower case, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafName {
    /// A DNS name.
    Dns(String),
    /// An address.
    Address(IpAddr),
}

impl FromStr for LeafName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if is_dns_name(&name) { Ok(Self::Dns(name)) } else { Err(NotAName(text.to_owned())) }
    }
}

impl LeafName {
    /// The name as it goes into a certificate.
    #[must_use]
    pub fn san(&self) -> San<'_> {
        match self {
            Self::Dns(name) => San::Dns(name),
            Self::Address(address) => San::Address(*address),
        }
    }

    /// The name as the start of a file's name, which has neither colons nor slashes.
    #[must_use]
    pub fn file_stem(&self) -> String {
        self.san().to_string().replace(':', "_")
    }
}

/// A leaf and its key, both PEM.
pub struct IssuedLeaf {
    /// The leaf, and what a server sends behind it.
    pub certificates: String,
    /// The leaf's private key, PKCS#8.
    pub key: String,
    /// When it ends.
    pub not_after: OffsetDateTime,
}

/// Makes a leaf for `name` with a new P-256 key, valid from an hour ago for `lifetime` from now, as far as the CA is.
///
/// # Errors
/// [`AuthorityError`] when the CA may not or can't sign it.
pub fn leaf(authority: &Authority, name: &LeafName, lifetime: Duration) -> Result<IssuedLeaf, AuthorityError> {
    let key = KeyPair::generate().map_err(|_| AuthorityError::Generate)?;
    let now = OffsetDateTime::now_utc();
    let not_after = now.checked_add(lifetime).ok_or(AuthorityError::Lifetime)?;
    let request = LeafRequest { name: name.san(), not_before: now - BACK_DATED, not_after, key: &key };
    let leaf = authority.issue(&request)?;
    let write = |certificate: &CertificateDer<'_>| pem::encode("CERTIFICATE", certificate);
    let behind: String = authority.chain_to_send().iter().map(write).collect();
    let certificates = write(&leaf) + &behind;
    Ok(IssuedLeaf { certificates, key: key.serialize_pem(), not_after: not_after.min(authority.not_after()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_never_lead_out_of_the_directory() {
        for text in ["../a", "a/b", "/etc/passwd", "..", ".", "", "a b", "*.a.example", "ä.example"] {
            assert!(text.parse::<LeafName>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_canonical_and_addresses_are_addresses() {
        assert_eq!("A.Example.".parse::<LeafName>().unwrap(), LeafName::Dns("a.example".to_owned()));
        let address = "2001:DB8::1".parse::<LeafName>().unwrap();
        assert_eq!(address, LeafName::Address("2001:db8::1".parse().unwrap()));
        assert_eq!(address.file_stem(), "2001_db8__1");
    }
}
