//! What a new CA is to be.

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

use crate::authority::AuthorityError;
use crate::constraints::NameConstraints;
use crate::crypto;
use crate::key::KeyType;

/// How far a CA's notBefore lies in the past, so that a client whose clock is behind accepts it.
pub const BACK_DATED: Duration = Duration::HOUR;
/// The longest common name and organisation, in characters (RFC 5280 appendix A.1, ub-common-name).
pub const MAX_NAME_CHARACTERS: usize = 64;

/// What a new CA is to be. Its path length is 0: it signs leaves, and no other CA.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The subject's common name, 1 to 64 characters.
    pub common_name: String,
    /// The subject's organisation, 1 to 64 characters.
    pub organization: Option<String>,
    /// How long it is valid from now on.
    pub lifetime: Duration,
    /// The type of its key.
    pub key_type: KeyType,
    /// Which names it may sign; all if `None`.
    pub constraints: Option<NameConstraints>,
}

impl Profile {
    /// The parameters of the certificate, valid from an hour before `now`.
    pub(crate) fn params(&self, now: OffsetDateTime) -> Result<CertificateParams, AuthorityError> {
        let mut name = DistinguishedName::new();
        if let Some(organization) = &self.organization {
            name.push(DnType::OrganizationName, checked("organization", organization)?);
        }
        name.push(DnType::CommonName, checked("common name", &self.common_name)?);
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        params.not_before = now - BACK_DATED;
        params.not_after = now.checked_add(self.lifetime).ok_or(AuthorityError::Lifetime)?;
        // GeneralizedTime has four digits for the year (RFC 5280 4.1.2.5.2).
        if !self.lifetime.is_positive() || params.not_after.year() > 9999 {
            return Err(AuthorityError::Lifetime);
        }
        params.serial_number = Some(crypto::serial_number().map_err(|_| AuthorityError::Generate)?);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = self.constraints.as_ref().map(NameConstraints::to_rcgen);
        Ok(params)
    }
}

fn checked<'a>(what: &'static str, text: &'a str) -> Result<&'a str, AuthorityError> {
    let fits = (1..=MAX_NAME_CHARACTERS).contains(&text.chars().count());
    if fits && !text.chars().any(char::is_control) { Ok(text) } else { Err(AuthorityError::BadSubject { what }) }
}
