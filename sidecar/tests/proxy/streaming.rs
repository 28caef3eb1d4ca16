//! What runs for long, or stops half-way: events, trailers, expectations, half-closed and stalled streams. Nothing is held
//! back, and what is broken off never looks whole.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use sandgate_testkit::client::{Body, consume, empty_body, eventually, pattern_body, read, read_all};
use sandgate_testkit::origin::{Origin, Outcome, Protocols};
use sandgate_testkit::raw_origin::{RawConnection, scripts};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::beside::{Beside, BesideRaw, DEADLINE, ORIGINS, VERSIONS, code};

/// What the sidecar's memory may grow by while a body waits, in KiB: the windows of both sides and the allocator's slack.
const SLACK_KIB: u64 = 24 * 1024;

async fn open(beside: &Beside, alpn: &str, path: &str) -> Response<Incoming> {
    let request = Request::get(beside.uri(path)).body(empty_body()).unwrap();
    let mut client = beside.client(alpn).await;
    let response = client.open(request).await.unwrap();
    // Its connection lives as long as the response.
    std::mem::forget(client);
    response
}

pub(crate) async fn text_until(body: &mut Incoming, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let frame = timeout(DEADLINE, body.frame()).await.expect("it is not held back").expect("it goes on").unwrap();
        text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
    }
    text
}

#[tokio::test]
async fn each_event_arrives_before_the_next_one_is_sent() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
        for alpn in VERSIONS {
            let mut body = open(&beside, alpn, "/sse?events=4").await.into_body();
            for event in 0..4 {
                let got = text_until(&mut body, "\n\n").await;
                assert_eq!(got, format!("id: {event}\ndata: event {event}\n\n"), "{alpn} {protocols:?}");
                beside.origin.release_event();
            }
            assert_eq!(consume(body, |_| ()).await.unwrap().bytes, 0, "{alpn} {protocols:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_origins_stream() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
        for alpn in VERSIONS {
            let request = Request::get(beside.uri("/sse")).body(empty_body()).unwrap();
            let mut client = beside.client(alpn).await;
            let mut response = client.open(request).await.unwrap();
            text_until(response.body_mut(), "\n\n").await;
            drop((response, client));
            let is_over = || beside.origin.requests().iter().all(|request| request.outcome != Outcome::Open);
            eventually(DEADLINE, || {
                // A client of HTTP/1 that closed may only have closed its sending side: what is sent to it shows that.
                if alpn != "h2" {
                    beside.origin.release_event();
                }
                is_over()
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_whole() {
    let beside = Beside::start(Origin::builder().protocols(Protocols::Http1), &[]).await;
    for alpn in VERSIONS {
        let fetched = beside.client(alpn).await.get(&beside.uri("/half-close")).await.unwrap();
        assert_eq!(fetched.text(), "until the end\n", "{alpn}");
    }
}

#[tokio::test]
async fn a_client_that_closed_its_sending_side_still_gets_the_whole_response() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
        let mut stream = beside.stream().await;
        let request = format!("GET /slow-body?pieces=3 HTTP/1.1\r\nHost: origin.test:{}\r\n\r\n", beside.origin.port());
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        beside.origin.wait_for_requests(1, DEADLINE).await;
        beside.origin.release_event();
        beside.origin.release_event();
        let reply = read_all(&mut stream, DEADLINE).await;
        let text = reply.text();
        assert!(reply.closed && text.contains("piece 2\n") && text.ends_with("0\r\n\r\n"), "{protocols:?}: {text}");
    }
}

#[tokio::test]
async fn a_stalled_reader_stalls_no_other_stream_and_costs_no_memory() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
        let mut client = beside.client("h2").await;
        client.get(&beside.uri("/zen")).await.unwrap();
        let before = beside.setup.sidecar.rss_kib();
        let endless = Request::get(beside.uri("/bytes/10000000000")).body(empty_body()).unwrap();
        let mut stalled = client.open(endless).await.unwrap().into_body();
        for _ in 0..20 {
            let request = Request::get(beside.uri("/bytes/2000000")).body(empty_body()).unwrap();
            let got = consume(client.open(request).await.unwrap().into_body(), |_| ());
            assert_eq!(timeout(DEADLINE, got).await.expect("it is not stalled").unwrap().bytes, 2_000_000);
        }
        let mut taken = 0;
        while taken < 32 << 20 {
            taken += stalled.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        let grown = beside.setup.sidecar.peak_rss_kib().saturating_sub(before);
        assert!(grown < SLACK_KIB, "{protocols:?}: {grown} KiB");
    }
}

#[tokio::test]
async fn a_flooding_origin_waits_for_a_slow_client() {
    let beside = BesideRaw::start(Protocols::Http1, &[], scripts::flood).await;
    for alpn in VERSIONS {
        let mut client = beside.client(alpn).await;
        let before = beside.setup.sidecar.rss_kib();
        let request = Request::get(beside.uri("/")).body(empty_body()).unwrap();
        let mut body = client.open(request).await.unwrap().into_body();
        let mut taken = 0;
        while taken < 64 << 20 {
            taken += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
            // The slow side: whatever else is ready runs first, the flood above all.
            tokio::task::yield_now().await;
        }
        let grown = beside.setup.sidecar.peak_rss_kib().saturating_sub(before);
        assert!(grown < SLACK_KIB, "{alpn}: {grown} KiB");
    }
}

#[tokio::test]
async fn an_upload_that_nobody_reads_waits_and_stalls_no_other_request() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
        for alpn in VERSIONS {
            let mut uploading = beside.client(alpn).await;
            let before = beside.setup.sidecar.rss_kib();
            let seen = beside.origin.request_count();
            let request = Request::post(beside.uri("/stall-head")).body(pattern_body(1 << 40, true)).unwrap();
            let upload = tokio::spawn(async move { uploading.fetch(request).await.map(drop) });
            beside.origin.wait_for_requests(seen + 1, DEADLINE).await;
            let mut client = beside.client("h2").await;
            for _ in 0..10 {
                let request = Request::post(beside.uri("/upload")).body(pattern_body(500_000, true)).unwrap();
                let fetched = timeout(DEADLINE, client.fetch(request)).await.expect("it is not stalled").unwrap();
                assert_eq!(fetched.json()["body_bytes"], 500_000, "{alpn} {protocols:?}");
            }
            let grown = beside.setup.sidecar.peak_rss_kib().saturating_sub(before);
            assert!(grown < SLACK_KIB, "{alpn} {protocols:?}: {grown} KiB");
            upload.abort();
        }
    }
}

fn names(trailers: Option<HeaderMap>) -> Vec<String> {
    let mut names: Vec<String> = trailers.unwrap_or_default().keys().map(ToString::to_string).collect();
    names.sort();
    names
}

#[tokio::test]
async fn trailers_pass_whole_to_http2_and_as_announced_to_http1() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
        for alpn in VERSIONS {
            let request = Request::get(beside.uri("/trailers")).header("te", "trailers").body(empty_body()).unwrap();
            let fetched = beside.client(alpn).await.fetch(request).await.unwrap();
            assert_eq!(fetched.text(), "body\n", "{alpn} {protocols:?}");
            let expected: &[&str] = if alpn == "h2" { &["x-announced", "x-unannounced"] } else { &["x-announced"] };
            assert_eq!(names(fetched.trailers), expected, "{alpn} {protocols:?}");
        }
    }
}

/// Frames that are there from the start.
struct Frames(VecDeque<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn body_with_trailers() -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-announced", HeaderValue::from_static("1"));
    trailers.insert("x-unannounced", HeaderValue::from_static("2"));
    Frames([Frame::data(Bytes::from_static(b"body")), Frame::trailers(trailers)].into()).boxed()
}

#[tokio::test]
async fn trailers_of_a_request_pass_whole_to_http2_and_as_announced_to_http1() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
        let request = Request::post(beside.uri("/echo")).header("trailer", "x-announced").body(body_with_trailers());
        let fetched = beside.client("h2").await.fetch(request.unwrap()).await.unwrap();
        assert_eq!(fetched.json()["body_bytes"], 4);
        let mut got: Vec<String> =
            beside.origin.requests().pop().unwrap().trailers.into_iter().map(|(name, _)| name).collect();
        got.sort();
        let expected: &[&str] =
            if protocols == Protocols::Http2 { &["x-announced", "x-unannounced"] } else { &["x-announced"] };
        assert_eq!(got, expected, "{protocols:?}");
    }
}

/// Sends a head that expects 100, reads one head of an answer, and sends the body if that was 100.
async fn expecting(beside: &Beside, path: &str) -> (bool, String) {
    let mut stream = beside.stream().await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: origin.test:{}\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
        beside.origin.port()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = Vec::new();
    while !first.ends_with(b"\r\n\r\n") {
        first.push(timeout(DEADLINE, stream.read_u8()).await.expect("an answer comes").unwrap());
    }
    let asked = first.starts_with(b"HTTP/1.1 100 ");
    if asked {
        first.clear();
        stream.write_all(b"hello").await.unwrap();
    }
    let rest = read_all(&mut stream, DEADLINE).await;
    (asked, String::from_utf8(first).unwrap() + &rest.text())
}

#[tokio::test]
async fn the_body_is_asked_for_when_the_origin_wants_it_or_says_nothing() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
        for path in ["/expect-100/continue", "/expect-100/none"] {
            let (asked, answer) = expecting(&beside, path).await;
            assert!(asked && answer.contains("5 bytes\n"), "{path} {protocols:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_final_status_comes_at_once_and_the_body_is_never_asked_for() {
    for protocols in ORIGINS {
        // Longer than the test may take: nothing but the origin's word can open the way.
        let beside = Beside::start(Origin::builder().protocols(protocols), &["--continue-wait", "5m"]).await;
        let (asked, answer) = expecting(&beside, "/expect-100/final").await;
        assert!(!asked && answer.starts_with("HTTP/1.1 417 "), "{protocols:?}: {answer}");
        assert_eq!(beside.origin.requests()[0].body_bytes, 0, "{protocols:?}");
        // And what comes next is not taken for that body.
        assert_eq!(beside.client("h2").await.get(&beside.uri("/zen")).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn an_origin_that_says_nothing_is_a_504_by_name() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &["--first-byte-timeout", "300ms"]).await;
        for alpn in VERSIONS {
            let fetched = beside.client(alpn).await.get(&beside.uri("/stall-head")).await.unwrap();
            assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (504, "response_timeout"), "{alpn}");
        }
    }
}

#[tokio::test]
async fn a_body_that_stalls_is_broken_off_and_does_not_look_whole() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &["--idle-body-timeout", "300ms"]).await;
        for alpn in VERSIONS {
            let response = open(&beside, alpn, "/stall-body").await;
            assert_eq!(response.status(), 200);
            timeout(DEADLINE, read(response)).await.expect("it ends").expect_err("it is not whole");
        }
        let ended = |line: &serde_json::Value| line["code"] == "idle_timeout";
        beside.setup.sidecar.wait_for_audit(ended, DEADLINE).await;
    }
}

async fn status_of<F, R>(script: F, alpn: &str) -> Result<(u16, String), String>
where
    F: Fn(RawConnection) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let beside = BesideRaw::start(Protocols::Http1, &[], script).await;
    let mut client = beside.client(alpn).await;
    let fetched = timeout(DEADLINE, client.get(&beside.uri("/"))).await.expect("it ends");
    let fetched = fetched.map_err(|error| error.to_string())?;
    Ok((fetched.status.as_u16(), fetched.text()))
}

#[tokio::test]
async fn a_broken_answer_is_a_502_by_name() {
    for alpn in VERSIONS {
        let refused = |answer: Result<(u16, String), String>, expected: &str| {
            let (status, body) = answer.unwrap();
            assert_eq!(status, 502, "{alpn} {expected}: {body}");
            assert!(body.contains(expected), "{alpn} {expected}: {body}");
        };
        refused(status_of(scripts::close_before_head, alpn).await, "upstream_closed");
        refused(status_of(scripts::close_in_head, alpn).await, "upstream_");
        refused(status_of(scripts::garbage, alpn).await, "upstream_protocol_error");
        refused(status_of(scripts::two_lengths, alpn).await, "upstream_protocol_error");
        refused(status_of(scripts::huge_header, alpn).await, "upstream_protocol_error");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_off_does_not_look_whole() {
    for alpn in VERSIONS {
        status_of(scripts::close_in_body, alpn).await.expect_err("half a body of announced length");
        status_of(scripts::close_in_chunks, alpn).await.expect_err("a chunked body without its end");
    }
}

#[tokio::test]
async fn an_answer_with_chunks_and_a_length_has_one_reading() {
    for alpn in VERSIONS {
        let (status, body) = status_of(scripts::chunked_and_length, alpn).await.unwrap();
        assert_eq!((status, body.as_str()), (200, "ok\n"), "{alpn}");
    }
}

#[tokio::test]
async fn an_unasked_second_answer_is_never_the_answer_to_another_request() {
    let beside = BesideRaw::start(Protocols::Http1, &[], scripts::extra_response).await;
    for alpn in VERSIONS {
        let mut client = beside.client(alpn).await;
        for _ in 0..5 {
            let fetched = client.get(&beside.uri("/")).await.unwrap();
            assert!(fetched.status == 502 || fetched.text() == "ok\n", "{alpn}: {fetched:?}");
        }
    }
}
