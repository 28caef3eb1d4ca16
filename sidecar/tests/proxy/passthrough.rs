//! The opaque tunnel of a `tls: passthrough` rule: dialled only after a whole ClientHello that names the host.

#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

use sandgate_testkit::client::{Client, ClientTls, RawReply, read_all, tunnel};
use sandgate_testkit::origin::Origin;
use sandgate_testkit::raw_origin::{RawConnection, RawOrigin};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{DEADLINE, Setup, send_and_end};

const SERVER_NAME: u16 = 0;
const PADDING: u16 = 21;
const ECH: u16 = 0xfe0d;

/// A ClientHello message with these extensions.
fn hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let long = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let extensions: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, data)| [&kind.to_be_bytes()[..], &long(data.len()), data].concat())
        .collect();
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &long(extensions.len()), &extensions].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[1..], &body].concat()
}

fn server_name(name: &str) -> (u16, Vec<u8>) {
    let length = u16::try_from(name.len()).unwrap();
    let entry = [&[0][..], &length.to_be_bytes(), name.as_bytes()].concat();
    (SERVER_NAME, [&(length + 3).to_be_bytes()[..], &entry].concat())
}

/// The message in records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[22, 3, 1][..], &u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat();
    message.chunks(size).flat_map(record).collect()
}

/// Reads to the end, sends all of it back, and closes.
async fn mirror(mut connection: RawConnection) {
    let mut bytes = Vec::new();
    let _ = connection.io.read_to_end(&mut bytes).await;
    connection.send(bytes).await;
    connection.close().await;
}

fn rule(port: u16, host: &str, more: &str) -> String {
    let ranges = "[127.0.0.0/8, \"::1/128\"]";
    format!(
        "  - id: pinned\n    host: {host}\n    ports: [{port}]\n    tls: passthrough\n    private_cidrs: {ranges}\n{more}"
    )
}

/// A sidecar that passes `origin.test` through to `port`.
async fn passing(port: u16, more: &str, arguments: &[&str]) -> Setup {
    let resolve = format!("origin.test:{port}:127.0.0.1");
    let arguments = [&["--resolve", &resolve], arguments].concat();
    // Its TLS is not looked at, so any root will do.
    Setup::start(&sandgate_testkit::pki::TestCa::new(), &rule(port, "origin.test", more), &arguments).await
}

async fn to_origin(setup: &Setup, port: u16) -> TcpStream {
    tunnel(setup.sidecar.proxy(), &format!("origin.test:{port}")).await.unwrap()
}

async fn sent(setup: &Setup, port: u16, bytes: &[u8]) -> RawReply {
    send_and_end(&mut to_origin(setup, port).await, bytes).await
}

#[tokio::test]
async fn the_client_talks_to_the_origins_own_certificate() {
    let origin = Origin::builder().start().await;
    let setup = passing(origin.port(), "", &[]).await;
    let tls = ClientTls::new(&origin.ca().root_pem()).alpn(&["h2"]);
    let stream = tls.handshake("origin.test", to_origin(&setup, origin.port()).await).await.unwrap();
    let mut client = Client::over_tls(stream).await.unwrap();
    let fetched = client.get(&format!("https://origin.test:{}/zen", origin.port())).await.unwrap();
    assert_eq!(fetched.status, 200);
    drop(client);
    let line = setup.sidecar.wait_for_audit(|line| line["kind"] == "tunnel_end", DEADLINE).await;
    assert_eq!(
        (&line["rule"], &line["host"], &line["verdict"]),
        (&"pinned".into(), &"origin.test".into(), &"allowed".into())
    );
    assert_eq!(line["address"], format!("127.0.0.1:{}", origin.port()));
    assert!(line["bytes_up"].as_u64() > Some(200) && line["bytes_down"].as_u64() > Some(200), "{line}");
    assert_eq!(line.get("path"), None, "nothing inside is looked at");
}

#[tokio::test]
async fn bytes_pass_unchanged_and_a_half_closed_tunnel_is_not_truncated() {
    let origin = RawOrigin::plain(mirror).await;
    let setup = passing(origin.port(), "", &[]).await;
    let rest: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let bytes = [records(&hello(&[server_name("origin.test")]), 500), rest].concat();
    let reply = sent(&setup, origin.port(), &bytes).await;
    assert!(reply.bytes == bytes, "{} bytes came back of {}", reply.bytes.len(), bytes.len());
    let line = setup.sidecar.wait_for_audit(|line| line["kind"] == "tunnel_end", DEADLINE).await;
    assert_eq!((&line["bytes_up"], &line["bytes_down"]), (&bytes.len().into(), &bytes.len().into()));
}

#[tokio::test]
async fn a_hello_may_be_spread_over_many_records() {
    let origin = RawOrigin::plain(mirror).await;
    let setup = passing(origin.port(), "", &[]).await;
    let message = hello(&[(PADDING, vec![0; 1500]), server_name("ORIGIN.test")]);
    for size in [1, 7, 100] {
        let bytes = records(&message, size);
        assert!(sent(&setup, origin.port(), &bytes).await.bytes == bytes, "in records of {size}");
    }
}

#[tokio::test]
async fn a_server_name_that_is_missing_or_another_is_closed_undialled() {
    let origin = RawOrigin::plain(mirror).await;
    let setup = passing(origin.port(), "", &[]).await;
    let name = |name| server_name(name).1[2..].to_vec();
    let both = [name("origin.test"), name("evil.test")].concat();
    let list = |length: u8, names: &[u8]| vec![(SERVER_NAME, [&[0, length], names].concat())];
    for extensions in [
        vec![],
        vec![server_name("evil.test")],
        vec![server_name("origin.test.evil.test")],
        vec![server_name("127.0.0.1")],
        vec![server_name("origin.test\0.evil.test")],
        vec![server_name("")],
        list(26, &both),
        list(24, &both),
        list(14, &both),
        list(15, &name("origin.test")),
        vec![(SERVER_NAME, Vec::new())],
        vec![server_name("origin.test"), server_name("evil.test")],
        vec![server_name("evil.test"), server_name("origin.test")],
    ] {
        let reply = sent(&setup, origin.port(), &records(&hello(&extensions), 4000)).await;
        assert_eq!(reply.bytes, b"", "{extensions:?}");
    }
    setup.sidecar.wait_for_audit(|line| line["code"] == "sni_mismatch", DEADLINE).await;
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn an_encrypted_hello_is_refused_unless_the_rule_allows_it() {
    let origin = RawOrigin::plain(mirror).await;
    let setup = passing(origin.port(), "", &[]).await;
    let bytes = records(&hello(&[server_name("origin.test"), (ECH, vec![0; 40])]), 4000);
    assert_eq!(sent(&setup, origin.port(), &bytes).await.bytes, b"");
    setup.sidecar.wait_for_audit(|line| line["code"] == "ech_not_allowed", DEADLINE).await;
    assert_eq!(origin.connections(), 0);
    setup.enforce(&rule(origin.port(), "origin.test", "    ech: allow\n")).await;
    assert_eq!(sent(&setup, origin.port(), &bytes).await.bytes, bytes);
}

#[tokio::test]
async fn what_is_no_whole_hello_is_closed_undialled() {
    let origin = RawOrigin::plain(mirror).await;
    let setup = passing(origin.port(), "", &[]).await;
    let whole = records(&hello(&[server_name("origin.test")]), 4000);
    let oversized = records(&hello(&[server_name("origin.test"), (PADDING, vec![0; 17 << 10])]), 4000);
    let mut server_hello = whole.clone();
    server_hello[5] = 2;
    let mut application_data = records(&whole[5..40], 4000);
    application_data.extend([23, 3, 3, 0, 1, 0]);
    let plain = b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n";
    for bytes in [&whole[..whole.len() - 1], &oversized, &server_hello, &application_data, plain, &[22, 3, 1, 0, 0]] {
        assert_eq!(sent(&setup, origin.port(), bytes).await.bytes, b"");
    }
    setup.sidecar.wait_for_audit(|line| line["code"] == "unknown_protocol", DEADLINE).await;
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn half_a_hello_is_not_waited_for_for_ever_and_not_dialled() {
    let origin = RawOrigin::plain(mirror).await;
    let setup = passing(origin.port(), "", &["--handshake-timeout", "300ms"]).await;
    let whole = records(&hello(&[server_name("origin.test")]), 4000);
    let mut stream = to_origin(&setup, origin.port()).await;
    stream.write_all(&whole[..whole.len() - 1]).await.unwrap();
    assert!(read_all(&mut stream, DEADLINE).await.closed);
    setup.sidecar.wait_for_audit(|line| line["code"] == "client_timeout", DEADLINE).await;
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn to_an_address_no_server_name_is_needed_and_none_is_taken() {
    let origin = RawOrigin::plain(mirror).await;
    let setup = passing(origin.port(), "", &[]).await;
    setup.enforce(&rule(origin.port(), "127.0.0.1", "")).await;
    let authority = format!("127.0.0.1:{}", origin.port());
    for (extensions, passes) in [(vec![], true), (vec![server_name("evil.test")], false)] {
        let bytes = records(&hello(&extensions), 4000);
        let mut stream = tunnel(setup.sidecar.proxy(), &authority).await.unwrap();
        let reply = send_and_end(&mut stream, &bytes).await;
        assert_eq!(reply.bytes, if passes { bytes } else { Vec::new() });
    }
}

#[tokio::test]
async fn an_open_tunnel_ends_when_the_policy_no_longer_has_it() {
    let origin = Origin::builder().start().await;
    let setup = passing(origin.port(), "", &[]).await;
    let tls = ClientTls::new(&origin.ca().root_pem());
    let mut stream = tls.handshake("origin.test", to_origin(&setup, origin.port()).await).await.unwrap();
    let other = rule(origin.port(), "other.test", "");
    // A change that leaves the rule alone leaves the tunnel alone.
    setup.enforce(&(rule(origin.port(), "origin.test", "") + &other.replace("pinned", "other"))).await;
    let request = format!("GET /zen HTTP/1.1\r\nHost: origin.test:{}\r\n\r\n", origin.port());
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(stream.read_u8().await.is_ok());
    setup.enforce(&other).await;
    assert!(read_all(&mut stream, std::time::Duration::from_secs(5)).await.closed);
    let line = setup.sidecar.wait_for_audit(|line| line["code"] == "policy_changed", DEADLINE).await;
    assert_eq!((&line["kind"], &line["rule"]), (&"tunnel_end".into(), &"pinned".into()));
}

#[tokio::test]
async fn interception_never_becomes_a_passthrough_nor_the_reverse() {
    let origin = Origin::builder().start().await;
    let setup = passing(origin.port(), "", &[]).await;
    // A client that trusts only the sidecar finds the origin's certificate.
    let stream = to_origin(&setup, origin.port()).await;
    assert!(setup.client_tls().handshake("origin.test", stream).await.is_err());
    setup.enforce(&rule(origin.port(), "origin.test", "").replace("passthrough", "intercept")).await;
    // And one that pins the origin's finds the sidecar's, and never the origin.
    let before = origin.connections().len();
    let tls = ClientTls::new(&origin.ca().root_pem());
    assert!(tls.handshake("origin.test", to_origin(&setup, origin.port()).await).await.is_err());
    assert_eq!(origin.connections().len(), before);
}
