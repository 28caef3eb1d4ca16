//! What the successor of a CA is to be: the same as before, but for what is asked to be different.

use rcgen::KeyPair;
use thiserror::Error;
use time::Duration;

use crate::authority::Authority;
use crate::constraints::NameConstraints;
use crate::key::KeyType;
use crate::profile::{BACK_DATED, Profile};

/// What is to be different in the successor; `None` keeps it.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The subject's common name. With it, the organisation is the one given here, or none.
    pub common_name: Option<String>,
    /// The subject's organisation.
    pub organization: Option<String>,
    /// How long it is valid from now on.
    pub lifetime: Option<Duration>,
    /// The type of its key.
    pub key_type: Option<KeyType>,
    /// Which names it may sign.
    pub constraints: Option<NameConstraints>,
}

/// Why a CA can't have a successor made from it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RotateError {
    /// Another CA signed it.
    #[error("{subject:?} was signed by another CA; get its successor from there, and replace ca.crt and ca.key")]
    Intermediate {
        /// The CA's subject.
        subject: String,
    },
    /// Its subject has parts that this tool does not make.
    #[error("the subject {subject:?} has more than a common name and an organization; name the new one with --subject")]
    Subject {
        /// The CA's subject.
        subject: String,
    },
    /// Its name constraints have parts that this tool does not make.
    #[error("the name constraints of {subject:?} have more than DNS names and addresses; name the hosts with --permit")]
    Constraints {
        /// The CA's subject.
        subject: String,
    },
}

/// The profile of the successor of `old`.
///
/// # Errors
/// [`RotateError`] when the old CA has something that can't be carried over.
pub fn successor(old: &Authority, changes: Changes) -> Result<Profile, RotateError> {
    let subject = || old.subject().to_owned();
    if !old.is_root() {
        return Err(RotateError::Intermediate { subject: subject() });
    }
    let (common_name, organization) = match (changes.common_name, old.plain_subject()) {
        (Some(common_name), _) => (common_name, changes.organization),
        (None, Some((name, kept))) => (name.to_owned(), changes.organization.or(kept.map(str::to_owned))),
        (None, None) => return Err(RotateError::Subject { subject: subject() }),
    };
    let constraints = changes.constraints.or_else(|| old.name_constraints().cloned());
    if constraints.as_ref().is_some_and(|constraints| !constraints.can_be_made()) {
        return Err(RotateError::Constraints { subject: subject() });
    }
    let lifetime = changes.lifetime.unwrap_or_else(|| old.not_after() - old.not_before() - BACK_DATED);
    let key_type = changes.key_type.unwrap_or_else(|| key_type(old.key_pair()));
    Ok(Profile { common_name, organization, lifetime, key_type, constraints })
}

/// The type that comes nearest to a key; RSA is made with 4096 bits only.
fn key_type(key: &KeyPair) -> KeyType {
    if key.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
        KeyType::P256
    } else if key.is_compatible(&rcgen::PKCS_ECDSA_P384_SHA384) {
        KeyType::P384
    } else {
        KeyType::Rsa4096
    }
}
