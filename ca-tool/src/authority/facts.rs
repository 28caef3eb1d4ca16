//! What is in one certificate of a CA's chain, as far as it matters to whoever signs with it or trusts it.

use rcgen::{KeyPair, PublicKeyData};
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::AuthorityError;
use crate::constraints::NameConstraints;
use crate::crypto;

/// What is in a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) subject: String,
    pub(crate) subject_der: Vec<u8>,
    pub(crate) issuer: String,
    pub(crate) issuer_der: Vec<u8>,
    pub(crate) serial: String,
    pub(crate) fingerprint: String,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
    pub(crate) is_ca: bool,
    pub(crate) path_len: Option<u32>,
    pub(crate) subject_key_id: Option<Vec<u8>>,
    pub(crate) constraints: Option<NameConstraints>,
    /// The key's algorithm and size, as text for people.
    pub(crate) key_kind: String,
    /// Common name and organisation, if the subject has the first, and nothing but these.
    pub(crate) plain_subject: Option<(String, Option<String>)>,
    authority_key_id: Option<Vec<u8>>,
    is_ca_critical: bool,
    /// `None` without keyUsage.
    may_sign: Option<bool>,
    /// `None` without extendedKeyUsage.
    for_servers: Option<bool>,
    public_key: Vec<u8>,
}

impl Facts {
    /// Reads a certificate.
    pub(crate) fn read(der: &[u8]) -> Result<Self, AuthorityError> {
        let unreadable = AuthorityError::CertificateUnreadable;
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| unreadable("what is in the PEM is no X.509 certificate"))?;
        if !rest.is_empty() {
            return Err(unreadable("bytes follow the certificate in its PEM section"));
        }
        let key = certificate.public_key();
        let mut facts = Self {
            subject: certificate.subject().to_string(),
            subject_der: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().to_string(),
            issuer_der: certificate.issuer().as_raw().to_vec(),
            serial: crypto::hex(certificate.raw_serial()),
            fingerprint: crypto::hex(&crypto::sha256(der)),
            not_before: certificate.validity().not_before.to_datetime(),
            not_after: certificate.validity().not_after.to_datetime(),
            is_ca: false,
            path_len: None,
            subject_key_id: None,
            constraints: None,
            key_kind: key_kind(&certificate),
            plain_subject: plain_subject(certificate.subject()),
            authority_key_id: None,
            is_ca_critical: false,
            may_sign: None,
            for_servers: None,
            public_key: key.subject_public_key.data.to_vec(),
        };
        for extension in certificate.extensions() {
            facts.take(extension.critical, extension.parsed_extension())?;
        }
        Ok(facts)
    }

    fn take(&mut self, critical: bool, extension: &ParsedExtension<'_>) -> Result<(), AuthorityError> {
        match extension {
            ParsedExtension::BasicConstraints(basic) => {
                self.is_ca = basic.ca;
                self.is_ca_critical = critical;
                self.path_len = basic.path_len_constraint;
            }
            ParsedExtension::KeyUsage(usage) => self.may_sign = Some(usage.key_cert_sign()),
            ParsedExtension::ExtendedKeyUsage(usage) => self.for_servers = Some(usage.server_auth || usage.any),
            ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key_id = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::NameConstraints(parsed) => self.constraints = Some(NameConstraints::from_x509(parsed)),
            ParsedExtension::ParseError { .. } if critical => {
                return Err(AuthorityError::CertificateUnreadable("a critical extension is malformed"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the certificate is for this key.
    pub(crate) fn belongs_to(&self, key: &KeyPair) -> bool {
        self.public_key == key.der_bytes()
    }

    /// Whether the certificate names itself as its issuer: a root.
    pub(crate) fn is_self_issued(&self) -> bool {
        let by_own_key = self.authority_key_id.is_none() || self.authority_key_id == self.subject_key_id;
        self.subject_der == self.issuer_der && by_own_key
    }

    /// Refuses what is no CA for TLS servers, or not at `now`.
    pub(crate) fn check(&self, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let subject = || self.subject.clone();
        if !self.is_ca {
            return Err(AuthorityError::NotACa { subject: subject() });
        }
        if self.may_sign == Some(false) {
            return Err(AuthorityError::MayNotSign { subject: subject() });
        }
        if self.for_servers == Some(false) {
            return Err(AuthorityError::NotForServers { subject: subject() });
        }
        if now > self.not_after {
            return Err(AuthorityError::expired(self));
        }
        if now < self.not_before {
            return Err(AuthorityError::not_yet_valid(self));
        }
        Ok(())
    }

    /// What strict clients mind, though others accept it.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let found = [
            (!self.is_ca_critical, "its basicConstraints are not critical"),
            (self.may_sign.is_none(), "it has no keyUsage"),
        ];
        let minded = found.iter().filter(|(found, _)| *found);
        minded.map(|(_, what)| format!("{}: {what}; strict clients (Python 3.13) refuse it", self.subject)).collect()
    }
}

fn key_kind(certificate: &X509Certificate<'_>) -> String {
    use x509_parser::public_key::PublicKey;
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(point)) => match point.key_size() {
            256 => "ECDSA P-256".to_owned(),
            384 => "ECDSA P-384".to_owned(),
            size => format!("ECDSA, {size} bits"),
        },
        _ => format!("algorithm {}", certificate.public_key().algorithm.algorithm),
    }
}

fn plain_subject(name: &X509Name<'_>) -> Option<(String, Option<String>)> {
    let text = |attribute: &AttributeTypeAndValue<'_>| attribute.as_str().map(str::to_owned).ok();
    let common_name = name.iter_common_name().next().and_then(text)?;
    let organization = name.iter_organization().next().map(|attribute| text(attribute).ok_or(()));
    let organization = organization.transpose().ok()?;
    let parts = 1 + usize::from(organization.is_some());
    (name.iter_attributes().count() == parts).then_some((common_name, organization))
}
