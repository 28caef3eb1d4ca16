//! Tests of leaves: real handshakes in memory with rustls, and over loopback with OpenSSL and Python.

mod clients;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Barrier;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, RootCertStore, SupportedProtocolVersion};
use sandgate_ca::{KeyType, NameConstraints, Profile};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::*;
use crate::authority::Authorities;

fn ca(lifetime: Duration, constraints: Option<NameConstraints>) -> Arc<Authority> {
    let key_type = KeyType::P256;
    let profile = Profile { common_name: "test".into(), organization: None, lifetime, key_type, constraints };
    Arc::new(Authority::generate(&profile).unwrap())
}

fn year() -> Arc<Authority> {
    ca(Duration::days(365), None)
}

fn signing(authority: &Arc<Authority>) -> Arc<Signing> {
    Arc::new(Authorities::new(Arc::clone(authority), Duration::DAY).signing())
}

/// A cache, and what has to live as long.
fn cache(authority: &Arc<Authority>, capacity: usize) -> (LeafCache, watch::Sender<Arc<Signing>>) {
    let sender = watch::Sender::new(signing(authority));
    (LeafCache::new(sender.subscribe(), capacity).unwrap(), sender)
}

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

fn client(authority: &Authority, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate_der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

fn with_sni(enable_sni: bool, mut client: ClientConfig) -> Arc<ClientConfig> {
    client.enable_sni = enable_sni;
    Arc::new(client)
}

type Ends = (server::TlsStream<tokio::io::DuplexStream>, client::TlsStream<tokio::io::DuplexStream>);

/// One handshake, and a byte each way so that tickets have arrived.
async fn connect(
    config: Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &str,
) -> (io::Result<()>, io::Result<Ends>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::clone(client));
    let (server, client) = tokio::join!(TlsAcceptor::from(config).accept(far), connector.connect(name, near));
    let (mut server, mut client) = match (server, client) {
        (Ok(server), Ok(client)) => (server, client),
        (Err(server), Err(client)) => return (Err(server), Err(client)),
        (Ok(_), Err(client)) => return (Ok(()), Err(client)),
        (Err(error), Ok(_)) => panic!("only the server refused: {error}"),
    };
    server.write_all(b"s").await.unwrap();
    client.write_all(b"c").await.unwrap();
    assert_eq!((client.read_u8().await.unwrap(), server.read_u8().await.unwrap()), (b's', b'c'));
    (Ok(()), Ok((server, client)))
}

async fn kind(config: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &str) -> HandshakeKind {
    let (server, _) = connect(Arc::clone(config), client, name).await.1.unwrap();
    server.get_ref().1.handshake_kind().unwrap()
}

#[tokio::test]
async fn a_client_gets_a_leaf_for_the_host_with_or_without_sni() {
    let ca = year();
    let (cache, _signing) = cache(&ca, 16);
    for name in ["a.test", "192.0.2.1", "2001:db8::1"] {
        let target = if name.contains(':') { host(&format!("[{name}]")) } else { host(name) };
        for (enable_sni, version) in [(true, &TLS13), (false, &TLS13), (true, &TLS12), (false, &TLS12)] {
            let client = with_sni(enable_sni, client(&ca, &[version]));
            let (_, ends) = connect(cache.server_config(&target).unwrap(), &client, name).await;
            let (server, client) = ends.unwrap();
            assert_eq!(client.get_ref().1.peer_certificates().unwrap().len(), 1, "the root is not sent");
            assert_eq!(server.get_ref().1.protocol_version(), Some(version.version));
        }
    }
    assert_eq!(cache.counters(), Counters { hits: 9, mints: 3, size: 3 });
}

#[tokio::test]
async fn another_name_in_sni_is_an_alert_and_the_caller_can_tell() {
    let ca = year();
    let (cache, _signing) = cache(&ca, 16);
    for target in ["a.test", "192.0.2.1"] {
        for version in [&TLS13, &TLS12] {
            let client = Arc::new(client(&ca, &[version]));
            let (server, client) = connect(cache.server_config(&host(target)).unwrap(), &client, "b.test").await;
            assert!(is_sni_mismatch(&server.unwrap_err()));
            let alert = client.unwrap_err().to_string();
            assert!(alert.contains("AccessDenied"), "{alert}");
        }
    }
}

#[tokio::test]
async fn other_failures_are_no_sni_mismatch() {
    let ca = year();
    let (cache, _signing) = cache(&ca, 16);
    let stranger = Arc::new(client(&year(), &[&TLS12]));
    let (server, client) = connect(cache.server_config(&host("a.test")).unwrap(), &stranger, "a.test").await;
    assert!(client.is_err());
    assert!(!is_sni_mismatch(&server.unwrap_err()));
    assert!(!is_sni_mismatch(&io::Error::other("no server certificate chain resolved")));
}

#[tokio::test]
async fn sni_in_another_case_is_the_same_host() {
    let ca = year();
    let (cache, _signing) = cache(&ca, 16);
    let client = Arc::new(client(&ca, &[&TLS13]));
    connect(cache.server_config(&host("a.test")).unwrap(), &client, "A.Test").await.1.unwrap();
}

#[tokio::test]
async fn the_fast_suite_and_group_are_chosen_whatever_the_client_prefers() {
    let ca = year();
    let (cache, _signing) = cache(&ca, 16);
    for (version, expected) in [
        (&TLS13, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256),
        (&TLS12, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ] {
        // rustls' clients prefer AES-256 and a post-quantum group.
        let mut client = client(&ca, &[version]);
        client.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
        let config = cache.server_config(&host("a.test")).unwrap();
        let (server, client) = connect(config, &Arc::new(client), "a.test").await.1.unwrap();
        assert_eq!(server.get_ref().1.negotiated_cipher_suite().unwrap().suite(), expected);
        assert_eq!(client.get_ref().1.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519);
        assert_eq!(server.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(server.get_ref().1.handshake_kind(), Some(HandshakeKind::Full), "no second round trip");
    }
}

#[tokio::test]
async fn sessions_resume_at_their_host_and_nowhere_else() {
    let ca = year();
    let (cache, _signing) = cache(&ca, 16);
    let (a, b) = (cache.server_config(&host("a.test")).unwrap(), cache.server_config(&host("b.test")).unwrap());
    for version in [&TLS13, &TLS12] {
        for enable_sni in [true, false] {
            let client = with_sni(enable_sni, client(&ca, &[version]));
            assert_eq!(kind(&a, &client, "a.test").await, HandshakeKind::Full);
            assert_eq!(kind(&a, &client, "a.test").await, HandshakeKind::Resumed);
            // The client brings a.test's session; a resumed handshake would show no certificate to mind.
            let (_, refused) = connect(Arc::clone(&b), &client, "a.test").await;
            let refused = refused.unwrap_err().to_string();
            let expected = if enable_sni { "AccessDenied" } else { "not valid for name" };
            assert!(refused.contains(expected), "{version:?} {enable_sni}: {refused}");
        }
    }
}

#[tokio::test]
async fn a_session_outlives_the_renewal_of_the_leaf() {
    let ca = year();
    let (cache, _signing) = cache(&ca, 16);
    let client = Arc::new(client(&ca, &[&TLS13]));
    let now = OffsetDateTime::now_utc();
    let first = cache.server_config_at(&host("a.test"), now).unwrap();
    let second = cache.server_config_at(&host("a.test"), now + Duration::days(5)).unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(kind(&first, &client, "a.test").await, HandshakeKind::Full);
    assert_eq!(kind(&second, &client, "a.test").await, HandshakeKind::Resumed);
}

#[test]
fn sixty_four_threads_that_ask_at_once_get_one_leaf() {
    let (cache, _signing) = cache(&year(), 16);
    let (barrier, target) = (Barrier::new(64), host("a.test"));
    let ask = || {
        barrier.wait();
        Arc::as_ptr(&cache.server_config(&target).unwrap()) as usize
    };
    let configs: HashSet<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..64).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(configs.len(), 1);
    assert_eq!(cache.counters(), Counters { hits: 63, mints: 1, size: 1 });
}

#[test]
fn fifty_thousand_names_leave_the_cache_bounded() {
    let (cache, _signing) = cache(&year(), 1024);
    for number in 0..50_000 {
        cache.server_config(&host(&format!("h{number}.wild.test"))).unwrap();
        assert!(cache.leaves.len() <= 1024);
    }
    assert_eq!(cache.counters().mints, 50_000);
    assert!(cache.counters().size > 1024 / 2);
}

#[test]
fn a_leaf_is_made_again_when_two_thirds_of_its_life_are_over() {
    let (cache, _signing) = cache(&year(), 16);
    let now = OffsetDateTime::now_utc();
    let at = |after| cache.server_config_at(&host("a.test"), now + after).unwrap();
    let first = at(Duration::ZERO);
    let due = LIFETIME * 2 / 3;
    assert!(Arc::ptr_eq(&first, &at(due - Duration::SECOND)));
    let second = at(due);
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&second, &at(due + Duration::SECOND)));
    assert_eq!(cache.counters(), Counters { hits: 2, mints: 2, size: 1 });
}

#[test]
fn a_leaf_that_no_handshake_asks_for_is_dropped_and_made_again() {
    let (cache, _signing) = cache(&year(), 10);
    let start = OffsetDateTime::now_utc();
    let made = |name: &str, at| Arc::as_ptr(&cache.server_config_at(&host(name), at).unwrap());
    made("idle.test", start);
    let used = made("used.test", start);
    assert_eq!(made("used.test", start + IDLE), used);
    cache.sweep(start + IDLE);
    assert_eq!(cache.counters().size, 2);
    cache.sweep(start + IDLE * 2);
    assert_eq!(cache.counters().size, 1);
    assert_eq!(made("used.test", start + IDLE * 2), used);
    assert_eq!(cache.counters().mints, 2);
    made("idle.test", start + IDLE * 2);
    assert_eq!((cache.counters().mints, cache.counters().size), (3, 2));
}

#[test]
fn a_leaf_ends_with_its_ca_and_is_due_before() {
    let (cache, _signing) = cache(&ca(Duration::days(3), None), 16);
    let now = OffsetDateTime::now_utc();
    let at = |after| cache.server_config_at(&host("a.test"), now + after);
    let first = at(Duration::ZERO).unwrap();
    assert!(Arc::ptr_eq(&first, &at(Duration::days(2) - Duration::MINUTE).unwrap()));
    assert!(!Arc::ptr_eq(&first, &at(Duration::days(2)).unwrap()));
    assert!(matches!(at(Duration::days(3) + Duration::MINUTE), Err(LeafError::NoAuthority { .. })));
}

#[tokio::test]
async fn a_new_ca_signs_as_leaves_fall_due() {
    let (old, new) = (year(), year());
    let (cache, sender) = cache(&old, 16);
    // The client checks with the real clock, at the end of these five days.
    let now = OffsetDateTime::now_utc() - Duration::days(5);
    let at = |name: &str, after| cache.server_config_at(&host(name), now + after).unwrap();
    at("a.test", Duration::ZERO);
    sender.send_replace(signing(&new));
    let trusts = |ca: &Authority| Arc::new(client(ca, &[&TLS13]));
    connect(at("a.test", Duration::DAY), &trusts(&old), "a.test").await.1.unwrap();
    connect(at("b.test", Duration::DAY), &trusts(&new), "b.test").await.1.unwrap();
    connect(at("a.test", Duration::days(5)), &trusts(&new), "a.test").await.1.unwrap();
}

#[test]
fn a_leaf_that_cannot_be_renewed_serves_to_its_end() {
    let (cache, sender) = cache(&year(), 16);
    let now = OffsetDateTime::now_utc();
    let at = |after| cache.server_config_at(&host("a.test"), now + after);
    let first = at(Duration::ZERO).unwrap();
    sender.send_replace(Arc::new(Signing::nobody()));
    assert!(Arc::ptr_eq(&first, &at(LIFETIME - Duration::SECOND).unwrap()));
    assert!(matches!(at(LIFETIME), Err(LeafError::NoAuthority { .. })));
}

#[test]
fn a_host_outside_the_constraints_of_every_ca_has_no_leaf() {
    let constraints = NameConstraints::for_hosts(["a.test"]).unwrap();
    let (cache, _signing) = cache(&ca(Duration::days(30), Some(constraints)), 16);
    cache.warm_up().unwrap();
    cache.server_config(&host("a.test")).unwrap();
    let error = cache.server_config(&host("b.test")).unwrap_err().to_string();
    assert!(error.contains("b.test"), "{error}");
    assert_eq!(cache.counters().size, 1);
}

#[test]
fn warming_up_leaves_nothing_in_the_cache() {
    let (cache, _signing) = cache(&year(), 16);
    cache.warm_up().unwrap();
    assert_eq!(cache.counters(), Counters { hits: 0, mints: 0, size: 0 });
}

/// Serves `host` on loopback for as long as the test runs; a connection gets one line.
async fn serve(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = TlsAcceptor::from(Arc::clone(&config)).accept(stream).await {
                let _ = stream.write_all(b"hello\n").await;
                let _ = stream.shutdown().await;
            }
        }
    });
    address
}

#[tokio::test]
async fn strict_openssl_and_strict_python_accept_what_is_served() {
    let ca = year();
    let (cache, _signing) = cache(&ca, 16);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), ca.certificate_pem()).unwrap();
    let roots = file.path().to_str().unwrap();
    let python = "import socket,ssl,sys\n\
        c=ssl.create_default_context(cafile=sys.argv[1]); c.verify_flags|=ssl.VERIFY_X509_STRICT\n\
        s=c.wrap_socket(socket.create_connection(('127.0.0.1',int(sys.argv[2])),10),server_hostname=sys.argv[3])\n\
        assert s.recv(6)==b'hello\\n'";
    for name in ["a.test", "a_b.test", "192.0.2.1", "2001:db8::1"] {
        let target = if name.contains(':') { host(&format!("[{name}]")) } else { host(name) };
        let address = serve(cache.server_config(&target).unwrap()).await;
        let (port, address) = (address.port().to_string(), address.to_string());
        let check = if name.ends_with(".test") { "-verify_hostname" } else { "-verify_ip" };
        for version in ["-tls1_2", "-tls1_3"] {
            let args = ["s_client", "-connect", &address, "-x509_strict", "-verify_return_error", "-CAfile", roots];
            let mut command = Command::new("openssl");
            command.args(args).args([version, check, name, "-quiet"]).stdin(std::process::Stdio::null());
            let output = command.output().await.unwrap();
            assert!(output.status.success(), "{name} {version}: {output:?}");
        }
        let output = Command::new("python3").args(["-c", python, roots, &port, name]).output().await.unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
    }
}
