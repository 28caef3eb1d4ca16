//! WebSocket over HTTP/1.1: the origin's 101 is checked before a byte is relayed, and what is open meets a new policy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use http::Request;
use sandgate_testkit::client::{WEBSOCKET_KEY, empty_body, read_all, websocket};
use sandgate_testkit::origin::websocket::{CLOSE, Frame, accept_key};
use sandgate_testkit::origin::{Origin, Protocols};
use sandgate_testkit::raw_origin::RawConnection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::beside::{Beside, BesideRaw, DEADLINE, code, destination, echo, stream};

#[tokio::test]
async fn messages_pass_in_both_directions_over_a_connection_that_offered_http1_alone() {
    let beside = Beside::start(Origin::builder(), &[]).await;
    let mut stream = beside.stream().await;
    let reply = websocket(&mut stream, &format!("origin.test:{}", beside.origin.port()), "/ws").await.unwrap();
    assert_eq!((reply.status, reply.header("sec-websocket-accept")), (101, Some(accept_key(WEBSOCKET_KEY).as_str())));
    for text in ["hi", &"x".repeat(300), &"y".repeat(100_000)] {
        timeout(DEADLINE, echo(&mut stream, text)).await.expect("the echo comes").unwrap();
    }
    let close = Frame::new(CLOSE, [3, 232]);
    stream.write_all(&close.encode(Some([0; 4]))).await.unwrap();
    assert_eq!(Frame::read(&mut stream).await.unwrap(), close);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the origin's end is passed on");
    drop(stream);
    let request = &beside.origin.requests()[0];
    assert_eq!(request.tls.as_ref().unwrap().alpn.as_deref(), Some("http/1.1"));
    assert_eq!(request.head.header("sec-websocket-version"), Some("13"));
    let ended = |line: &serde_json::Value| line["event"] == "tunnel_end" || line["kind"] == "tunnel_end";
    beside.setup.sidecar.wait_for_audit(ended, DEADLINE).await;
}

#[tokio::test]
async fn a_wrong_accept_or_a_101_for_something_else_is_a_502_and_nothing_is_relayed() {
    let beside = Beside::start(Origin::builder().protocols(Protocols::Http1), &[]).await;
    let host = format!("origin.test:{}", beside.origin.port());
    for path in ["/ws-bad-accept", "/unasked-101"] {
        let mut stream = beside.stream().await;
        let reply = websocket(&mut stream, &host, path).await.unwrap();
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(reply.status == 502 && body.contains("bad_upgrade"), "{path}: {} {body}", reply.status);
        assert!(!body.contains("unasked"), "{body}");
    }
}

#[tokio::test]
async fn an_unasked_101_is_a_502_and_nothing_is_relayed() {
    let beside = Beside::start(Origin::builder().protocols(Protocols::Http1), &[]).await;
    for alpn in ["h2", "http/1.1"] {
        let fetched =
            timeout(DEADLINE, beside.client(alpn).await.get(&beside.uri("/unasked-101"))).await.unwrap().unwrap();
        assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (502, "bad_upgrade"), "{alpn}");
    }
}

#[tokio::test]
async fn any_other_answer_to_the_handshake_is_the_origins_and_passed_on() {
    let beside = Beside::start(Origin::builder(), &[]).await;
    let host = format!("origin.test:{}", beside.origin.port());
    let mut stream = beside.stream().await;
    for (path, status) in [("/status/401", 401), ("/redirect", 302), ("/zen", 200)] {
        let mut stream = beside.stream().await;
        let reply = websocket(&mut stream, &host, path).await.unwrap();
        assert_eq!(reply.status, status, "{path}");
    }
    // And the client's connection can go on.
    assert_eq!(websocket(&mut stream, &host, "/status/404").await.unwrap().status, 404);
    assert_eq!(websocket(&mut stream, &host, "/ws").await.unwrap().status, 101);
    echo(&mut stream, "after all").await.unwrap();
}

#[tokio::test]
async fn a_side_that_ends_is_passed_on_and_the_other_direction_goes_on() {
    async fn answers_after_the_end(mut connection: RawConnection) {
        let Some(head) = connection.read_head().await else { return };
        assert!(head.contains("Upgrade: websocket"));
        let accept = accept_key(WEBSOCKET_KEY);
        connection
            .send(format!("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\nfirst "))
            .await;
        connection.until_closed().await;
        connection.send("last").await;
        connection.close().await;
    }
    let beside = BesideRaw::start(Protocols::Http1, &[], answers_after_the_end).await;
    let mut stream = stream(&beside.setup, beside.origin.port()).await;
    let reply = websocket(&mut stream, &format!("origin.test:{}", beside.origin.port()), "/").await.unwrap();
    assert_eq!(reply.status, 101);
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream, DEADLINE).await.text(), "first last");
}

#[tokio::test]
async fn an_open_websocket_is_closed_when_the_policy_no_longer_allows_it_and_lives_on_when_it_does() {
    let beside = Beside::start(Origin::builder(), &[]).await;
    let port = beside.origin.port();
    let mut stream = beside.stream().await;
    let reply = websocket(&mut stream, &format!("origin.test:{port}"), "/ws").await.unwrap();
    assert_eq!(reply.status, 101);
    echo(&mut stream, "before").await.unwrap();
    beside.setup.set_policy(&destination("origin.test", port, "    deny: [{ paths: [/other] }]\n"));
    beside.setup.sidecar.wait_for_stderr("another policy is in force", DEADLINE).await;
    echo(&mut stream, "still allowed").await.unwrap();
    beside.setup.set_policy(&destination("origin.test", port, "    deny: [{ paths: [/ws] }]\n"));
    let ended = timeout(DEADLINE, Frame::read(&mut stream)).await.expect("it is closed");
    assert!(ended.is_err(), "{ended:?}");
    beside.setup.sidecar.wait_for_audit(|line| line["code"] == "policy_changed", DEADLINE).await;
}

#[tokio::test]
async fn a_websocket_has_no_idle_end_but_what_its_rule_sets() {
    let beside =
        Beside::start(Origin::builder(), &["--idle-body-timeout", "100ms", "--first-byte-timeout", "5s"]).await;
    let port = beside.origin.port();
    let host = format!("origin.test:{port}");
    let mut unlimited = beside.stream().await;
    assert_eq!(websocket(&mut unlimited, &host, "/ws").await.unwrap().status, 101);
    beside.setup.set_policy(&destination("origin.test", port, "    limits: { idle: 300ms }\n"));
    beside.setup.sidecar.wait_for_stderr("another policy is in force", DEADLINE).await;
    let mut limited = beside.stream().await;
    assert_eq!(websocket(&mut limited, &host, "/ws").await.unwrap().status, 101);
    timeout(DEADLINE, Frame::read(&mut limited)).await.expect("the idle one is closed").unwrap_err();
    beside.setup.sidecar.wait_for_audit(|line| line["code"] == "idle_timeout", DEADLINE).await;
    // Idle for longer than the other one was allowed to be.
    echo(&mut unlimited, "alive").await.unwrap();
}

#[tokio::test]
async fn upgrades_to_anything_else_are_ordinary_requests() {
    let beside = Beside::start(Origin::builder(), &[]).await;
    let host = format!("origin.test:{}", beside.origin.port());
    for upgrade in ["h2c", "TLS/1.0", "chrome-devtools", "h2c, websocket-like"] {
        let reply = beside
            .raw(&format!(
                "GET /echo HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: {upgrade}\r\n\
                 HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
            ))
            .await;
        assert!(reply.text().starts_with("HTTP/1.1 200 "), "{upgrade}: {}", reply.text());
        let head = beside.origin.requests().pop().unwrap().head;
        for name in ["upgrade", "http2-settings", "connection"] {
            assert_eq!(head.header(name), None, "{upgrade}");
        }
    }
}

#[tokio::test]
async fn a_websocket_over_http2_is_refused_by_its_stream_and_the_connection_goes_on() {
    let beside = Beside::start(Origin::builder(), &[]).await;
    let mut client = beside.client("h2").await;
    assert_eq!(client.get(&beside.uri("/zen")).await.unwrap().status, 200);
    let connect = Request::connect(format!("origin.test:{}", beside.origin.port())).body(empty_body()).unwrap();
    let refused = timeout(DEADLINE, client.send(connect)).await.expect("it is answered");
    assert!(refused.as_ref().is_ok_and(|response| response.status() == 405), "{refused:?}");
    // The fields of HTTP/1.1's handshake mean nothing in HTTP/2, and don't reach the origin as one.
    let handshake = Request::get(beside.uri("/ws")).header("sec-websocket-key", WEBSOCKET_KEY);
    let fetched = client.fetch(handshake.body(empty_body()).unwrap()).await.unwrap();
    assert_eq!(fetched.status, 426);
    assert_eq!(client.get(&beside.uri("/zen")).await.unwrap().status, 200);
}
