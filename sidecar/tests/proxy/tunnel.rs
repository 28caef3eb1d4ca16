//! What may follow a CONNECT: TLS, and plain HTTP where the destination is `scheme: http`. Never a raw tunnel.

#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

use sandgate_testkit::client::{Client, RawReply, read_all, tunnel, websocket};
use sandgate_testkit::origin::{Origin, Protocols};
use sandgate_testkit::raw_origin::RawConnection;
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;

use crate::beside::{BesideRaw, stream};
use crate::harness::{DEADLINE, Setup, allow, beside, beside_http1, resolve, send_and_end, status_of};

const SSH: &[u8] = b"SSH-2.0-OpenSSH_9.9\r\n";
/// The type of a TLS record that carries an alert.
const ALERT: u8 = 21;
/// A version 2 ClientHello of SSL 3.0 and TLS clients of old.
const SSL_2: &[u8] = &[0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80, 3, 0, 0x80, 7, 0, 0xc0, 6, 0, 0x40];

/// A ClientHello of TLS 1.0 (`minor` 1) or 1.1 (`minor` 2).
fn old_hello(minor: u8) -> Vec<u8> {
    let body = [&[3, minor][..], &[7; 32], &[0, 0, 4, 0xc0, 0x09, 0xc0, 0x13, 1, 0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length], body.as_slice()].concat()
}

async fn in_tunnel(setup: &Setup, origin: &Origin, bytes: &[u8]) -> RawReply {
    use tokio::io::AsyncWriteExt as _;
    let mut stream = tunnel(setup.sidecar.proxy(), &format!("origin.test:{}", origin.port())).await.unwrap();
    let _ = stream.write_all(bytes).await;
    // The sidecar closes by itself; this side stays open.
    let reply = read_all(&mut stream, DEADLINE).await;
    assert!(reply.closed, "the tunnel stays open after {bytes:?}");
    reply
}

#[tokio::test]
async fn session_tickets_do_not_come_before_the_response() {
    let never_answers = |mut connection: RawConnection| async move {
        connection.read_head().await;
        connection.until_closed().await;
    };
    let beside = BesideRaw::start(Protocols::Http1, &[], never_answers).await;
    let mut stream = stream(&beside.setup, beside.origin.port()).await;
    let request = format!("GET / HTTP/1.1\r\nHost: origin.test:{}\r\n\r\n", beside.origin.port());
    stream.write_all(request.as_bytes()).await.unwrap();
    beside.origin.wait_for_requests(1, DEADLINE).await;
    // The handshake was over long before that; what came since would lie here.
    let (socket, tls) = stream.get_ref();
    assert_eq!(tls.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let came = SockRef::from(socket).peek(&mut [std::mem::MaybeUninit::uninit(); 64]);
    assert_eq!(came.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_is_closed() {
    let (origin, setup) = beside_http1().await;
    let plain = format!("GET /zen HTTP/1.1\r\nHost: origin.test:{}\r\n\r\n", origin.port());
    for bytes in [SSH, SSL_2, b"\x00\x01\x02garbage", b"\x17\x03\x03\x00\x01\x00", b"\x05\x01\x00", plain.as_bytes()] {
        let reply = in_tunnel(&setup, &origin, bytes).await;
        assert_eq!(reply.bytes, b"", "{bytes:?}");
    }
    let line = setup.sidecar.wait_for_audit(|line| line["code"] == "unknown_protocol", DEADLINE).await;
    assert_eq!((&line["host"], &line["verdict"]), (&"origin.test".into(), &"denied".into()));
    assert_eq!(origin.connections().len(), 0);
    setup.serves(&origin).await;
}

#[tokio::test]
async fn tls_that_is_too_old_gets_an_alert_and_broken_tls_an_end() {
    let (origin, setup) = beside_http1().await;
    let garbage = [&[22, 3, 1, 0, 32][..], &[0xff; 32]].concat();
    let empty = [22, 3, 1, 0, 0].repeat(64);
    let huge = [&[22, 3, 1, 0xff, 0xff][..], &[1; 4096]].concat();
    for bytes in [old_hello(1), old_hello(2)] {
        let reply = in_tunnel(&setup, &origin, &bytes).await;
        assert_eq!(reply.bytes.first(), Some(&ALERT), "{bytes:?} got {:?}", reply.bytes);
    }
    for bytes in [garbage, empty, huge] {
        let reply = in_tunnel(&setup, &origin, &bytes).await;
        assert!(matches!(reply.bytes.first(), None | Some(&ALERT)), "{bytes:?} got {:?}", reply.bytes);
    }
    let line = setup.sidecar.wait_for_audit(|line| line["code"] == "client_tls_failed", DEADLINE).await;
    assert_eq!(line["host"], "origin.test");
    assert_eq!(origin.connections().len(), 0);
    setup.serves(&origin).await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed_in_time() {
    let origin = Origin::builder().start().await;
    let limits = ["--handshake-timeout", "300ms", "--resolve", &resolve(&origin)];
    let setup = Setup::start(origin.ca(), &allow(&origin), &limits).await;
    for bytes in [&b""[..], &[22], &[22, 3, 1, 0, 200, 1, 0, 0]] {
        in_tunnel(&setup, &origin, bytes).await;
    }
    setup.sidecar.wait_for_audit(|line| line["code"] == "client_timeout", DEADLINE).await;
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn plain_http_is_judged_where_the_destination_is_http() {
    let (origin, setup) = beside(Protocols::Plain).await;
    setup.enforce(&(allow(&origin) + "    scheme: http\n    deny:\n      - paths: [\"/status/**\"]\n")).await;
    let own = format!("origin.test:{}", origin.port());
    let stream = tunnel(setup.sidecar.proxy(), &own).await.unwrap();
    let mut client = Client::http1(stream).await.unwrap();
    for (path, status) in [("/zen", 200), ("/status/200", 403), ("/zen", 200)] {
        assert_eq!(client.get(&format!("http://{own}{path}")).await.unwrap().status, status, "{path}");
    }
    let misdirected = client.get("http://evil.test/zen").await.unwrap();
    assert_eq!((misdirected.status.as_u16(), misdirected.json()["error"].as_str()), (421, Some("misdirected_request")));
    assert_eq!(origin.request_count(), 2);
}

#[tokio::test]
async fn a_websocket_in_the_clear_goes_through_a_tunnel_to_an_http_destination() {
    let (origin, setup) = beside(Protocols::Plain).await;
    let own = format!("origin.test:{}", origin.port());
    let mut stream = tunnel(setup.sidecar.proxy(), &own).await.unwrap();
    let reply = websocket(&mut stream, &own, "/ws").await.unwrap();
    assert_eq!(reply.status, 101);
    assert_eq!(origin.request_count(), 1);
}

#[tokio::test]
async fn nothing_but_http_reaches_an_http_destination() {
    let (origin, setup) = beside(Protocols::Plain).await;
    for bytes in [SSH, SSL_2, &old_hello(1), b"EHLO mail.test\r\n", b"\x00\x01\x02garbage"] {
        let reply = in_tunnel(&setup, &origin, bytes).await;
        assert!(matches!(status_of(&reply), None | Some(400)), "{bytes:?}: {}", reply.text());
    }
    assert_eq!(origin.connections().len(), 0);
    let stream = tunnel(setup.sidecar.proxy(), &format!("origin.test:{}", origin.port())).await.unwrap();
    assert!(setup.client_tls().handshake("origin.test", stream).await.is_err(), "no leaf where nothing is intercepted");
}

#[tokio::test]
async fn http_1_0_inside_a_tunnel_is_answered() {
    let (origin, setup) = beside(Protocols::Plain).await;
    let own = format!("origin.test:{}", origin.port());
    let mut stream = tunnel(setup.sidecar.proxy(), &own).await.unwrap();
    let reply = send_and_end(&mut stream, format!("GET /zen HTTP/1.0\r\nHost: {own}\r\n\r\n").as_bytes()).await;
    assert_eq!(status_of(&reply), Some(200), "{}", reply.text());
}
