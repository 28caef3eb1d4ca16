//! Origins that answer before they have the whole request: what the client sends after that is counted, limited and judged.

#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

use http::Request;
use sandgate_testkit::client::pattern_body;
use sandgate_testkit::origin::Protocols;
use sandgate_testkit::pki::TestCa;
use sandgate_testkit::raw_origin::scripts::{self, Http2Step};
use sandgate_testkit::raw_origin::{RawConnection, RawOrigin};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::beside::{VERSIONS, client, code, destination, setup, stream, uri};
use crate::harness::{DEADLINE, Setup, until};

const HALF: usize = 500_000;
const ONE_AT_A_TIME: &str = "    limits: {concurrent_requests: 1}\n";

/// Answers each head at once, whatever follows it.
async fn answer_early(mut connection: RawConnection) {
    while connection.read_head().await.is_some_and(|head| head.starts_with("GET")) {
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    }
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly").await;
    connection.until_closed().await;
}

async fn start() -> (RawOrigin, Setup) {
    let ca = TestCa::new();
    let origin = RawOrigin::tls(&ca, Protocols::Http1, answer_early).await;
    let setup = setup(&ca, origin.port(), ONE_AT_A_TIME, &[]).await;
    (origin, setup)
}

/// Sends one half of a body and reads the whole response.
async fn half_an_upload(setup: &Setup, port: u16) -> TlsStream<TcpStream> {
    let mut stream = stream(setup, port).await;
    let length = 2 * HALF;
    let head = format!("POST /upload HTTP/1.1\r\nHost: origin.test:{port}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[b'x'; HALF]).await.unwrap();
    stream.flush().await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"early") {
        let read = tokio::time::timeout(DEADLINE, stream.read_buf(&mut reply)).await;
        assert!(read.expect("a response").unwrap() > 0, "{:?}", String::from_utf8_lossy(&reply));
    }
    stream
}

fn ends_of_uploads(setup: &Setup) -> usize {
    let is_end = |line: &&serde_json::Value| line["kind"] == "request" && line["path"] == "/upload";
    setup.sidecar.audit_lines().iter().filter(is_end).count()
}

#[tokio::test]
async fn an_upload_that_goes_on_after_the_response_is_counted_and_keeps_its_place_until_it_ends() {
    let (origin, setup) = start().await;
    let mut upload = half_an_upload(&setup, origin.port()).await;
    let mut other = client(&setup, origin.port(), "http/1.1").await;
    let refused = other.get(&uri(origin.port(), "/")).await.unwrap();
    assert_eq!((refused.status.as_u16(), code(&refused)), (429, "too_many_requests".to_owned()));
    assert_eq!(ends_of_uploads(&setup), 0, "the request has not ended");
    upload.write_all(&[b'x'; HALF]).await.unwrap();
    upload.flush().await.unwrap();
    let is_end = |line: &serde_json::Value| line["kind"] == "request" && line["path"] == "/upload";
    let line = setup.sidecar.wait_for_audit(is_end, DEADLINE).await;
    assert_eq!((&line["bytes_up"], &line["bytes_down"]), (&(2 * HALF).into(), &5.into()));
    assert_eq!((&line["status"], &line["code"]), (&200.into(), &serde_json::Value::Null));
    assert_eq!(other.get(&uri(origin.port(), "/")).await.unwrap().status, 200, "its place is free");
    assert_eq!(ends_of_uploads(&setup), 1);
}

#[tokio::test]
async fn a_client_that_leaves_its_upload_after_the_response_frees_its_place() {
    let (origin, setup) = start().await;
    drop(half_an_upload(&setup, origin.port()).await);
    let is_end = |line: &serde_json::Value| line["kind"] == "request" && line["path"] == "/upload";
    let line = setup.sidecar.wait_for_audit(is_end, DEADLINE).await;
    assert_eq!((&line["bytes_up"], &line["status"]), (&HALF.into(), &200.into()));
    let mut other = client(&setup, origin.port(), "http/1.1").await;
    assert_eq!(other.get(&uri(origin.port(), "/")).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_upload_that_goes_on_after_the_response_ends_when_the_policy_no_longer_allows_it() {
    let (origin, setup) = start().await;
    let mut upload = half_an_upload(&setup, origin.port()).await;
    let deny = format!("{ONE_AT_A_TIME}    deny: [{{paths: [/upload]}}]\n");
    setup.enforce(&destination("origin.test", origin.port(), &deny)).await;
    let revoked = |line: &serde_json::Value| line["kind"] == "request" && line["code"] == "policy_changed";
    let line = setup.sidecar.wait_for_audit(revoked, DEADLINE).await;
    assert_eq!((&line["path"], &line["status"]), (&"/upload".into(), &200.into()));
    assert!(line["bytes_up"].as_u64() <= Some(HALF as u64), "{line}");
    // The connection is severed, which whoever goes on writing learns.
    let cut = async {
        while upload.write_all(&[b'x'; 1024]).await.is_ok() && upload.flush().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, cut).await.expect("the upload is cut off");
    until("open connections", async || setup.metric("sandgate_open_connections").await == Some(0.0)).await;
    assert_eq!(ends_of_uploads(&setup), 1);
}

/// The origin's window stays closed, so nobody asks the body for more: the account ends without it.
#[tokio::test]
async fn an_upload_that_the_origin_takes_no_more_of_after_its_response_ends_with_the_idle_time() {
    for alpn in VERSIONS {
        let ca = TestCa::new();
        let answer = |connection| scripts::http2(connection, |_| Http2Step::Answer);
        let origin = RawOrigin::tls(&ca, Protocols::Http2, answer).await;
        let setup = setup(&ca, origin.port(), "    limits: {concurrent_requests: 1, idle: 300ms}\n", &[]).await;
        let mut uploading = client(&setup, origin.port(), alpn).await;
        let request = Request::post(uri(origin.port(), "/upload")).body(pattern_body(1 << 30, true)).unwrap();
        assert_eq!(uploading.fetch(request).await.unwrap().status, 200);
        let is_end = |line: &serde_json::Value| line["kind"] == "request" && line["path"] == "/upload";
        let line = setup.sidecar.wait_for_audit(is_end, DEADLINE).await;
        assert_eq!((&line["code"], &line["status"]), (&"idle_timeout".into(), &200.into()), "{alpn}");
        assert!(line["bytes_up"].as_u64() > Some(0), "{line}");
        let mut other = client(&setup, origin.port(), alpn).await;
        assert_eq!(other.get(&uri(origin.port(), "/")).await.unwrap().status, 200, "{alpn}: its place is free");
    }
}
