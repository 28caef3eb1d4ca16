//! HTTP/1 clients that go away while their request runs are noticed though nobody reads from them, and those that only have
//! nothing more to say are not taken for gone.

#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

use sandgate_testkit::client::{RawReply, WEBSOCKET_KEY, http_get, read_all};
use sandgate_testkit::origin::websocket::accept_key;
use sandgate_testkit::origin::{Origin, Outcome, Protocols};
use sandgate_testkit::raw_origin::RawConnection;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::beside::{BesideRaw, stream};
use crate::harness::{DEADLINE, Setup, allow, resolve, until};

/// A sidecar that lets one request at a time through to an origin.
async fn one_at_a_time(protocols: Protocols) -> (Origin, Setup) {
    let origin = Origin::builder().protocols(protocols).start().await;
    let scheme = if protocols == Protocols::Plain { "    scheme: http\n" } else { "" };
    let policy = format!("{}{scheme}    limits: {{concurrent_requests: 1}}\n", allow(&origin));
    let setup = Setup::start(origin.ca(), &policy, &["--resolve", &resolve(&origin)]).await;
    (origin, setup)
}

fn get(origin: &Origin, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: origin.test:{}\r\n\r\n", origin.port())
}

/// A request in absolute form on a connection of its own.
async fn plain(setup: &Setup, origin: &Origin, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(setup.sidecar.proxy()).await.unwrap();
    let target = format!("http://origin.test:{}{path}", origin.port());
    stream.write_all(get(origin, &target).as_bytes()).await.unwrap();
    origin.wait_for_requests(1, DEADLINE).await;
    stream
}

/// The origin saw its request broken off, the log says by whom, and nothing is left of its connection.
async fn is_noticed(origin: &Origin, setup: &Setup) {
    origin.wait_until(DEADLINE, |requests| requests[0].outcome == Outcome::Aborted).await;
    setup.sidecar.wait_for_audit(|line| line["kind"] == "request" && line["code"] == "client_closed", DEADLINE).await;
    setup.wait_for_metric("sandgate_open_connections", |open| open == 0.0).await;
}

async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains(end) {
        let read = tokio::time::timeout(DEADLINE, stream.read_buf(&mut bytes)).await;
        let read = read.unwrap_or_else(|_| panic!("{:?} has no {end:?}", String::from_utf8_lossy(&bytes)));
        assert!(read.unwrap() > 0, "{:?} has no {end:?}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn statuses(reply: &RawReply) -> usize {
    reply.text().matches("HTTP/1.1 200").count()
}

#[tokio::test]
async fn a_client_that_dies_before_the_response_frees_its_place() {
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let (origin, setup) = one_at_a_time(protocols).await;
        let mut stream = setup.tls_stream(&origin).await;
        stream.write_all(get(&origin, "/stall-head").as_bytes()).await.unwrap();
        origin.wait_for_requests(1, DEADLINE).await;
        // The socket closes without TLS's farewell, as that of a process that was killed does.
        drop(stream);
        is_noticed(&origin, &setup).await;
        setup.serves(&origin).await;
    }
}

#[tokio::test]
async fn a_client_that_dies_after_its_upload_frees_its_place() {
    let (origin, setup) = one_at_a_time(Protocols::Both).await;
    let mut stream = setup.tls_stream(&origin).await;
    let head = get(&origin, "/stall-head").replace("GET", "POST");
    let head = head.replace("\r\n\r\n", "\r\nContent-Length: 2000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[b'x'; 1000]).await.unwrap();
    origin.wait_for_requests(1, DEADLINE).await;
    stream.write_all(&[b'x'; 1000]).await.unwrap();
    stream.flush().await.unwrap();
    drop(stream);
    is_noticed(&origin, &setup).await;
    setup.serves(&origin).await;
}

#[tokio::test]
async fn a_plain_client_that_resets_before_the_response_frees_its_place() {
    let (origin, setup) = one_at_a_time(Protocols::Plain).await;
    let stream = plain(&setup, &origin, "/stall-head").await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    is_noticed(&origin, &setup).await;
    assert_eq!(statuses(&zen(&setup, &origin).await), 1);
}

async fn zen(setup: &Setup, origin: &Origin) -> RawReply {
    let mut stream = plain(setup, origin, "/zen").await;
    stream.shutdown().await.unwrap();
    read_all(&mut stream, DEADLINE).await
}

#[tokio::test]
async fn a_client_that_dies_while_its_events_are_silent_is_noticed() {
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let (origin, setup) = one_at_a_time(protocols).await;
        let mut stream = setup.tls_stream(&origin).await;
        stream.write_all(get(&origin, "/sse").as_bytes()).await.unwrap();
        read_until(&mut stream, "data: event 0\n\n").await;
        drop(stream);
        is_noticed(&origin, &setup).await;
        setup.serves(&origin).await;
    }
}

/// The end of what a client sends says nothing; a reset that comes after it does.
#[tokio::test]
async fn a_client_that_resets_after_its_end_is_noticed() {
    let (origin, setup) = one_at_a_time(Protocols::Plain).await;
    let mut stream = plain(&setup, &origin, "/sse").await;
    stream.shutdown().await.unwrap();
    read_until(&mut stream, "data: event 0\n\n").await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    is_noticed(&origin, &setup).await;

    let (origin, setup) = one_at_a_time(Protocols::Both).await;
    let mut stream = setup.tls_stream(&origin).await;
    stream.write_all(get(&origin, "/stall-head").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    origin.wait_for_requests(1, DEADLINE).await;
    stream.get_ref().0.set_zero_linger().unwrap();
    drop(stream);
    is_noticed(&origin, &setup).await;
}

#[tokio::test]
async fn a_client_that_ends_in_order_after_its_request_gets_the_whole_response() {
    let (origin, setup) = one_at_a_time(Protocols::Both).await;
    let mut stream = setup.tls_stream(&origin).await;
    stream.write_all(get(&origin, "/slow-body?pieces=3").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    read_until(&mut stream, "piece 0\n").await;
    origin.release_event();
    origin.release_event();
    let reply = read_all(&mut stream, DEADLINE).await;
    assert!(
        reply.closed && reply.text().contains("piece 2\n") && reply.text().ends_with("0\r\n\r\n"),
        "{}",
        reply.text()
    );

    let (origin, setup) = one_at_a_time(Protocols::Plain).await;
    let mut stream = plain(&setup, &origin, "/slow-body?pieces=3").await;
    stream.shutdown().await.unwrap();
    read_until(&mut stream, "piece 0\n").await;
    origin.release_event();
    origin.release_event();
    let reply = read_all(&mut stream, DEADLINE).await;
    assert!(
        reply.closed && reply.text().contains("piece 2\n") && reply.text().ends_with("0\r\n\r\n"),
        "{}",
        reply.text()
    );
}

/// What comes early is more than is read ahead.
#[tokio::test]
async fn requests_that_come_while_another_runs_are_answered_in_their_turn() {
    let (origin, setup) = one_at_a_time(Protocols::Both).await;
    let mut stream = setup.tls_stream(&origin).await;
    stream.write_all(get(&origin, "/slow-body?pieces=2").as_bytes()).await.unwrap();
    read_until(&mut stream, "piece 0\n").await;
    let upload = format!("POST /echo HTTP/1.1\r\nHost: origin.test:{}\r\nContent-Length: 50000\r\n\r\n", origin.port());
    let pipelined = [get(&origin, "/zen").repeat(100).into_bytes(), upload.into_bytes(), vec![b'x'; 50_000]].concat();
    stream.write_all(&pipelined).await.unwrap();
    stream.write_all(get(&origin, "/zen").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(origin.request_count(), 1, "a request had its turn too early");
    origin.release_event();
    let reply = read_all(&mut stream, DEADLINE).await;
    assert!(reply.closed);
    assert_eq!(statuses(&reply), 102, "{}", reply.text());
    assert!(reply.text().contains("\"body_bytes\":50000"), "{}", reply.text());
    until("the log", async || {
        setup.sidecar.audit_lines().iter().filter(|line| line["kind"] == "request").count() == 103
    })
    .await;
    assert!(setup.sidecar.audit_lines().iter().all(|line| line["code"].is_null()), "a request failed");
}

/// Lets the origin of the test below answer.
static EARLY_IS_SENT: Notify = Notify::const_new();

#[tokio::test]
async fn what_a_client_sends_before_its_upgrade_is_answered_is_not_lost() {
    async fn switch_late(mut connection: RawConnection) {
        let Some(_) = connection.read_head().await else { return };
        EARLY_IS_SENT.notified().await;
        let accept = accept_key(WEBSOCKET_KEY);
        let fields = format!("Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}");
        connection.send(format!("HTTP/1.1 101 S\r\n{fields}\r\n\r\n")).await;
        let early = connection.read_head().await.unwrap_or_default();
        connection.send(format!("{} bytes\r\n\r\n", early.len())).await;
        connection.close().await;
    }
    let beside = BesideRaw::start(Protocols::Http1, &[], switch_late).await;
    let mut stream = stream(&beside.setup, beside.origin.port()).await;
    let head = format!(
        "GET / HTTP/1.1\r\nHost: origin.test:{}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {WEBSOCKET_KEY}\r\n\r\n",
        beside.origin.port()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    beside.origin.wait_for_requests(1, DEADLINE).await;
    stream.write_all(&[b'x'; 6000]).await.unwrap();
    stream.write_all(b"\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    // Time enough for the sidecar to have seen it.
    http_get(beside.setup.sidecar.admin(), "/healthz").await.unwrap();
    EARLY_IS_SENT.notify_one();
    let reply = read_all(&mut stream, DEADLINE).await.text();
    assert!(reply.starts_with("HTTP/1.1 101") && reply.ends_with("6004 bytes\r\n\r\n"), "{reply}");
}

#[tokio::test]
async fn a_tunnel_that_is_asked_for_early_begins_with_what_came_with_it() {
    let (origin, setup) = one_at_a_time(Protocols::Plain).await;
    let mut stream = plain(&setup, &origin, "/slow-body?pieces=2").await;
    read_until(&mut stream, "piece 0\n").await;
    let authority = format!("origin.test:{}", origin.port());
    let connect = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let upload = format!("POST /echo HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 50000\r\n\r\n");
    stream.write_all(&[connect.into_bytes(), upload.into_bytes(), vec![b'x'; 50_000]].concat()).await.unwrap();
    origin.release_event();
    let reply = read_until(&mut stream, "\"body_bytes\":50000").await;
    assert_eq!(reply.matches("HTTP/1.1 200").count(), 2, "{reply}");
}
