//! Why a CA was refused, or could not sign. No message quotes a key.

use thiserror::Error;
use time::OffsetDateTime;

use super::Facts;
use crate::date;

/// Why a CA was refused, or could not sign.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The text has no certificate.
    #[error("no certificate: there is no \"BEGIN CERTIFICATE\" in it")]
    CertificateMissing,
    /// The text or a certificate in it is malformed or cut off.
    #[error("the certificate can't be read: {0}")]
    CertificateUnreadable(&'static str),
    /// The text has no private key.
    #[error(
        "no private key: there is no \"BEGIN PRIVATE KEY\", \"BEGIN EC PRIVATE KEY\" or \"BEGIN RSA PRIVATE KEY\" in it"
    )]
    KeyMissing,
    /// The text has more than one private key.
    #[error("several private keys: keep only the one of the CA's certificate")]
    KeyAmbiguous,
    /// A passphrase protects the key.
    #[error(
        "the private key is encrypted, and nobody is there to type the passphrase; decrypt it with `openssl pkey -in ca.key -out plain.key`"
    )]
    KeyEncrypted,
    /// The text is malformed or cut off.
    #[error("the private key can't be read: {0}")]
    KeyUnreadable(&'static str),
    /// The key is damaged, or of a type that clients don't all know.
    #[error(
        "the private key is damaged or of an unsupported type; use ECDSA on P-256 or P-384, or RSA of 2048 to 8192 bits"
    )]
    KeyUnsupported,
    /// The key is another certificate's.
    #[error("the private key does not belong to the certificate of {subject:?} (the first one, if there are several)")]
    Mismatch {
        /// The certificate's subject.
        subject: String,
    },
    /// The certificate's basicConstraints don't make it a CA.
    #[error("{subject:?} is not a CA: its certificate has no basicConstraints with CA:TRUE")]
    NotACa {
        /// The certificate's subject.
        subject: String,
    },
    /// The certificate's keyUsage has no keyCertSign.
    #[error("{subject:?} may not sign certificates: its keyUsage has no keyCertSign")]
    MayNotSign {
        /// The certificate's subject.
        subject: String,
    },
    /// The certificate's extendedKeyUsage is for something else.
    #[error("{subject:?} may not sign certificates for TLS servers: its extendedKeyUsage has no serverAuth")]
    NotForServers {
        /// The certificate's subject.
        subject: String,
    },
    /// The certificate's time is over.
    #[error("{subject:?} expired at {at}; make a new CA", at = date::text(.at))]
    Expired {
        /// The certificate's subject.
        subject: String,
        /// When it ended.
        at: OffsetDateTime,
    },
    /// The certificate's time is to come.
    #[error("{subject:?} is not valid before {at}; check this machine's clock", at = date::text(.at))]
    NotYetValid {
        /// The certificate's subject.
        subject: String,
        /// When it starts.
        at: OffsetDateTime,
    },
    /// The certificate has no subject key identifier.
    #[error(
        "{subject:?} has no subjectKeyIdentifier, and strict clients (Python 3.13) refuse what it signs; make it again with one"
    )]
    NoSubjectKeyId {
        /// The certificate's subject.
        subject: String,
    },
    /// The certificates of the file are not a chain.
    #[error(
        "the certificate after {subject:?} must be that of its issuer {issuer:?}, not of {found:?}; put them in order, the CA first"
    )]
    ChainBroken {
        /// The subject of the lower certificate.
        subject: String,
        /// Its issuer.
        issuer: String,
        /// The subject of the certificate that follows.
        found: String,
    },
    /// A leaf that the CA signed for a test was not accepted.
    #[error("{subject:?} signed a certificate for a test, and it was refused: {reason}")]
    SelfTest {
        /// The CA's subject.
        subject: String,
        /// What the verifier said.
        reason: String,
    },
    /// A part of a new CA's subject is empty, too long, or has control characters.
    #[error("the {what} of the subject must have 1 to 64 characters, none of them a control character")]
    BadSubject {
        /// Which part.
        what: &'static str,
    },
    /// A new CA's validity is empty, or ends after the year 9999.
    #[error("the lifetime must be at least a day, and end before the year 10000")]
    Lifetime,
    /// The cryptographic library made no key or certificate.
    #[error("the cryptographic library could not make a key and certificate")]
    Generate,
    /// The cryptographic library did not sign.
    #[error("the cryptographic library could not sign a certificate")]
    Sign,
    /// The name can't stand in a certificate.
    #[error("{name:?} can't stand in a certificate: it is not ASCII")]
    BadName {
        /// The name.
        name: String,
    },
    /// The CA's name constraints exclude the name.
    #[error("the name constraints of the CA don't permit {name}")]
    NotPermitted {
        /// The name.
        name: String,
    },
    /// Nothing of the time asked for lies within the CA's.
    #[error("the validity asked for {name} lies outside the CA's, which ends at {until}", until = date::text(.until))]
    NoValidity {
        /// The name.
        name: String,
        /// When the CA ends.
        until: OffsetDateTime,
    },
}

impl AuthorityError {
    pub(crate) fn expired(facts: &Facts) -> Self {
        Self::Expired { subject: facts.subject.clone(), at: facts.not_after }
    }

    pub(crate) fn not_yet_valid(facts: &Facts) -> Self {
        Self::NotYetValid { subject: facts.subject.clone(), at: facts.not_before }
    }

    /// Whether the key's file is at fault, or the certificate's; `None` when it takes both to tell.
    #[must_use]
    pub fn is_about_key(&self) -> Option<bool> {
        match self {
            Self::KeyMissing
            | Self::KeyAmbiguous
            | Self::KeyEncrypted
            | Self::KeyUnreadable(_)
            | Self::KeyUnsupported => Some(true),
            Self::Mismatch { .. } => None,
            _ => Some(false),
        }
    }
}
