//! The TLS configuration towards clients: one template for the process, and what is added for a host. A session of
//! one host never resumes at another.

use std::fmt;
use std::sync::Arc;

use rcgen::KeyPair;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer, cipher_suite, kx_group};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error, ServerConfig, SignatureScheme};
use sandgate_policy::destination::Host;

/// What the configurations of all hosts share.
pub(super) struct Template {
    config: ServerConfig,
    key: Arc<dyn SigningKey>,
    ticketer: Arc<dyn ProducesTickets>,
}

impl Template {
    pub(super) fn new(key: &KeyPair) -> Result<Self, Error> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = aws_lc_rs::sign::any_ecdsa_type(&key)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Nobody));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ignore_client_order = true;
        // Clients open more connections by resuming; one ticket each is what they use, two only cost bytes.
        config.send_tls13_tickets = 1;
        // Tickets carry the session, so that an idle host costs no memory for it.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { config, key, ticketer: Ticketer::new()? })
    }

    /// The configuration that serves `chain` to clients that name `host`, or no host at all.
    pub(super) fn server_config(&self, host: &Host, chain: Vec<CertificateDer<'static>>) -> Arc<ServerConfig> {
        let certificate = Arc::new(CertifiedKey::new(chain, Arc::clone(&self.key)));
        let mut config = self.config.clone();
        config.cert_resolver = Arc::new(OneHost { host: host.clone(), certificate });
        config.ticketer = Arc::new(HostTickets::new(host, Arc::clone(&self.ticketer)));
        Arc::new(config)
    }

    /// Signs and encrypts something once, for the library's first time is slow.
    pub(super) fn warm_up(&self) -> Result<(), Error> {
        if let Some(signer) = self.key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]) {
            signer.sign(b"warm-up")?;
        }
        let provider = self.config.crypto_provider();
        for group in &provider.kx_groups {
            group.start()?;
        }
        self.ticketer.encrypt(b"warm-up").map(drop).ok_or(Error::FailedToGetRandomBytes)
    }
}

/// Chosen for speed between two programs on one machine. No suite with RSA, for the leaf's key is ECDSA.
fn provider() -> CryptoProvider {
    CryptoProvider {
        // AES-128 in hardware is the fastest on every machine that pods run on, and its SHA-256 is in hardware too.
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        // No post-quantum group: nobody can record loopback who could not read the workload's memory, and the key
        // shares would cost a kilobyte each way. Towards origins it is on.
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

/// No certificate for anyone: what the template has until it is one for a host.
#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// The certificate of one host, for clients that name it or name none. An address in the SNI, which RFC 6066 3
/// forbids, is as none: rustls does not show it.
struct OneHost {
    host: Host,
    certificate: Arc<CertifiedKey>,
}

impl ResolvesServerCert for OneHost {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = |sni| Host::parse(sni).is_ok_and(|named| named == self.host);
        hello.server_name().is_none_or(named).then(|| Arc::clone(&self.certificate))
    }
}

impl fmt::Debug for OneHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneHost").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Tickets that only this host takes back. All hosts share the keys, and each puts its name inside the ciphertext.
/// rustls itself binds a session to the SNI, which says nothing where there was none.
#[derive(Debug)]
struct HostTickets {
    prefix: Box<[u8]>,
    shared: Arc<dyn ProducesTickets>,
}

impl HostTickets {
    fn new(host: &Host, shared: Arc<dyn ProducesTickets>) -> Self {
        let mut prefix = host.to_string().into_bytes();
        // No host has a zero byte, so no host's prefix starts another's.
        prefix.push(0);
        Self { prefix: prefix.into(), shared }
    }
}

impl ProducesTickets for HostTickets {
    fn enabled(&self) -> bool {
        self.shared.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.shared.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.shared.encrypt(&[&self.prefix, plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let plain = self.shared.decrypt(cipher)?;
        plain.strip_prefix(&*self.prefix).map(<[u8]>::to_vec)
    }
}
