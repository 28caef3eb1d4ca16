//! Each script misbehaves as it says.

use std::time::Duration;

use sandgate_testkit::client::{Client, ClientTls, raw};
use sandgate_testkit::origin::Protocols;
use sandgate_testkit::pki::TestCa;
use sandgate_testkit::raw_origin::scripts::{self, BlackHole, Http2Step};
use sandgate_testkit::raw_origin::{RawConnection, RawOrigin};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::DEADLINE;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n";

async fn reply<R>(script: fn(RawConnection) -> R) -> String
where
    R: Future<Output = ()> + Send + 'static,
{
    let origin = RawOrigin::plain(script).await;
    let reply = raw(origin.addr(), GET, DEADLINE).await.unwrap();
    assert!(reply.closed, "{}", reply.text());
    assert_eq!(origin.requests().len(), 1);
    reply.text()
}

#[tokio::test]
async fn broken_answers_are_broken() {
    assert_eq!(reply(scripts::close_before_head).await, "");
    assert!(!reply(scripts::close_in_head).await.contains("\r\n\r\n"));
    assert!(reply(scripts::close_in_body).await.ends_with("\r\n\r\n12345"));
    assert!(!reply(scripts::close_in_chunks).await.contains("\r\n0\r\n"));
    assert!(!reply(scripts::garbage).await.starts_with("HTTP/"));
    assert_eq!(reply(scripts::two_lengths).await.matches("content-length").count(), 2);
    let both = reply(scripts::chunked_and_length).await;
    assert!(both.contains("transfer-encoding") && both.contains("content-length"), "{both}");
    assert!(reply(scripts::huge_header).await.len() > 1 << 20);
    assert!(reply(scripts::split_header).await.contains("1\nx-b"));
}

#[tokio::test]
async fn a_reused_connection_is_closed_without_an_answer() {
    let origin = RawOrigin::plain(scripts::close_on_reuse).await;
    let uri = "http://origin.test/";
    let mut first = Client::http1(TcpStream::connect(origin.addr()).await.unwrap()).await.unwrap();
    assert_eq!(first.get(uri).await.unwrap().status, 200);
    assert!(first.get(uri).await.is_err());
    let mut second = Client::http1(TcpStream::connect(origin.addr()).await.unwrap()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(second.get(uri).await.unwrap().status, 200);
    }
    assert_eq!((origin.requests().len(), origin.connections()), (4, 2));
}

#[tokio::test]
async fn a_flood_goes_on_for_as_long_as_it_is_read() {
    let origin = RawOrigin::plain(scripts::flood).await;
    let mut stream = TcpStream::connect(origin.addr()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, GET).await.unwrap();
    let mut body = vec![0; 8 << 20];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut body)).await.unwrap().unwrap();
}

async fn http2_statuses(step: fn(usize) -> Http2Step) -> (Vec<Option<u16>>, RawOrigin) {
    let ca = TestCa::new();
    let origin = RawOrigin::tls(&ca, Protocols::Http2, move |connection| scripts::http2(connection, step)).await;
    let tls = ClientTls::new(&ca.root_pem()).alpn(&["h2"]);
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let stream = TcpStream::connect(origin.addr()).await.unwrap();
        let stream = tls.handshake("origin.test", stream).await.unwrap();
        let mut client = Client::over_tls(stream).await.unwrap();
        let answer = tokio::time::timeout(DEADLINE, client.get("https://origin.test/")).await.unwrap();
        statuses.push(answer.ok().map(|fetched| fetched.status.as_u16()));
    }
    (statuses, origin)
}

#[tokio::test]
async fn http2_requests_are_refused_or_left_behind_once() {
    let steps: [fn(usize) -> Http2Step; 4] = [
        |number| if number == 1 { Http2Step::Refuse } else { Http2Step::Answer },
        |number| if number == 1 { Http2Step::Break } else { Http2Step::Answer },
        |number| if number == 1 { Http2Step::GoAwayBelow } else { Http2Step::Answer },
        |number| if number == 1 { Http2Step::GoAwayAt } else { Http2Step::Answer },
    ];
    for (at, step) in steps.into_iter().enumerate() {
        let (statuses, origin) = http2_statuses(step).await;
        assert_eq!(statuses, [None, Some(200)], "step {at}");
        assert_eq!(origin.wait_for_requests(2, DEADLINE).await.len(), 2, "step {at}");
    }
}

#[tokio::test]
async fn silence_and_the_black_hole_say_nothing() {
    let patience = Duration::from_millis(200);
    let silent = RawOrigin::plain(scripts::silence).await;
    let reply = raw(silent.addr(), GET, patience).await.unwrap();
    assert!(!reply.closed && reply.bytes.is_empty());
    let hole = BlackHole::start(patience).await;
    assert!(tokio::time::timeout(patience, TcpStream::connect(hole.addr())).await.is_err());
}
