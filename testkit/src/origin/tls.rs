//! TLS of an origin: what it offers and what a handshake agreed on. The provider is named, never a process default.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection};
use tokio_rustls::TlsAcceptor;

use super::Protocols;
use super::journal::TlsFacts;
use crate::pki::Issued;

/// An acceptor that shows `certificate` and, where `client_roots` is not empty, asks clients for theirs.
pub(crate) fn acceptor(
    certificate: Issued,
    protocols: Protocols,
    client_roots: Vec<CertificateDer<'static>>,
    tickets: bool,
) -> TlsAcceptor {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().expect("the provider has suites for TLS 1.2 and 1.3");
    let builder = if client_roots.is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_verifier(client_verifier(client_roots, provider))
    };
    let mut config =
        builder.with_single_cert(certificate.chain, certificate.key).expect("the key belongs to the certificate");
    config.alpn_protocols = match protocols {
        Protocols::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Protocols::Http1 | Protocols::Plain => vec![b"http/1.1".to_vec()],
        Protocols::Http2 => vec![b"h2".to_vec()],
    };
    if tickets {
        config.ticketer = Ticketer::new().expect("the system has randomness");
    } else {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    TlsAcceptor::from(Arc::new(config))
}

fn client_verifier(
    client_roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Arc<dyn rustls::server::danger::ClientCertVerifier> {
    let mut roots = RootCertStore::empty();
    for root in client_roots {
        roots.add(root).expect("the client's root is a CA certificate");
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    builder.build().expect("there is at least one root")
}

/// What the handshake of `connection` agreed on.
pub(super) fn facts(connection: &ServerConnection) -> TlsFacts {
    let certificates = connection.peer_certificates().unwrap_or_default();
    TlsFacts {
        sni: connection.server_name().map(str::to_owned),
        alpn: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        version: connection.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default(),
        client_certificates: certificates.iter().map(|certificate| certificate.to_vec()).collect(),
    }
}
