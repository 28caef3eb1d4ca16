//! WebSocket and gRPC with this crate's own clients, and CONNECT through a proxy that tunnels blindly.

use std::net::SocketAddr;

use bytes::{BufMut as _, BytesMut};
use sandgate_testkit::client::{
    ClientTls, Reply, WEBSOCKET_KEY, bytes_body, connect_through, http_get, http_through, https_through, raw, websocket,
};
use sandgate_testkit::origin::websocket::{CLOSE, Frame, PING, PONG, TEXT, accept_key};
use sandgate_testkit::origin::{Origin, Protocols};
use sandgate_testkit::raw_origin::{RawOrigin, scripts};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{DEADLINE, client, uri};

async fn upgrade(origin: &Origin, path: &str) -> (Reply, TlsStream<TcpStream>) {
    let tls = ClientTls::new(&origin.ca().root_pem());
    let stream = TcpStream::connect(origin.addr()).await.unwrap();
    let mut stream = tls.handshake("origin.test", stream).await.unwrap();
    (websocket(&mut stream, "origin.test", path).await.unwrap(), stream)
}

#[tokio::test]
async fn a_websocket_echoes_messages_pings_and_the_close() {
    let origin = Origin::builder().start().await;
    let (reply, mut stream) = upgrade(&origin, "/ws").await;
    // The example of RFC 6455 1.3.
    assert_eq!(accept_key(WEBSOCKET_KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!((reply.status, reply.header("sec-websocket-accept")), (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
    let sent = [Frame::new(TEXT, "hi"), Frame::new(TEXT, "x".repeat(300)), Frame::new(TEXT, "y".repeat(70_000))];
    for frame in sent.into_iter().chain([Frame::new(PING, "p"), Frame::new(CLOSE, [3, 232])]) {
        stream.write_all(&frame.encode(Some([1, 2, 3, 4]))).await.unwrap();
        let answer = Frame::read(&mut stream).await.unwrap();
        let opcode = if frame.opcode == PING { PONG } else { frame.opcode };
        assert_eq!(answer, Frame { opcode, ..frame });
    }
}

#[tokio::test]
async fn wrong_and_unasked_switches_are_wrong() {
    let origin = Origin::builder().start().await;
    let (reply, _) = upgrade(&origin, "/ws-bad-accept").await;
    assert_eq!(reply.status, 101);
    assert_ne!(reply.header("sec-websocket-accept"), Some(accept_key(WEBSOCKET_KEY).as_str()));
    let plain = Origin::builder().protocols(Protocols::Plain).start().await;
    let reply =
        raw(plain.addr(), b"GET /unasked-101 HTTP/1.1\r\nHost: a\r\n\r\n", std::time::Duration::from_millis(300));
    assert!(reply.await.unwrap().text().starts_with("HTTP/1.1 101 "));
}

#[tokio::test]
async fn a_half_closed_response_ends_with_the_connection() {
    let plain = Origin::builder().protocols(Protocols::Plain).start().await;
    let reply = raw(plain.addr(), b"GET /half-close HTTP/1.1\r\nHost: a\r\n\r\n", DEADLINE).await.unwrap();
    assert!(reply.closed && reply.text().ends_with("\r\n\r\nuntil the end\n"), "{reply:?}");
}

#[tokio::test]
async fn ambiguous_requests_are_refused_by_the_origin() {
    let plain = Origin::builder().protocols(Protocols::Plain).start().await;
    let smuggled =
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let reply = raw(plain.addr(), smuggled, DEADLINE).await.unwrap();
    assert!(reply.closed && reply.text().starts_with("HTTP/1.1 400 "), "{reply:?}");
}

#[tokio::test]
async fn grpc_calls_are_answered_with_trailers() {
    let origin = Origin::builder().start().await;
    let mut client = client(&origin, "h2").await;
    for (method, messages, status) in [("Unary", 1, "0"), ("ServerStream", 3, "0"), ("Fail", 0, "9"), ("None", 0, "12")]
    {
        let request = http::Request::post(uri(&origin, &format!("/sandgate.test.Echo/{method}")));
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        let fetched = client.fetch(request.body(bytes_body(message(b"hello"))).unwrap()).await.unwrap();
        assert_eq!(fetched.trailers.unwrap()["grpc-status"], status, "{method}");
        assert_eq!(fetched.body, message(b"hello").repeat(messages), "{method}");
    }
}

fn message(bytes: &[u8]) -> Vec<u8> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(bytes.len()).unwrap());
    framed.put_slice(bytes);
    framed.to_vec()
}

/// A proxy that tunnels to `target` whatever CONNECT asks for, and refuses `denied.test`.
async fn blind_proxy(target: SocketAddr) -> RawOrigin {
    RawOrigin::plain(move |mut connection| async move {
        let Some(head) = connection.read_head().await else { return };
        if head.starts_with("CONNECT denied.test") {
            return connection.send("HTTP/1.1 403 Forbidden: no\r\ncontent-length: 3\r\n\r\nno\n").await;
        }
        let mut upstream = TcpStream::connect(target).await.unwrap();
        connection.send("HTTP/1.1 200 OK\r\n\r\n").await;
        let _ = tokio::io::copy_bidirectional(&mut connection.io, &mut upstream).await;
    })
    .await
}

#[tokio::test]
async fn clients_go_through_a_proxy_and_see_its_refusals() {
    let origin = Origin::builder().start().await;
    let proxy = blind_proxy(origin.addr()).await;
    let tls = ClientTls::new(&origin.ca().root_pem()).alpn(&["h2"]);
    let mut client = https_through(proxy.addr(), "origin.test", origin.port(), &tls).await.unwrap();
    assert!(client.is_http2());
    assert_eq!(client.get(&uri(&origin, "/zen")).await.unwrap().status, 200);
    let (reply, _) = connect_through(proxy.addr(), "denied.test:443").await.unwrap();
    assert_eq!((reply.status, reply.reason.as_str(), reply.body.as_slice()), (403, "Forbidden: no", &b"no\n"[..]));
    assert!(https_through(proxy.addr(), "denied.test", 443, &tls).await.is_err());
}

#[tokio::test]
async fn plain_requests_go_in_absolute_form_to_a_proxy_and_in_origin_form_to_a_server() {
    let server = RawOrigin::plain(scripts::close_when_idle).await;
    http_through(server.addr()).await.unwrap().get("http://origin.test/a?b").await.unwrap();
    http_get(server.addr(), "/healthz").await.unwrap();
    let lines: Vec<String> = server.requests().iter().map(|head| head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(lines, ["GET http://origin.test/a?b HTTP/1.1", "GET /healthz HTTP/1.1"]);
}
