//! What ends at the sidecar of a request's header fields: those of one connection, those for the proxy, and upgrades.

use sandgate_testkit::origin::Protocols;

use crate::harness::{beside, beside_http1, status_of};

fn request(port: u16, fields: &str) -> String {
    format!("GET /echo HTTP/1.1\r\nHost: origin.test:{port}\r\n{fields}\r\n")
}

#[tokio::test]
async fn fields_of_the_connection_and_for_the_proxy_never_reach_the_origin() {
    for protocols in [Protocols::Http1, Protocols::Both] {
        let (origin, setup) = beside(protocols).await;
        let fields = "Proxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n\
            Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nX-End: 2\r\nTE: trailers, deflate\r\n";
        let reply = setup.raw_in_tunnel(&origin, request(origin.port(), fields).as_bytes()).await;
        assert_eq!(status_of(&reply), Some(200), "{}", reply.text());
        let seen = origin.requests().pop().unwrap();
        for gone in ["proxy-authorization", "proxy-connection", "keep-alive", "x-hop", "transfer-encoding"] {
            assert_eq!(seen.head.header(gone), None, "{gone}");
        }
        assert_eq!(seen.head.header("x-end"), Some("2"));
        assert_eq!(seen.head.header("te"), Some("trailers"));
    }
}

#[tokio::test]
async fn connection_must_not_name_what_frames_or_routes() {
    let (origin, setup) = beside_http1().await;
    for name in ["host", "Content-Length", "transfer-encoding", "x-a, HOST", "\"x\"", "a b"] {
        let case = request(origin.port(), &format!("Connection: {name}\r\nX-A: 1\r\n"));
        let reply = setup.raw_in_tunnel(&origin, case.as_bytes()).await;
        assert_eq!(status_of(&reply), Some(400), "{name}: {}", reply.text());
    }
    assert_eq!(origin.request_count(), 0);
}

#[tokio::test]
async fn no_upgrade_but_to_websocket_is_passed_on() {
    let (origin, setup) = beside_http1().await;
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
    ] {
        let reply = setup.raw_in_tunnel(&origin, request(origin.port(), fields).as_bytes()).await;
        assert_eq!(status_of(&reply), Some(200), "{fields:?}: {}", reply.text());
        let seen = origin.requests().pop().unwrap();
        for gone in ["upgrade", "http2-settings", "connection"] {
            assert_eq!(seen.head.header(gone), None, "{fields:?}: {gone}");
        }
    }
}

#[tokio::test]
async fn an_http2_preface_without_alpn_is_refused() {
    let (origin, setup) = beside_http1().await;
    let reply = setup.raw_in_tunnel(&origin, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(matches!(status_of(&reply), None | Some(400)), "{}", reply.text());
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn a_websocket_handshake_with_a_body_is_no_handshake() {
    let (origin, setup) = beside_http1().await;
    let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (fields, body) in
        [("Content-Length: 5\r\n", "hello"), ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")]
    {
        let case = request(origin.port(), &format!("{handshake}{fields}")) + body;
        let reply = setup.raw_in_tunnel(&origin, case.as_bytes()).await;
        assert_eq!(status_of(&reply), Some(200), "{}", reply.text());
        let seen = origin.requests().pop().unwrap();
        assert_eq!((seen.head.header("upgrade"), seen.body_bytes), (None, 5), "{fields:?} {seen:#?}");
    }
    assert!(origin.connections().iter().all(|connection| connection.error.is_none()));
}
