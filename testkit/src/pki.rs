//! A test PKI made at run time: one root, and certificates that are right or wrong in exactly one way. Nothing of it is
//! ever written into the repository.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

/// The only domain that the constrained intermediate of [`TestCa::issue_outside_constraints`] may sign for.
pub const CONSTRAINED_DOMAIN: &str = "constrained.invalid";

/// A root that signs certificates for tests. Clones share the key.
#[derive(Clone)]
pub struct TestCa(Arc<CertifiedIssuer<'static, KeyPair>>);

impl TestCa {
    /// A new root, valid for a day before and a year from now.
    #[must_use]
    pub fn new() -> Self {
        Self::named("Sandgate Test Root")
    }

    /// The same with another common name.
    #[must_use]
    pub fn named(common_name: &str) -> Self {
        let issuer = CertifiedIssuer::self_signed(ca_params(common_name), new_key());
        Self(Arc::new(issuer.expect("the parameters of the root are complete")))
    }

    /// The root certificate.
    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        self.0.der()
    }

    /// The root certificate as PEM.
    #[must_use]
    pub fn root_pem(&self) -> String {
        self.0.pem()
    }

    /// The root's private key as PEM (PKCS#8).
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.0.key().serialize_pem()
    }

    /// Writes the root certificate as PEM to `path`.
    pub fn write_root(&self, path: &Path) {
        fs::write(path, self.root_pem()).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }

    /// A certificate for servers and clients that is valid now for `names`: DNS names, wildcards or IP addresses.
    #[must_use]
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.sign(leaf_params(names), &[])
    }

    /// As [`TestCa::issue`], from an intermediate that is sent along.
    #[must_use]
    pub fn issue_through_intermediate(&self, names: &[&str]) -> Issued {
        let intermediate = self.intermediate(ca_params("Sandgate Test Intermediate"));
        sign_by(&intermediate, leaf_params(names), &[intermediate.der()])
    }

    /// A certificate that ended yesterday.
    #[must_use]
    pub fn issue_expired(&self, names: &[&str]) -> Issued {
        let mut params = leaf_params(names);
        params.not_before = OffsetDateTime::now_utc() - Duration::days(30);
        params.not_after = OffsetDateTime::now_utc() - Duration::days(1);
        self.sign(params, &[])
    }

    /// A certificate that begins tomorrow.
    #[must_use]
    pub fn issue_not_yet_valid(&self, names: &[&str]) -> Issued {
        let mut params = leaf_params(names);
        params.not_before = OffsetDateTime::now_utc() + Duration::days(1);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(30);
        self.sign(params, &[])
    }

    /// A valid certificate for a host that no test asks for.
    #[must_use]
    pub fn issue_wrong_host(&self) -> Issued {
        self.issue(&["wrong-host.invalid"])
    }

    /// A certificate for `names` below an intermediate that may only sign for [`CONSTRAINED_DOMAIN`].
    #[must_use]
    pub fn issue_outside_constraints(&self, names: &[&str]) -> Issued {
        let mut params = ca_params("Sandgate Test Constrained Intermediate");
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(CONSTRAINED_DOMAIN.into())],
            excluded_subtrees: Vec::new(),
        });
        let intermediate = self.intermediate(params);
        sign_by(&intermediate, leaf_params(names), &[intermediate.der()])
    }

    /// A certificate of a client, whose user is the common name and whose groups are the organizations, as Kubernetes
    /// reads them.
    ///
    /// # Panics
    /// With more than two groups.
    #[must_use]
    pub fn issue_client(&self, user: &str, groups: &[&str]) -> Issued {
        // rcgen keeps one value of a type, but a type has two spellings.
        let spellings = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
        assert!(groups.len() <= spellings.len(), "a client's certificate can have two groups, not {groups:?}");
        let mut params = leaf_params(&[]);
        params.distinguished_name.push(DnType::CommonName, user);
        for (organization, group) in spellings.into_iter().zip(groups) {
            params.distinguished_name.push(organization, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &[])
    }

    fn intermediate(&self, params: CertificateParams) -> CertifiedIssuer<'static, KeyPair> {
        CertifiedIssuer::signed_by(params, new_key(), &self.0).expect("the parameters of the intermediate are complete")
    }

    fn sign(&self, params: CertificateParams, above: &[&CertificateDer<'static>]) -> Issued {
        sign_by(&self.0, params, above)
    }
}

impl Default for TestCa {
    fn default() -> Self {
        Self::new()
    }
}

/// A certificate for `names` that signed itself and is no CA.
#[must_use]
pub fn self_signed(names: &[&str]) -> Issued {
    let key = new_key();
    let certificate = leaf_params(names).self_signed(&key).expect("the parameters of the leaf are complete");
    Issued::new(vec![certificate.der().clone()], &key)
}

/// A certificate for `names` from a root that nobody was told of.
#[must_use]
pub fn untrusted(names: &[&str]) -> Issued {
    TestCa::named("Sandgate Untrusted Root").issue(names)
}

/// A certificate with what is sent along, and its key.
pub struct Issued {
    /// The leaf first, then intermediates; never the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
    key_pem: String,
}

impl Issued {
    fn new(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Self {
        let der = PrivatePkcs8KeyDer::from(key.serialize_der());
        Self { chain, key: der.into(), key_pem: key.serialize_pem() }
    }

    /// The chain as PEM, leaf first.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| certificate_pem(certificate)).collect()
    }

    /// The key as PEM (PKCS#8).
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }
}

impl Clone for Issued {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key(), key_pem: self.key_pem.clone() }
    }
}

/// One certificate as PEM.
#[must_use]
pub fn certificate_pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn sign_by(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    params: CertificateParams,
    above: &[&CertificateDer<'static>],
) -> Issued {
    let key = new_key();
    let leaf = params.signed_by(&key, issuer).expect("the parameters of the leaf are complete");
    let chain = std::iter::once(leaf.der()).chain(above.iter().copied()).cloned().collect();
    Issued::new(chain, &key)
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("the system has randomness")
}

fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.not_before = OffsetDateTime::now_utc() - Duration::days(1);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(365);
    params
}

fn leaf_params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names of test certificates are ASCII");
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, "Sandgate Test Leaf");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = OffsetDateTime::now_utc() - Duration::days(1);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(30);
    params
}
