//! Certificates, right and wrong, and what the journal tells of handshakes.

use std::io;

use sandgate_testkit::client::{Client, ClientTls, eventually};
use sandgate_testkit::origin::{Origin, Protocols};
use sandgate_testkit::pki::{Issued, TestCa, self_signed, untrusted};
use tokio::net::TcpStream;

use super::{DEADLINE, uri};

const HOST: &[&str] = &["origin.test"];

async fn get_zen(origin: &Origin, tls: &ClientTls) -> io::Result<String> {
    let stream = TcpStream::connect(origin.addr()).await?;
    let mut client = Client::over_tls(tls.handshake("origin.test", stream).await?).await?;
    Ok(client.get(&uri(origin, "/zen")).await?.text())
}

async fn failure_with(ca: &TestCa, certificate: Issued) -> String {
    let origin = Origin::builder().ca(ca).certificate(certificate).start().await;
    let error = get_zen(&origin, &ClientTls::new(&ca.root_pem())).await.unwrap_err();
    let connections = origin.wait_for_connections(DEADLINE, |all| all.iter().all(|one| one.closed)).await;
    assert_eq!(connections[0].bytes_received, 0);
    assert!(connections[0].error.is_some(), "the origin saw the failure too");
    format!("{error:?}")
}

#[tokio::test]
async fn each_wrong_certificate_is_wrong_in_its_own_way() {
    let ca = TestCa::new();
    let cases = [
        (ca.issue_expired(HOST), "Expired"),
        (ca.issue_not_yet_valid(HOST), "NotValidYet"),
        (ca.issue_wrong_host(), "NotValidForName"),
        (self_signed(HOST), "UnknownIssuer"),
        (untrusted(HOST), "UnknownIssuer"),
        (ca.issue_outside_constraints(HOST), "NameConstraintViolation"),
    ];
    for (certificate, expected) in cases {
        let error = failure_with(&ca, certificate).await;
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[tokio::test]
async fn a_chain_through_an_intermediate_is_right() {
    let ca = TestCa::new();
    let origin = Origin::builder().ca(&ca).certificate(ca.issue_through_intermediate(HOST)).start().await;
    assert!(get_zen(&origin, &ClientTls::new(&ca.root_pem())).await.is_ok());
}

#[tokio::test]
async fn sessions_are_resumed_only_where_tickets_are_on() {
    for tickets in [false, true] {
        let builder = Origin::builder();
        let origin = if tickets { builder.session_tickets() } else { builder }.start().await;
        let tls = ClientTls::new(&origin.ca().root_pem());
        for _ in 0..2 {
            get_zen(&origin, &tls).await.unwrap();
        }
        let resumed: Vec<bool> =
            origin.requests().iter().map(|request| request.tls.as_ref().unwrap().resumed).collect();
        assert_eq!(resumed, [false, tickets]);
    }
}

#[tokio::test]
async fn a_required_client_certificate_is_required() {
    let clients = TestCa::new();
    let origin = Origin::builder().require_client_certificate(clients.root()).start().await;
    let root = origin.ca().root_pem();
    assert!(get_zen(&origin, &ClientTls::new(&root)).await.is_err());
    let own = clients.issue(&["client.test"]);
    get_zen(&origin, &ClientTls::with_certificate(&root, &own)).await.unwrap();
    let shown = origin.requests()[0].tls.clone().unwrap().client_certificates;
    assert_eq!(shown, [own.chain[0].to_vec()]);
}

#[tokio::test]
async fn sni_can_be_left_out() {
    let origin = Origin::builder().start().await;
    get_zen(&origin, &ClientTls::new(&origin.ca().root_pem()).without_sni()).await.unwrap();
    assert_eq!(origin.requests()[0].tls.as_ref().unwrap().sni, None);
}

#[tokio::test]
async fn the_limit_of_concurrent_streams_is_announced() {
    let origin = Origin::builder().max_streams(2).start().await;
    let tls = ClientTls::new(&origin.ca().root_pem()).alpn(&["h2"]);
    let stream = TcpStream::connect(origin.addr()).await.unwrap();
    let stream = tls.handshake("origin.test", stream).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    eventually(DEADLINE, || sender.current_max_send_streams() == 2).await;
}

#[tokio::test]
async fn only_the_chosen_protocols_are_spoken() {
    for (protocols, alpn) in [(Protocols::Http1, "http/1.1"), (Protocols::Http2, "h2")] {
        let origin = Origin::builder().protocols(protocols).start().await;
        let tls = ClientTls::new(&origin.ca().root_pem()).alpn(&["h2", "http/1.1"]);
        get_zen(&origin, &tls).await.unwrap();
        assert_eq!(origin.connections()[0].tls.as_ref().unwrap().alpn.as_deref(), Some(alpn));
    }
    let origin = Origin::builder().protocols(Protocols::Plain).also_ipv6().start().await;
    let stream = TcpStream::connect(("::1", origin.port())).await.unwrap();
    let fetched = Client::http1(stream).await.unwrap().get(&uri(&origin, "/zen")).await.unwrap();
    assert_eq!(fetched.status, 200);
    assert!(origin.requests()[0].tls.is_none());
}
