//! The certificate that a replica signs for itself. Its key never leaves the process.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use sandgate_ca::Authority;
use time::OffsetDateTime;

use super::CertificateError;
use super::stage::Served;

/// How far the start lies in the past, for an API server whose clock is behind.
const BACK_DATED: time::Duration = time::Duration::HOUR;

/// A certificate with its key, and what is known about it.
pub(super) struct Serving {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) served: Served,
    pub(super) not_after: OffsetDateTime,
}

/// The names of a Service: the first one is what API servers verify.
pub(super) fn names(service: &str, namespace: &str) -> [String; 3] {
    [
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        format!("{service}.{namespace}"),
    ]
}

/// Makes a key and signs a certificate for `names`, valid for `lifetime` but never longer than the CA, due to be made
/// anew after two thirds of it.
pub(super) fn issue(
    ca: &Authority,
    names: &[String],
    lifetime: Duration,
    now: OffsetDateTime,
) -> Result<Serving, CertificateError> {
    let lifetime: time::Duration = lifetime.try_into().unwrap_or(time::Duration::MAX);
    let not_after = now.checked_add(lifetime).map_or(ca.not_after(), |end| end.min(ca.not_after()));
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Sandgate webhook");
    params.not_before = (now - BACK_DATED).max(ca.not_before());
    params.not_after = not_after;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::from_ca_cert_der(ca.certificate_der(), KeyPair::from_pem(&ca.private_key_pem())?)?;
    let certificate = params.signed_by(&key, &issuer)?;
    let signing = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signing = any_supported_type(&signing).map_err(CertificateError::Key)?;
    Ok(Serving {
        key: Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signing)),
        served: Served { ca: super::secret::facts(ca).id, renew_at: now + (not_after - now) * 2 / 3 },
        not_after,
    })
}

/// A pair of PEM texts, as cert-manager writes them.
pub(super) fn read_pair(certificates: &str, key: &str) -> Result<Arc<CertifiedKey>, CertificateError> {
    use rustls::pki_types::pem::PemObject as _;
    let chain = sandgate_ca::authority::read_chain(certificates)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| CertificateError::NoKey)?;
    let pair = CertifiedKey::from_der(chain, key, &default_provider()).map_err(CertificateError::Key)?;
    Ok(Arc::new(pair))
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;
    use crate::certificate::secret::Held;

    #[test]
    fn a_serving_certificate_has_all_names_and_ends_with_its_ca_at_the_latest() {
        let now = OffsetDateTime::now_utc();
        let held = Held::new(Duration::from_secs(7200), now).unwrap();
        let names = names("hook", "system");
        let serving = issue(&held.current, &names, Duration::from_secs(3600), now).unwrap();
        assert_eq!(serving.served.renew_at, now + Duration::from_secs(2400));
        let (_, parsed) = X509Certificate::from_der(&serving.key.cert[0]).unwrap();
        let san = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(san.value.general_names.len(), 3);
        let long = issue(&held.current, &names, Duration::from_secs(1 << 40), now).unwrap();
        assert_eq!(long.not_after, held.current.not_after());
    }

    #[test]
    fn a_pair_that_does_not_belong_together_is_refused() {
        let now = OffsetDateTime::now_utc();
        let held = Held::new(Duration::from_secs(7200), now).unwrap();
        let (certificate, key) = (held.current.certificate_pem(), held.current.private_key_pem());
        assert!(read_pair(&certificate, &key).is_ok());
        let other = KeyPair::generate().unwrap().serialize_pem();
        for (certificate, key) in [(&certificate, &other), (&String::new(), &key), (&certificate, &String::new())] {
            assert!(read_pair(certificate, key).is_err());
        }
    }
}
