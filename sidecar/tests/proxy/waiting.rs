//! Requests that wait for a stream that another one has, or for a connection that another one makes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::sync::Arc;

use sandgate_testkit::client::websocket;
use sandgate_testkit::origin::{Origin, Protocols};
use sandgate_testkit::raw_origin::RawConnection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::beside::{Beside, BesideRaw, DEADLINE, client, setup, stream, uri};
use crate::harness::Setup;
use crate::pool::{ONE_STREAM, until_headers};

/// SETTINGS with SETTINGS_MAX_CONCURRENT_STREAMS = 100 (RFC 9113 6.5).
const HUNDRED_STREAMS: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];

/// Gives the one stream there is to the first request, answers none, and counts those that come once it allows more.
async fn allows_more_when_told(mut connection: RawConnection, told: Arc<Notify>) {
    let mut preface = [0; 24];
    connection.io.read_exact(&mut preface).await.unwrap();
    until_headers(&mut connection).await;
    connection.count("the first".into());
    connection.send(ONE_STREAM).await;
    told.notified().await;
    connection.send(HUNDRED_STREAMS).await;
    until_headers(&mut connection).await;
    connection.count("one that waited".into());
    connection.until_closed().await;
}

async fn one_connection_of_one_stream(told: &Arc<Notify>) -> BesideRaw {
    let told = Arc::clone(told);
    let script = move |connection| allows_more_when_told(connection, Arc::clone(&told));
    BesideRaw::start(Protocols::Http2, &["--pool-h2-connections", "1"], script).await
}

/// Starts a request by a client of its own for each of the paths, and waits until all are judged.
async fn ask(beside: &BesideRaw, paths: &[&'static str]) -> JoinSet<u16> {
    let mut asked = JoinSet::new();
    for path in paths {
        let (mut client, uri) = (beside.client("h2").await, beside.uri(path));
        asked.spawn(async move { client.get(&uri).await.map_or(0, |fetched| fetched.status.as_u16()) });
        judged(&beside.setup, path).await;
    }
    asked
}

async fn judged(setup: &Setup, path: &str) {
    setup.sidecar.wait_for_audit(|line| line["kind"] == "decision" && line["path"] == path, DEADLINE).await;
}

#[tokio::test]
async fn who_waits_goes_on_when_the_origin_allows_more_streams() {
    let told = Arc::new(Notify::new());
    let beside = one_connection_of_one_stream(&told).await;
    let _asked = ask(&beside, &["/first", "/second"]).await;
    told.notify_one();
    beside.origin.wait_for_requests(2, DEADLINE).await;
    assert_eq!(beside.origin.connections(), 1);
}

#[tokio::test]
async fn all_who_wait_are_answered_when_the_origin_dies() {
    let told = Arc::new(Notify::new());
    let beside = one_connection_of_one_stream(&told).await;
    let mut asked = ask(&beside, &["/1", "/2", "/3", "/4", "/5", "/6"]).await;
    beside.origin.wait_for_requests(1, DEADLINE).await;
    drop(beside.origin);
    for _ in 0..6 {
        let status = timeout(DEADLINE, asked.join_next()).await.expect("none waits for what will not come");
        assert_eq!(status.unwrap().unwrap(), 502);
    }
}

#[tokio::test]
async fn an_upload_that_goes_on_after_its_response_has_its_stream_until_it_ends() {
    let beside = Beside::start(Origin::builder().max_streams(1), &[]).await;
    let mut upload = beside.stream().await;
    let head =
        format!("POST /zen HTTP/1.1\r\nHost: origin.test:{}\r\nContent-Length: 10\r\n\r\n", beside.origin.port());
    upload.write_all(format!("{head}half-").as_bytes()).await.unwrap();
    let zen = beside.client("h2").await.get(&beside.uri("/zen")).await.unwrap().body;
    let mut reply = Vec::new();
    while !reply.ends_with(&zen) {
        let read = timeout(DEADLINE, upload.read_buf(&mut reply)).await.expect("the response comes");
        assert!(read.unwrap() > 0, "{:?}", String::from_utf8_lossy(&reply));
    }
    for _ in 0..3 {
        let mut other = beside.client("h2").await;
        let uri = beside.uri("/zen");
        let fetched = timeout(DEADLINE, other.get(&uri)).await.expect("it is not queued behind the upload");
        assert_eq!(fetched.unwrap().status, 200);
    }
}

#[tokio::test]
async fn whoever_waits_for_a_connection_learns_nothing_of_an_upgrade_that_fails_meanwhile() {
    let origin = Origin::builder().protocols(Protocols::Http2).start().await;
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = door.local_addr().unwrap().port();
    let setup = setup(&origin.ca().clone(), port, "", &[]).await;
    let mut asked = JoinSet::new();
    let get = |mut client: sandgate_testkit::client::Client, path: &str| {
        let uri = uri(port, path);
        async move { client.get(&uri).await.unwrap().status.as_u16() }
    };
    asked.spawn(get(client(&setup, port, "h2").await, "/zen"));
    let (mut connecting, _) = door.accept().await.unwrap();
    asked.spawn(get(client(&setup, port, "h2").await, "/bytes/10"));
    judged(&setup, "/bytes/10").await;
    let mut upgrade = stream(&setup, port).await;
    let host = format!("origin.test:{port}");
    let upgrade = tokio::spawn(async move { websocket(&mut upgrade, &host, "/ws").await.unwrap().status });
    drop(door.accept().await.unwrap());
    assert_eq!(upgrade.await.unwrap(), 502);
    let target = ("127.0.0.1", origin.port());
    let passing = tokio::spawn(async move {
        let mut to_origin = TcpStream::connect(target).await.unwrap();
        copy_bidirectional(&mut connecting, &mut to_origin).await
    });
    for status in timeout(DEADLINE, asked.join_all()).await.expect("both are answered") {
        assert_eq!(status, 200);
    }
    passing.abort();
}
