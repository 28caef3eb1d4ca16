//! The leaves that a CA signs: what is in them, and how the CA's own bytes get into them.
//! Never puts the host anywhere but into the SAN.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SignatureAlgorithm, SigningKey,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use super::{Authority, AuthorityError};
use crate::constraints::San;
use crate::{crypto, der};

/// The common name of every leaf. It is never the host: a common name ends at 64 characters, and clients read the SAN.
pub const LEAF_COMMON_NAME: &str = "Sandgate leaf";

/// What a leaf is to be.
#[derive(Clone, Copy, Debug)]
pub struct LeafRequest<'a> {
    /// The one name that goes into its SAN.
    pub name: San<'a>,
    /// The start of its validity; moved forward to the CA's if that is later.
    pub not_before: OffsetDateTime,
    /// The end of its validity; moved back to the CA's if that is earlier.
    pub not_after: OffsetDateTime,
    /// Its key, of which only the public half is used.
    pub key: &'a KeyPair,
}

/// Signs what is asked for, whatever the name constraints say.
pub(super) fn sign(ca: &Authority, request: &LeafRequest<'_>) -> Result<CertificateDer<'static>, AuthorityError> {
    let mut params = leaf_params(request.name)?;
    params.not_before = request.not_before.max(ca.not_before());
    params.not_after = request.not_after.min(ca.not_after());
    if params.not_after <= params.not_before {
        return Err(AuthorityError::NoValidity { name: request.name.to_string(), until: ca.not_after() });
    }
    let unsigned = Issuer::from_params(&ca.issuer, Unsigned(&ca.key.pair));
    let draft = params.signed_by(request.key, &unsigned).map_err(|_| AuthorityError::Sign)?;
    let (to_sign, algorithm) =
        der::with_issuer(draft.der(), &ca.facts[0].subject_der).map_err(|_| AuthorityError::Sign)?;
    let signature = ca.key.pair.sign(&to_sign).map_err(|_| AuthorityError::Sign)?;
    Ok(der::certificate(&to_sign, algorithm, &signature).into())
}

/// Lets rcgen write a certificate without signing it, since the part to be signed is still to be changed.
struct Unsigned<'a>(&'a KeyPair);

impl PublicKeyData for Unsigned<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for Unsigned<'_> {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Vec::new())
    }
}

fn leaf_params(name: San<'_>) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, LEAF_COMMON_NAME);
    params.serial_number = Some(crypto::serial_number().map_err(|_| AuthorityError::Sign)?);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names = vec![match name {
        San::Address(address) => SanType::IpAddress(address),
        San::Dns(name) => {
            let refused = || AuthorityError::BadName { name: name.to_owned() };
            SanType::DnsName(name.try_into().map_err(|_| refused())?)
        }
    }];
    Ok(params)
}
