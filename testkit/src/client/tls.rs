//! TLS of test clients. Certificates are always verified: a test that wants to see a wrong one sees the failure.

use std::io;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pki::Issued;

/// How a client does TLS. Handshakes made with one of these share its session cache, so that later ones may resume.
#[derive(Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl ClientTls {
    /// Trusts the certificates in `roots_pem` and nothing else; sends SNI; offers no ALPN.
    ///
    /// # Panics
    /// Where the PEM holds no certificate.
    #[must_use]
    pub fn new(roots_pem: &str) -> Self {
        Self(Arc::new(config(roots_pem, None, rustls::ALL_VERSIONS)))
    }

    /// The same, showing a client certificate.
    #[must_use]
    pub fn with_certificate(roots_pem: &str, certificate: &Issued) -> Self {
        Self(Arc::new(config(roots_pem, Some(certificate), rustls::ALL_VERSIONS)))
    }

    /// The same, with these versions only.
    #[must_use]
    pub fn with_versions(roots_pem: &str, versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self(Arc::new(config(roots_pem, None, versions)))
    }

    /// Offers these protocols, such as `h2` and `http/1.1`.
    #[must_use]
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::make_mut(&mut self.0).alpn_protocols = protocols;
        self
    }

    /// Sends no server name.
    #[must_use]
    pub fn without_sni(mut self) -> Self {
        Arc::make_mut(&mut self.0).enable_sni = false;
        self
    }

    /// The handshake, for a certificate of `name`, which is also the SNI unless that is off or `name` is an address.
    ///
    /// # Errors
    /// Whatever ends it; a rejected certificate is a [`rustls::Error`] inside.
    pub async fn handshake<S>(&self, name: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await
    }
}

fn config(roots_pem: &str, own: Option<&Issued>, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots_pem.as_bytes()) {
        roots.add(root.expect("the roots are PEM")).expect("a root is a certificate");
    }
    assert!(!roots.is_empty(), "no certificate in {roots_pem:?}");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(versions).expect("the provider has suites for the versions");
    let builder = builder.with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let own = builder.with_client_auth_cert(own.chain.clone(), own.key.clone_key());
            own.expect("the key belongs to the certificate")
        }
    }
}
