//! TLS towards origins: which roots, which client certificate, which suites, which ALPN; and the names of its failures.
//!
//! Verification is always on. There is no verifier in this crate but the one of rustls.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use sandgate_policy::destination::Host;
use sandgate_policy::{UpstreamHttp, UpstreamOptions};
use tokio_rustls::TlsConnector;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use super::Failure;
use crate::file;
use crate::refusal::Code;

/// TLS sessions kept for resumption by one configuration. A sandbox talks to tens of hosts.
const SESSIONS: usize = 64;

/// The ALPN names (RFC 7301) of the two HTTP versions.
pub const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

/// TLS configurations for the origins of one rule: one for requests, one for upgrades, which need HTTP/1.1. Both share
/// their sessions.
#[derive(Clone)]
pub struct Connectors {
    /// Offers what the rule allows.
    pub any: TlsConnector,
    /// Offers HTTP/1.1 alone.
    pub http1: TlsConnector,
}

/// The public roots, and those that the operator adds for every origin.
///
/// # Errors
/// Text that names the file that can't be used.
pub fn base_roots(extra: &[PathBuf]) -> Result<RootCertStore, String> {
    let public = TLS_SERVER_ROOT_CERTS.iter().filter_map(|root| webpki::anchor_from_trusted_cert(root).ok());
    let mut roots = RootCertStore { roots: public.collect() };
    for path in extra {
        let before = roots.len();
        for file in files(path)? {
            add_roots(&mut roots, &file)?;
        }
        tracing::info!(path = %path.display(), roots = roots.len() - before, "further roots for origins");
    }
    Ok(roots)
}

/// The file itself, or those of a directory but for hidden ones, which a Kubernetes volume keeps for itself.
fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let entries: Result<Vec<_>, _> = fs::read_dir(path).map_err(named)?.collect();
    let visible = |entry: &fs::DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".");
    let mut files: Vec<_> = entries.map_err(named)?.into_iter().filter(visible).map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

/// The configurations for a rule's options, over the operator's roots.
///
/// # Errors
/// Text that names the file that can't be used.
pub fn connectors(base: &Arc<RootCertStore>, options: &UpstreamOptions) -> Result<Connectors, String> {
    let mut roots = Arc::clone(base);
    for path in &options.ca {
        add_roots(Arc::make_mut(&mut roots), path)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match &options.client_cert {
        None => builder.with_no_client_auth(),
        Some(client) => builder
            .with_client_auth_cert(certificates(&client.certificate)?, key(&client.key)?)
            .map_err(|error| format!("{}: {error}", client.certificate.display()))?,
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    let mut http1 = config.clone();
    http1.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    config.alpn_protocols = match options.http {
        UpstreamHttp::Auto => vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()],
        UpstreamHttp::Http1 => vec![ALPN_HTTP1.to_vec()],
        UpstreamHttp::Http2 => vec![ALPN_H2.to_vec()],
    };
    Ok(Connectors { any: Arc::new(config).into(), http1: Arc::new(http1).into() })
}

/// rustls' suites with AES-128 first in each version, as browsers have it: many origins take what a client names first, and
/// AES-256 with SHA-384 costs both sides more of the processor.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        let is_aes_128 = suite.suite().as_str().is_some_and(|name| name.contains("AES_128"));
        (suite.tls13().is_none(), !is_aes_128)
    });
    provider
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| format!("{}: not usable as a root: {error}", path.display()))?;
    }
    Ok(())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let named = |problem: String| format!("{}: {problem}", path.display());
    let pem = file::read(path, file::LIMIT).map_err(|error| named(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| named(error.to_string()))?;
    if certificates.is_empty() { Err(named("no PEM certificate in it".into())) } else { Ok(certificates) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let named = |problem: String| format!("{}: {problem}", path.display());
    let pem = file::read(path, file::LIMIT).map_err(|error| named(error.to_string()))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| named(error.to_string()))
}

/// The name that a certificate of this host must have.
///
/// # Errors
/// [`Failure`] where no certificate can have it.
pub fn server_name(host: &Host) -> Result<ServerName<'static>, Failure> {
    match host {
        Host::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::Name(name) => ServerName::try_from(name.to_string())
            .map_err(|_| Failure::new(Code::TlsHandshake, "the host can't be a name in a TLS certificate")),
    }
}

/// What a failed handshake with an origin is called.
pub fn failure(error: &io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(certificate)) => {
            Failure::new(certificate_code(certificate), certificate.to_string())
        }
        Some(error) => Failure::new(Code::TlsHandshake, error.to_string()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Failure::new(Code::TlsHandshake, "the connection was closed during the TLS handshake")
        }
        None => Failure::from_io(error),
    }
}

fn certificate_code(error: &CertificateError) -> Code {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Code::CertificateExpired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Code::CertificateNotYetValid,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Code::CertificateNameMismatch
        }
        CertificateError::UnknownIssuer => Code::CertificateUnknownIssuer,
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::NameConstraintViolation) => Code::CertificateNameConstraints,
            _ => Code::CertificateInvalid,
        },
        _ => Code::CertificateInvalid,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rustls::version::{TLS12, TLS13};
    use rustls::{CipherSuite, ServerConfig};
    use sandgate_testkit::pki::TestCa;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::trust::TrustFiles;

    #[test]
    fn the_public_roots_are_those_of_the_workloads_bundle() {
        let dir = tempfile::tempdir().unwrap();
        TrustFiles::new(dir.path().to_owned()).write(&[]).unwrap();
        let bundle = certificates(&dir.path().join(sandgate_contract::TRUST_BUNDLE_FILE)).unwrap();
        let of_bundle = bundle.iter().map(|root| webpki::anchor_from_trusted_cert(root).unwrap().subject.to_vec());
        let verifying = base_roots(&[]).unwrap();
        let of_verifier = verifying.roots.iter().map(|anchor| anchor.subject.to_vec());
        assert!(verifying.roots.len() > 100);
        assert_eq!(of_bundle.collect::<HashSet<_>>(), of_verifier.collect::<HashSet<_>>());
    }

    #[tokio::test]
    async fn an_origin_that_goes_by_our_order_takes_aes_128() {
        let ca = TestCa::new();
        let issued = ca.issue(&["origin.test"]);
        let mut roots = RootCertStore::empty();
        roots.add(ca.root().clone()).unwrap();
        let connectors = connectors(&Arc::new(roots), &UpstreamOptions::default()).unwrap();
        for (version, expected) in [
            (&TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256),
            (&TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        ] {
            let origin = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(issued.chain.clone(), issued.key.clone_key())
                .unwrap();
            let (near, far) = tokio::io::duplex(64 * 1024);
            let name = server_name(&Host::parse("origin.test").unwrap()).unwrap();
            let accepted = TlsAcceptor::from(Arc::new(origin)).accept(far);
            let (origin, sidecar) = tokio::join!(accepted, connectors.any.connect(name, near));
            sidecar.unwrap();
            assert_eq!(origin.unwrap().get_ref().1.negotiated_cipher_suite().unwrap().suite(), expected);
        }
    }

    #[test]
    fn every_suite_of_rustls_is_offered() {
        let names = |provider: &CryptoProvider| -> HashSet<_> {
            provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect()
        };
        assert_eq!(names(&provider()), names(&aws_lc_rs::default_provider()));
    }

    #[test]
    fn a_directory_has_any_number_of_files_with_roots_and_hidden_ones_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = [dir.path().to_owned()];
        let public = base_roots(&path).unwrap().roots.len();
        fs::write(dir.path().join("..data"), "hidden").unwrap();
        for (name, subject) in [("a.crt", "A"), ("b.crt", "B")] {
            fs::write(dir.path().join(name), TestCa::named(subject).root_pem()).unwrap();
        }
        assert_eq!(base_roots(&path).unwrap().roots.len(), public + 2);
        fs::write(dir.path().join("c.crt"), "nothing").unwrap();
        assert!(base_roots(&path).unwrap_err().contains("c.crt: no PEM certificate"));
        let missing = [dir.path().join("missing")];
        assert!(base_roots(&missing).unwrap_err().contains("missing"), "a name that is nothing is a mistake");
    }

    #[test]
    fn a_file_without_roots_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.pem");
        fs::write(&path, "nothing").unwrap();
        let error = base_roots(std::slice::from_ref(&path)).unwrap_err();
        assert!(error.contains("none.pem") && error.contains("no PEM certificate"), "{error}");
    }
}
