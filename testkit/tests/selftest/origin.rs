//! The routes, over HTTP/1.1 and HTTP/2, and the journal.

use std::time::Duration;

use http_body_util::BodyExt as _;
use sandgate_testkit::client::{Client, bytes_body, consume, empty_body, pattern_body};
use sandgate_testkit::digest::{pattern_sha256, sha256};
use sandgate_testkit::origin::{Origin, Outcome};

use super::{DEADLINE, client, uri};

/// How long an event that was not released is given to come all the same.
const UNRELEASED: Duration = Duration::from_millis(100);

#[tokio::test]
async fn echo_tells_what_arrived_and_so_does_the_journal() {
    let origin = Origin::builder().start().await;
    for alpn in ["http/1.1", "h2"] {
        let mut client = client(&origin, alpn).await;
        let echoed = client.post(&uri(&origin, "/echo?a=b"), "hello").await.unwrap().json();
        assert_eq!(echoed["method"], "POST", "{alpn}");
        assert_eq!(echoed["target"], "/echo?a=b", "{alpn}");
        assert_eq!(echoed["body_sha256"], sha256(b"hello"), "{alpn}");
        let last = origin.requests().pop().unwrap();
        assert_eq!(last.body_sha256, Some(sha256(b"hello")), "{alpn}");
        let tls = last.tls.unwrap();
        assert_eq!((tls.sni.as_deref(), tls.alpn.as_deref()), (Some("origin.test"), Some(alpn)));
    }
    let connections: Vec<usize> = origin.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [1, 2]);
}

#[tokio::test]
async fn bodies_arrive_whole_in_both_directions() {
    const LENGTH: u64 = 5_000_000;
    let origin = Origin::builder().start().await;
    for alpn in ["http/1.1", "h2"] {
        let mut client = client(&origin, alpn).await;
        for path in ["/bytes", "/chunked"] {
            let fetched = client.get(&uri(&origin, &format!("{path}/{LENGTH}"))).await.unwrap();
            assert_eq!(sha256(&fetched.body), pattern_sha256(LENGTH), "{alpn} {path}");
            let announced = fetched.headers.get("content-length").map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(announced, (path == "/bytes").then(|| LENGTH.to_string()), "{alpn} {path}");
        }
        let body = vec![7; 3_000_000];
        let answer = client.post(&uri(&origin, "/upload"), body.clone()).await.unwrap().json();
        assert_eq!(
            (&answer["body_bytes"], &answer["body_sha256"]),
            (&3_000_000.into(), &sha256(&body).into()),
            "{alpn}"
        );
        let unhashed = client.post(&uri(&origin, "/upload?hash=no"), body).await.unwrap().json();
        assert!(unhashed["body_sha256"].is_null(), "{alpn}: {unhashed}");
    }
}

#[tokio::test]
async fn an_event_is_sent_only_after_its_release() {
    let origin = Origin::builder().start().await;
    for alpn in ["http/1.1", "h2"] {
        let mut client = client(&origin, alpn).await;
        let mut body = open(&mut client, &origin, "/sse?events=3").await;
        for event in 0..3 {
            let frame = tokio::time::timeout(DEADLINE, body.frame()).await.unwrap().unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), format!("id: {event}\ndata: event {event}\n\n"), "{alpn}");
            let early = tokio::time::timeout(UNRELEASED, body.frame()).await;
            assert_eq!(early.is_ok(), event == 2, "{alpn}: only the end comes unreleased, not event {}", event + 1);
            origin.release_event();
        }
        assert!(body.collect().await.unwrap().to_bytes().is_empty(), "{alpn}");
    }
}

#[tokio::test]
async fn a_client_can_release_events_itself() {
    let origin = Origin::builder().start().await;
    let mut reader = client(&origin, "h2").await;
    let mut body = open(&mut reader, &origin, "/sse").await;
    body.frame().await.unwrap().unwrap();
    client(&origin, "http/1.1").await.post(&uri(&origin, "/sse/ack"), "").await.unwrap();
    let frame = tokio::time::timeout(DEADLINE, body.frame()).await.unwrap().unwrap().unwrap();
    assert!(frame.into_data().unwrap().starts_with(b"id: 1"));
}

#[tokio::test]
async fn a_client_that_leaves_is_recorded() {
    let origin = Origin::builder().start().await;
    for (number, alpn) in ["http/1.1", "h2"].into_iter().enumerate() {
        let mut client = client(&origin, alpn).await;
        let body = open(&mut client, &origin, "/stall-body").await;
        assert_eq!(origin.requests()[number].outcome, Outcome::Open);
        drop((body, client));
        origin.wait_until(DEADLINE, |requests| requests[number].outcome == Outcome::Aborted).await;
    }
}

#[tokio::test]
async fn a_stalled_head_never_comes() {
    let origin = Origin::builder().start().await;
    let mut client = client(&origin, "http/1.1").await;
    let path = uri(&origin, "/stall-head");
    let request = client.get(&path);
    let arrived = origin.wait_for_requests(1, DEADLINE);
    tokio::select! {
        answer = request => panic!("an answer came: {answer:?}"),
        requests = arrived => assert_eq!(requests[0].outcome, Outcome::Open),
    }
}

#[tokio::test]
async fn trailers_and_interim_responses_are_sent() {
    let origin = Origin::builder().start().await;
    let mut h2 = client(&origin, "h2").await;
    let trailers = h2.get(&uri(&origin, "/trailers")).await.unwrap().trailers.unwrap();
    assert_eq!((trailers["x-announced"].as_bytes(), trailers["x-unannounced"].as_bytes()), (&b"yes"[..], &b"yes"[..]));
    let mut h1 = client(&origin, "http/1.1").await;
    let request = http::Request::get(uri(&origin, "/trailers")).header("te", "trailers").body(empty_body()).unwrap();
    let trailers = h1.fetch(request).await.unwrap().trailers.unwrap();
    assert_eq!(trailers["x-announced"], "yes");
    assert_eq!(h1.get(&uri(&origin, "/informational")).await.unwrap().text(), "after 103\n");
}

#[tokio::test]
async fn expectations_are_met_refused_or_ignored() {
    let origin = Origin::builder().start().await;
    for (path, status) in [("continue", 200), ("none", 200), ("final", 417)] {
        let mut client = client(&origin, "http/1.1").await;
        let request = http::Request::post(uri(&origin, &format!("/expect-100/{path}")));
        let request = request.header("expect", "100-continue").body(bytes_body("hello")).unwrap();
        assert_eq!(client.fetch(request).await.unwrap().status, status, "{path}");
    }
}

#[tokio::test]
async fn each_cookie_line_is_told() {
    let origin = Origin::builder().start().await;
    let mut client = client(&origin, "h2").await;
    let request = http::Request::get(uri(&origin, "/cookies")).header("cookie", "a=1").header("cookie", "b=2");
    let fetched = client.fetch(request.body(empty_body()).unwrap()).await.unwrap();
    assert_eq!(fetched.json(), serde_json::json!(["a=1", "b=2"]));
    assert_eq!(fetched.headers.get_all("set-cookie").iter().count(), 2);
}

#[tokio::test]
async fn statuses_redirects_and_unknown_paths_are_answered() {
    let origin = Origin::builder().start().await;
    let mut client = client(&origin, "http/1.1").await;
    for (path, status) in
        [("/status/503", 503), ("/status/204", 204), ("/redirect", 302), ("/nothing", 404), ("/", 200)]
    {
        assert_eq!(client.get(&uri(&origin, path)).await.unwrap().status, status, "{path}");
    }
    assert_eq!(origin.connections().len(), 1, "keep-alive holds");
}

#[tokio::test]
async fn long_bodies_are_streamed_in_both_directions() {
    const LENGTH: u64 = 64 << 20;
    let origin = Origin::builder().without_requests().start().await;
    for alpn in ["http/1.1", "h2"] {
        let mut client = client(&origin, alpn).await;
        let body = open(&mut client, &origin, &format!("/bytes/{LENGTH}")).await;
        let consumed = consume(body, |_| {}).await.unwrap();
        assert_eq!((consumed.bytes, consumed.sha256), (LENGTH, pattern_sha256(LENGTH)), "{alpn}");
        for announced in [true, false] {
            let request = http::Request::post(uri(&origin, "/upload")).body(pattern_body(LENGTH, announced)).unwrap();
            let answer = client.fetch(request).await.unwrap().json();
            assert_eq!(answer["body_sha256"], pattern_sha256(LENGTH), "{alpn} {announced}");
        }
    }
    assert_eq!((origin.request_count(), origin.requests().len()), (6, 0));
}

async fn open(client: &mut Client, origin: &Origin, path: &str) -> hyper::body::Incoming {
    let request = http::Request::get(uri(origin, path)).body(empty_body()).unwrap();
    client.open(request).await.unwrap().into_body()
}
