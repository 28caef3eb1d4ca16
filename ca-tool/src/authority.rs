//! A CA that can sign: checked when it is made or read, asked for leaves afterwards. Its key leaves it only as the
//! PEM text that the caller asks for by name; `Debug` and errors never show it.

mod error;
mod facts;
mod self_test;

use std::fmt;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SignatureAlgorithm, SigningKey,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

pub use error::AuthorityError;
pub(crate) use facts::Facts;

use crate::constraints::{NameConstraints, San};
use crate::key::CaKey;
use crate::profile::Profile;
use crate::{crypto, der, pem};

/// The common name of every leaf. It is never the host: a common name ends at 64 characters, and clients read the SAN.
pub const LEAF_COMMON_NAME: &str = "Sandgate leaf";

/// A CA with its key, checked and ready to sign.
pub struct Authority {
    /// The CA's own certificate, then the certificates above it as far as they are known.
    chain: Vec<CertificateDer<'static>>,
    /// What is in each certificate of `chain`.
    facts: Vec<Facts>,
    key: CaKey,
    /// For rcgen: the CA's key identifier. The name in it is replaced by the bytes of the CA's subject.
    issuer: CertificateParams,
}

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

impl Authority {
    /// Makes a new self-signed CA.
    ///
    /// # Errors
    /// [`AuthorityError`] when the profile can't be a certificate, or the cryptographic library fails.
    pub fn generate(profile: &Profile) -> Result<Self, AuthorityError> {
        let now = OffsetDateTime::now_utc();
        let params = profile.params(now)?;
        let pair = profile.key_type.generate()?;
        let certificate = params.self_signed(&pair).map_err(|_| AuthorityError::Generate)?;
        Self::assemble(vec![certificate.into()], CaKey::generated(pair), now)
    }

    /// Reads a CA: `certificates` has its certificate first and may have those above it after that, in order;
    /// `key` has its private key as PKCS#8, SEC1 or PKCS#1.
    ///
    /// The CA is refused unless a leaf that it signs is accepted by rustls' verifier (the self-test).
    ///
    /// # Errors
    /// [`AuthorityError`], which says what is wrong and never quotes the key.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, AuthorityError> {
        let chain = read_chain(certificates)?;
        let key = CaKey::from_pem(key)?;
        Self::assemble(chain, key, OffsetDateTime::now_utc())
    }

    fn assemble(chain: Vec<CertificateDer<'static>>, key: CaKey, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let facts = read_facts(&chain)?;
        let own = &facts[0];
        if !own.belongs_to(&key.pair) {
            return Err(AuthorityError::Mismatch { subject: own.subject.clone() });
        }
        facts.iter().try_for_each(|facts| facts.check(now))?;
        for pair in facts.windows(2) {
            if pair[0].issuer_der != pair[1].subject_der {
                let (subject, issuer) = (pair[0].subject.clone(), pair[0].issuer.clone());
                return Err(AuthorityError::ChainBroken { subject, issuer, found: pair[1].subject.clone() });
            }
        }
        let Some(key_id) = own.subject_key_id.clone() else {
            return Err(AuthorityError::NoSubjectKeyId { subject: own.subject.clone() });
        };
        let mut issuer = CertificateParams::default();
        issuer.distinguished_name = DistinguishedName::new();
        issuer.key_identifier_method = KeyIdMethod::PreSpecified(key_id);
        let authority = Self { chain, facts, key, issuer };
        self_test::run(&authority, now)?;
        Ok(authority)
    }

    /// Signs a leaf: for one DNS name or address, for TLS servers, with an unused random serial number, valid as asked
    /// but never outside the CA's own validity. Its issuer is byte for byte the CA's subject, its AKI the CA's SKI.
    ///
    /// # Errors
    /// [`AuthorityError::NotPermitted`] when the name constraints exclude the name, [`AuthorityError::NoValidity`]
    /// when nothing of the time asked for lies within the CA's, [`AuthorityError::Sign`] when signing fails.
    pub fn issue(&self, request: &LeafRequest<'_>) -> Result<CertificateDer<'static>, AuthorityError> {
        if !self.permits(request.name) {
            return Err(AuthorityError::NotPermitted { name: request.name.to_string() });
        }
        self.sign(request)
    }

    fn sign(&self, request: &LeafRequest<'_>) -> Result<CertificateDer<'static>, AuthorityError> {
        let mut params = leaf_params(request.name)?;
        params.not_before = request.not_before.max(self.not_before());
        params.not_after = request.not_after.min(self.not_after());
        if params.not_after <= params.not_before {
            return Err(AuthorityError::NoValidity { name: request.name.to_string(), until: self.not_after() });
        }
        let unsigned = Issuer::from_params(&self.issuer, Unsigned(&self.key.pair));
        let draft = params.signed_by(request.key, &unsigned).map_err(|_| AuthorityError::Sign)?;
        let (to_sign, algorithm) =
            der::with_issuer(draft.der(), &self.facts[0].subject_der).map_err(|_| AuthorityError::Sign)?;
        let signature = self.key.pair.sign(&to_sign).map_err(|_| AuthorityError::Sign)?;
        Ok(der::certificate(&to_sign, algorithm, &signature).into())
    }

    /// The CA's certificate.
    #[must_use]
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// The CA's certificate as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.chain[0])
    }

    /// Every certificate that the CA was read with as PEM: what a client has to trust. For an intermediate this holds
    /// the root if the file had it, since OpenSSL by default trusts a chain only up to a self-signed root.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| pem::encode("CERTIFICATE", certificate)).collect()
    }

    /// The CA's private key as PEM, in the encoding it was read in; PKCS#8 if it was made here. For writing its file.
    #[must_use]
    pub fn private_key_pem(&self) -> String {
        self.key.to_pem()
    }

    /// What a TLS server sends behind a leaf: the CA and those above it, but never a self-signed root.
    #[must_use]
    pub fn chain_to_send(&self) -> Vec<CertificateDer<'static>> {
        let not_roots = self.chain.iter().zip(&self.facts).filter(|(_, facts)| !facts.is_self_issued());
        not_roots.map(|(certificate, _)| certificate.clone()).collect()
    }

    /// When the CA, or one above it, starts to be valid.
    #[must_use]
    pub fn not_before(&self) -> OffsetDateTime {
        self.facts.iter().map(|facts| facts.not_before).max().expect("a CA has its own certificate")
    }

    /// When the CA, or one above it, ends.
    #[must_use]
    pub fn not_after(&self) -> OffsetDateTime {
        self.facts.iter().map(|facts| facts.not_after).min().expect("a CA has its own certificate")
    }

    /// The octets of the CA's subject key identifier.
    #[must_use]
    pub fn subject_key_id(&self) -> &[u8] {
        self.facts[0].subject_key_id.as_deref().expect("a CA without one was refused")
    }

    /// The SHA-256 of the CA's certificate, in hexadecimal pairs with colons.
    #[must_use]
    pub fn fingerprint_sha256(&self) -> String {
        crypto::hex(&crypto::sha256(&self.chain[0]))
    }

    /// The CA's subject, as text for people.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.facts[0].subject
    }

    /// The DER of the CA's subject, as it stands in its certificate.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        &self.facts[0].subject_der
    }

    /// Whether the CA signed its own certificate.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.facts[0].is_self_issued()
    }

    /// The subject's common name and organisation, if it has nothing but these.
    pub(crate) fn plain_subject(&self) -> Option<(&str, Option<&str>)> {
        self.facts[0].plain_subject.as_ref().map(|(name, organization)| (name.as_str(), organization.as_deref()))
    }

    pub(crate) fn key_pair(&self) -> &KeyPair {
        &self.key.pair
    }

    /// The CA's own name constraints.
    #[must_use]
    pub fn name_constraints(&self) -> Option<&NameConstraints> {
        self.facts[0].constraints.as_ref()
    }

    /// Whether the name constraints of the CA, and of those above it, let it sign a leaf for `name`.
    #[must_use]
    pub fn permits(&self, name: San<'_>) -> bool {
        self.facts.iter().filter_map(|facts| facts.constraints.as_ref()).all(|constraints| constraints.permits(name))
    }

    /// What is unusual about the CA, though it can sign: each one sentence that says which client minds.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.facts.iter().flat_map(Facts::warnings).collect();
        if !self.facts.iter().any(Facts::is_self_issued) {
            warnings.push(format!(
                "the chain of {} does not reach its self-signed root; clients that need one (Java, older OpenSSL) will \
                 not trust it: append the root to the certificate file",
                self.subject()
            ));
        }
        warnings
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Authority");
        text.field("subject", &self.subject()).field("fingerprint", &self.fingerprint_sha256()).finish_non_exhaustive()
    }
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

/// The certificates of a PEM text, of which there is at least one.
///
/// # Errors
/// [`AuthorityError::CertificateMissing`] and [`AuthorityError::CertificateUnreadable`].
pub fn read_chain(text: &str) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
    let chain = pem::certificates(text).map_err(|reason| AuthorityError::CertificateUnreadable(reason.0))?;
    if chain.is_empty() { Err(AuthorityError::CertificateMissing) } else { Ok(chain) }
}

/// What is in each certificate of a chain.
pub(crate) fn read_facts(chain: &[CertificateDer<'_>]) -> Result<Vec<Facts>, AuthorityError> {
    chain.iter().map(|certificate| Facts::read(certificate)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;

    fn profile(constraints: Option<NameConstraints>) -> Profile {
        Profile {
            common_name: "Test CA".to_owned(),
            organization: None,
            lifetime: Duration::days(365),
            key_type: crate::KeyType::P256,
            constraints,
        }
    }

    fn request<'a>(name: San<'a>, key: &'a KeyPair) -> LeafRequest<'a> {
        let now = OffsetDateTime::now_utc();
        LeafRequest { name, not_before: now - Duration::HOUR, not_after: now + Duration::days(7), key }
    }

    #[test]
    fn a_new_ca_signs_and_reads_back_the_same() {
        let made = Authority::generate(&profile(None)).unwrap();
        let read = Authority::from_pem(&made.certificate_pem(), &made.private_key_pem()).unwrap();
        assert_eq!(read.fingerprint_sha256(), made.fingerprint_sha256());
        assert!(read.chain_to_send().is_empty(), "a root is never sent");
        let leaf = Facts::read(&read.issue(&request(San::Dns("a.example"), &KeyPair::generate().unwrap())).unwrap());
        let leaf = leaf.unwrap();
        assert_eq!(leaf.issuer_der, made.subject_der());
        assert!(!leaf.is_ca);
        assert!(read.warnings().is_empty(), "{:?}", read.warnings());
    }

    #[test]
    fn a_leaf_never_lives_outside_the_ca() {
        let ca = Authority::generate(&profile(None)).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut request = request(San::Dns("a.example"), &key);
        request.not_before = ca.not_before() - Duration::days(10);
        request.not_after = ca.not_after() + Duration::days(10);
        let leaf = Facts::read(&ca.issue(&request).unwrap()).unwrap();
        assert_eq!((leaf.not_before, leaf.not_after), (ca.not_before(), ca.not_after()));
        request.not_before = ca.not_after() + Duration::DAY;
        assert!(matches!(ca.issue(&request), Err(AuthorityError::NoValidity { .. })));
    }

    #[test]
    fn what_the_constraints_exclude_is_not_signed() {
        let constraints = NameConstraints::for_hosts(["a.example", "192.0.2.1"]).unwrap();
        let ca = Authority::generate(&profile(Some(constraints.clone()))).unwrap();
        assert_eq!(ca.name_constraints(), Some(&constraints), "they are read back as they were written");
        let key = KeyPair::generate().unwrap();
        for allowed in [San::Dns("x.a.example"), San::Address("192.0.2.1".parse().unwrap())] {
            ca.issue(&request(allowed, &key)).unwrap();
        }
        for refused in [San::Dns("b.example"), San::Address("2001:db8::1".parse().unwrap())] {
            let error = ca.issue(&request(refused, &key)).unwrap_err();
            assert!(matches!(error, AuthorityError::NotPermitted { .. }), "{error}");
        }
    }

    #[test]
    fn our_judgement_of_constraints_is_that_of_the_verifier() {
        let lists: [&[&str]; 5] =
            [&["a.example"], &["192.0.2.1"], &["2001:db8::1", "b.example"], &["*.c.example"], &[]];
        let names = ["a.example", "x.a.example", "xa.example", "b.example", "c.example", "192.0.2.1", "192.0.2.9"];
        let key = KeyPair::generate().unwrap();
        for hosts in lists {
            let constraints = NameConstraints::for_hosts(hosts.iter().copied()).unwrap();
            let ca = Authority::generate(&profile(Some(constraints))).unwrap();
            for name in names.iter().chain(&["2001:db8::1", "2001:db8::2", "::ffff:192.0.2.1"]) {
                let name = name.parse().map_or(San::Dns(name), San::Address);
                let leaf = ca.sign(&request(name, &key)).unwrap();
                assert_eq!(self_test::verify(&ca, &leaf).is_ok(), ca.permits(name), "{name} under {hosts:?}");
            }
        }
    }

    #[test]
    fn no_debug_output_shows_the_key() {
        let ca = Authority::generate(&profile(None)).unwrap();
        let shown = format!("{ca:?}");
        assert!(shown.contains("Test CA") && !shown.contains("key"), "{shown}");
    }
}
