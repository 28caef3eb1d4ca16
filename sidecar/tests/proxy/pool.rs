//! Connections to origins: reused, shared, bounded, kept apart by what made them; and requests that are sent again, or not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use sandgate_testkit::client::{bytes_body, empty_body, eventually, websocket};
use sandgate_testkit::origin::{Origin, Protocols, RecordedConnection};
use sandgate_testkit::pki::TestCa;
use sandgate_testkit::raw_origin::{RawConnection, scripts, scripts::Http2Step};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::beside::{Beside, BesideRaw, DEADLINE, ORIGINS, VERSIONS, client, code, destination, replace, setup, uri};
use crate::harness::Setup;

#[tokio::test]
async fn one_connection_serves_one_request_after_the_other() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
        for alpn in VERSIONS.repeat(3) {
            let mut client = beside.client(alpn).await;
            for path in ["/zen", "/bytes/100000", "/chunked/5", "/status/204"] {
                client.get(&beside.uri(path)).await.unwrap();
            }
            client.post(&beside.uri("/upload"), "body").await.unwrap();
        }
        assert_eq!(beside.origin.request_count(), 30);
        assert_eq!(beside.origin.connections().len(), 1, "{protocols:?}");
    }
}

/// Starts `count` requests that stay open until they are released, half by each of two clients.
async fn hold_open(beside: &Beside, count: usize) -> JoinSet<u16> {
    let mut open = JoinSet::new();
    for _ in 0..2 {
        let client = beside.client("h2").await;
        let sandgate_testkit::client::Client::Http2(sender) = client else { panic!("ALPN chose HTTP/2") };
        for _ in 0..count / 2 {
            let (mut sender, uri) = (sender.clone(), beside.uri("/slow-body?pieces=2"));
            open.spawn(async move {
                let response = sender.send_request(Request::get(uri).body(empty_body()).unwrap()).await.unwrap();
                sandgate_testkit::client::read(response).await.unwrap().status.as_u16()
            });
        }
    }
    open
}

async fn release_until_all_are_answered(beside: &Beside, mut open: JoinSet<u16>) {
    while !open.is_empty() {
        beside.origin.release_event();
        while let Some(ended) = open.try_join_next() {
            assert_eq!(ended.unwrap(), 200);
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hundred_requests_share_one_http2_connection() {
    let beside = Beside::start(Origin::builder(), &[]).await;
    let open = hold_open(&beside, 100).await;
    beside.origin.wait_for_requests(100, DEADLINE).await;
    assert_eq!(beside.origin.connections().len(), 1);
    release_until_all_are_answered(&beside, open).await;
}

#[tokio::test]
async fn with_no_stream_free_there_are_four_connections_and_the_rest_waits() {
    for streams in [1, 2] {
        let beside = Beside::start(Origin::builder().max_streams(streams), &[]).await;
        let open = hold_open(&beside, 20).await;
        beside.origin.wait_for_requests(4 * streams as usize, DEADLINE).await;
        assert_eq!(beside.origin.connections().len(), 4, "{streams}");
        timeout(DEADLINE * 2, release_until_all_are_answered(&beside, open)).await.expect("none waits for ever");
        assert_eq!((beside.origin.request_count(), beside.origin.connections().len()), (20, 4), "{streams}");
    }
}

#[tokio::test]
async fn a_request_is_not_queued_behind_a_stream_that_never_ends() {
    for _ in 0..5 {
        let beside = Beside::start(Origin::builder().max_streams(1), &[]).await;
        let (mut first, mut second) = (beside.client("h2").await, beside.client("h2").await);
        let endless = Request::get(beside.uri("/sse")).body(empty_body()).unwrap();
        let zen = beside.uri("/zen");
        // Both at once: when the second looks for a stream, the origin may not have said yet how many it allows.
        let both = async { tokio::join!(first.open(endless), second.get(&zen)) };
        let (endless, zen) = timeout(DEADLINE, both).await.expect("both are answered");
        assert_eq!((endless.unwrap().status().as_u16(), zen.unwrap().status.as_u16()), (200, 200));
    }
}

/// SETTINGS with SETTINGS_MAX_CONCURRENT_STREAMS = 1 (RFC 9113 6.5).
pub(crate) const ONE_STREAM: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1];
const HEADERS: u8 = 1;

/// Reads HTTP/2 frames up to the next request's.
pub(crate) async fn until_headers(connection: &mut RawConnection) {
    let mut frame = [0; 9];
    while frame[3] != HEADERS {
        connection.io.read_exact(&mut frame).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize];
        connection.io.read_exact(&mut payload).await.unwrap();
    }
}

/// Takes a request on the first connection, says only when told that it is the one stream there, and never answers it.
async fn says_late(mut connection: RawConnection, told: Arc<Notify>) {
    if connection.number > 1 {
        return scripts::http2(connection, |_| Http2Step::Answer).await;
    }
    let mut preface = [0; 24];
    connection.io.read_exact(&mut preface).await.unwrap();
    until_headers(&mut connection).await;
    connection.count("the first".into());
    told.notified().await;
    connection.send(ONE_STREAM).await;
    connection.until_closed().await;
}

#[tokio::test]
async fn nobody_shares_a_connection_before_its_origin_has_said_how_many_streams_it_allows() {
    let told = Arc::new(Notify::new());
    let script = Arc::clone(&told);
    let beside =
        BesideRaw::start(Protocols::Http2, &[], move |connection| says_late(connection, Arc::clone(&script))).await;
    let (mut first, mut second) = (beside.client("h2").await, beside.client("h2").await);
    let (endless, other) = (beside.uri("/first"), beside.uri("/second"));
    let endless = tokio::spawn(async move { first.get(&endless).await.map(drop) });
    beside.origin.wait_for_requests(1, DEADLINE).await;
    let other = tokio::spawn(async move { second.get(&other).await.unwrap().status });
    beside.setup.sidecar.wait_for_audit(|line| line["path"] == "/second", DEADLINE).await;
    told.notify_one();
    assert_eq!(timeout(DEADLINE, other).await.expect("it is not queued behind the first").unwrap(), 200);
    assert_eq!(beside.origin.connections(), 2);
    endless.abort();
}

#[tokio::test]
async fn an_unused_connection_is_closed_after_its_time() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &["--pool-idle-timeout", "100ms"]).await;
        beside.client("h2").await.get(&beside.uri("/zen")).await.unwrap();
        let closed = |connections: &[RecordedConnection]| connections.iter().all(|connection| connection.closed);
        beside.origin.wait_for_connections(DEADLINE, closed).await;
        beside.client("h2").await.get(&beside.uri("/zen")).await.unwrap();
        assert_eq!(beside.origin.connections().len(), 2, "{protocols:?}");
    }
}

#[tokio::test]
async fn no_more_unused_connections_are_kept_than_the_setting_says() {
    let beside = Beside::start(Origin::builder().protocols(Protocols::Http1), &["--pool-per-host", "2"]).await;
    let open = hold_open(&beside, 6).await;
    beside.origin.wait_for_requests(6, DEADLINE).await;
    assert_eq!(beside.origin.connections().len(), 6);
    release_until_all_are_answered(&beside, open).await;
    let two_left = |connections: &[RecordedConnection]| connections.iter().filter(|it| !it.closed).count() == 2;
    beside.origin.wait_for_connections(DEADLINE, two_left).await;
}

/// Origins with HTTP/1.1, and a sidecar that may reach them all.
async fn several(count: usize, arguments: &[&str]) -> (Vec<Origin>, Setup) {
    let ca = TestCa::new();
    let (mut origins, mut policy) = (Vec::new(), String::new());
    let mut all: Vec<_> = arguments.iter().map(ToString::to_string).collect();
    for _ in 0..count {
        let origin = Origin::builder().ca(&ca).protocols(Protocols::Http1).start().await;
        let id = format!("id: origin-{}", origin.port());
        policy += &destination("origin.test", origin.port(), "").replace("id: origin", &id);
        all.extend(["--resolve".to_owned(), format!("origin.test:{}:127.0.0.1", origin.port())]);
        origins.push(origin);
    }
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    let setup = Setup::start(&ca, &policy, &all).await;
    (origins, setup)
}

#[tokio::test]
async fn what_is_not_kept_itself_pushes_nothing_out() {
    let (origins, setup) = several(2, &["--pool-size", "2", "--pool-per-host", "1"]).await;
    let [quiet, busy] = &origins[..] else { panic!("there are two") };
    client(&setup, quiet.port(), "http/1.1").await.get(&uri(quiet.port(), "/zen")).await.unwrap();
    let mut open = JoinSet::new();
    for _ in 0..4 {
        let mut client = client(&setup, busy.port(), "http/1.1").await;
        let target = uri(busy.port(), "/slow-body?pieces=1");
        open.spawn(async move { client.get(&target).await.unwrap().status.as_u16() });
    }
    busy.wait_for_requests(4, DEADLINE).await;
    while !open.is_empty() {
        busy.release_event();
        while open.try_join_next().is_some() {}
        tokio::task::yield_now().await;
    }
    let one_left = |connections: &[RecordedConnection]| connections.iter().filter(|it| !it.closed).count() == 1;
    busy.wait_for_connections(DEADLINE, one_left).await;
    assert!(quiet.connections().iter().all(|connection| !connection.closed), "the other's is closed");
}

#[tokio::test]
async fn a_full_pool_closes_what_was_unused_for_longest_and_not_what_was_just_used() {
    let (origins, setup) = several(3, &["--pool-size", "2"]).await;
    let get = async |origin: &Origin| {
        client(&setup, origin.port(), "http/1.1").await.get(&uri(origin.port(), "/zen")).await.unwrap();
    };
    for origin in &origins {
        get(origin).await;
    }
    let closed = |connections: &[RecordedConnection]| connections.iter().all(|connection| connection.closed);
    origins[0].wait_for_connections(DEADLINE, closed).await;
    for origin in &origins[1..] {
        get(origin).await;
        assert_eq!(origin.connections().len(), 1);
    }
}

#[tokio::test]
async fn a_get_on_a_connection_that_went_stale_is_sent_once_more() {
    let beside = BesideRaw::start(Protocols::Http1, &[], scripts::close_on_reuse).await;
    let mut client = beside.client("h2").await;
    for _ in 0..2 {
        assert_eq!(client.get(&beside.uri("/")).await.unwrap().text(), "ok\n");
    }
    assert_eq!((beside.origin.requests().len(), beside.origin.connections()), (3, 2));
}

#[tokio::test]
async fn what_has_a_body_or_is_not_idempotent_is_never_sent_twice() {
    for alpn in VERSIONS {
        for (method, body) in [("POST", "x"), ("POST", ""), ("PATCH", ""), ("PUT", "x"), ("DELETE", "x")] {
            let beside = BesideRaw::start(Protocols::Http1, &[], scripts::close_on_reuse).await;
            let mut client = beside.client(alpn).await;
            client.get(&beside.uri("/first")).await.unwrap();
            let request = Request::builder().method(method).uri(beside.uri("/second")).body(bytes_body(body)).unwrap();
            let fetched = client.fetch(request).await.unwrap();
            assert_eq!(
                (fetched.status.as_u16(), code(&fetched).as_str()),
                (502, "upstream_closed"),
                "{method} {body:?}"
            );
            let requests = beside.origin.requests();
            assert_eq!(requests.iter().filter(|head| head.contains("/second")).count(), 1, "{method} {body:?}");
        }
    }
}

#[tokio::test]
async fn a_get_on_a_new_connection_that_closes_is_not_sent_again() {
    let beside = BesideRaw::start(Protocols::Http1, &[], scripts::close_before_head).await;
    let fetched = beside.client("h2").await.get(&beside.uri("/")).await.unwrap();
    assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (502, "upstream_closed"));
    assert_eq!(beside.origin.requests().len(), 1);
}

#[tokio::test]
async fn the_second_sending_is_the_last() {
    async fn only_the_first_is_answered(mut connection: RawConnection) {
        if connection.number == 1 {
            connection.read_head().await;
            connection.send(scripts::OK).await;
        }
        connection.read_head().await;
    }
    let beside = BesideRaw::start(Protocols::Http1, &[], only_the_first_is_answered).await;
    let mut client = beside.client("h2").await;
    client.get(&beside.uri("/")).await.unwrap();
    assert_eq!(client.get(&beside.uri("/")).await.unwrap().status, 502);
    assert_eq!(beside.origin.requests().len(), 3);
}

#[tokio::test]
async fn a_response_that_had_begun_is_never_asked_for_again() {
    async fn half_a_head_on_reuse(mut connection: RawConnection) {
        connection.read_head().await;
        connection.send(scripts::OK).await;
        connection.read_head().await;
        connection.send("HTTP/1.1 20").await;
    }
    let beside = BesideRaw::start(Protocols::Http1, &[], half_a_head_on_reuse).await;
    let mut client = beside.client("h2").await;
    client.get(&beside.uri("/")).await.unwrap();
    assert_eq!(client.get(&beside.uri("/")).await.unwrap().status, 502);
    assert_eq!(beside.origin.requests().len(), 2);
}

async fn http2_origin(step: fn(usize) -> Http2Step) -> BesideRaw {
    BesideRaw::start(Protocols::Http2, &[], move |connection| scripts::http2(connection, step)).await
}

async fn method(beside: &BesideRaw, alpn: &str, method: &str, body: &str) -> u16 {
    let request = Request::builder().method(method).uri(beside.uri("/")).body(bytes_body(body.to_owned())).unwrap();
    let answered = timeout(DEADLINE, async { beside.client(alpn).await.fetch(request).await }).await;
    answered.expect("it is answered").unwrap().status.as_u16()
}

#[tokio::test]
async fn a_refused_stream_was_not_processed_and_is_sent_again_body_and_all() {
    for alpn in VERSIONS {
        for (name, body) in [("GET", ""), ("POST", ""), ("POST", "a body"), ("PUT", "a body")] {
            let beside = http2_origin(|number| if number < 3 { Http2Step::Refuse } else { Http2Step::Answer }).await;
            assert_eq!(method(&beside, alpn, name, body).await, 200, "{alpn} {name} {body:?}");
            assert_eq!(beside.origin.requests().len(), 3, "{alpn} {name} {body:?}");
        }
    }
}

#[tokio::test]
async fn an_origin_that_refuses_every_stream_is_not_asked_for_ever() {
    let beside = http2_origin(|_| Http2Step::Refuse).await;
    assert_eq!(method(&beside, "h2", "GET", "").await, 502);
    let asked = beside.origin.requests().len();
    assert!((2..=6).contains(&asked), "{asked}");
}

#[tokio::test]
async fn a_get_below_a_goaway_is_sent_again() {
    let beside = http2_origin(|number| if number == 1 { Http2Step::GoAwayBelow } else { Http2Step::Answer }).await;
    assert_eq!(method(&beside, "h2", "GET", "").await, 200);
    assert_eq!((beside.origin.requests().len(), beside.origin.connections()), (2, 2));
}

#[tokio::test]
async fn what_a_goaway_includes_or_an_error_resets_may_have_been_processed_and_a_post_is_not_sent_again() {
    for step in [|_| Http2Step::GoAwayAt, (|_| Http2Step::Break) as fn(usize) -> Http2Step] {
        for body in ["", "a body"] {
            let beside = http2_origin(step).await;
            assert_eq!(method(&beside, "h2", "POST", body).await, 502, "{body:?}");
            assert_eq!(beside.origin.requests().len(), 1, "{body:?}");
        }
    }
}

#[tokio::test]
async fn a_reset_get_is_not_sent_again() {
    let beside = http2_origin(|_| Http2Step::Break).await;
    assert_eq!(method(&beside, "h2", "GET", "").await, 502);
    assert_eq!(beside.origin.requests().len(), 1);
}

/// Fetches over a new connection of the client, and tells how many connections the origin has and whether the last of
/// them resumed a TLS session.
async fn fetch(setup: &crate::harness::Setup, origin: &Origin, path: &str) -> (usize, bool) {
    let fetched = client(setup, origin.port(), "h2").await.get(&uri(origin.port(), path)).await.unwrap();
    assert_eq!(fetched.status, 200, "{}", fetched.text());
    let connections = origin.connections();
    (connections.len(), connections.last().unwrap().tls.as_ref().unwrap().resumed)
}

#[tokio::test]
async fn tls_sessions_are_resumed_for_the_same_host_only() {
    let origin = Origin::builder().protocols(Protocols::Http1).session_tickets().start().await;
    let other = format!("other.origin.test:{}:127.0.0.1", origin.port());
    let setup = setup(&origin.ca().clone(), origin.port(), "", &["--resolve", &other]).await;
    // Each of these ends its connection.
    assert_eq!(fetch(&setup, &origin, "/half-close").await, (1, false));
    assert_eq!(fetch(&setup, &origin, "/half-close").await, (2, true));
    let both = destination("origin.test", origin.port(), "")
        + &destination("other.origin.test", origin.port(), "").replace("id: origin", "id: other");
    setup.set_policy(&both);
    setup.sidecar.wait_for_stderr("another policy is in force", DEADLINE).await;
    let tls = setup.client_tls().alpn(&["h2"]);
    let mut other =
        sandgate_testkit::client::https_through(setup.sidecar.proxy(), "other.origin.test", origin.port(), &tls)
            .await
            .unwrap();
    let fetched = other.get(&format!("https://other.origin.test:{}/half-close", origin.port())).await.unwrap();
    assert_eq!(fetched.status, 200);
    let last = origin.connections().pop().unwrap().tls.unwrap();
    assert_eq!((last.sni.as_deref(), last.resumed), (Some("other.origin.test"), false));
    assert_eq!(fetch(&setup, &origin, "/half-close").await, (4, true));
}

/// Waits until the sidecar has taken another policy for the `count`th time.
async fn swapped(setup: &crate::harness::Setup, count: usize) {
    let swaps = || setup.sidecar.stderr().matches("another policy is in force").count();
    eventually(Duration::from_secs(20), || swaps() >= count).await;
}

#[tokio::test]
async fn connections_and_sessions_of_another_policys_making_are_not_used() {
    let ca = TestCa::new();
    let client_ca = TestCa::named("client CA");
    for protocols in ORIGINS {
        let origin = Origin::builder().ca(&ca).protocols(protocols).session_tickets().start().await;
        let setup = setup(&ca, origin.port(), "", &[]).await;
        let path = |name: &str| setup.dir.path().join(name);
        let shown = |name: &str| path(name).display().to_string();
        let issued = client_ca.issue(&["client.test"]);
        std::fs::write(path("client.pem"), issued.chain_pem()).unwrap();
        std::fs::write(path("client.key"), issued.key_pem()).unwrap();
        TestCa::named("another root").write_root(&path("root.pem"));
        assert_eq!(fetch(&setup, &origin, "/zen").await, (1, false));
        let roots = format!("    upstream: {{ ca: [{}] }}\n", shown("root.pem"));
        let identity = format!(
            "    upstream: {{ client_cert: {{ certificate: {}, key: {} }} }}\n",
            shown("client.pem"),
            shown("client.key")
        );
        let version = if protocols == Protocols::Http2 { "2" } else { "1.1" };
        let version = format!("    upstream: {{ http: \"{version}\" }}\n");
        // What has nothing to do with the connection keeps it.
        setup.set_policy(&destination("origin.test", origin.port(), "    limits: { concurrent_requests: 50 }\n"));
        swapped(&setup, 1).await;
        assert_eq!(fetch(&setup, &origin, "/zen").await, (1, false), "{protocols:?}");
        let ranges = destination("origin.test", origin.port(), "").replace("127.0.0.0/8", "127.0.0.0/8, 10.0.0.0/8");
        let policies = [ranges]
            .into_iter()
            .chain([roots, identity, version].map(|more| destination("origin.test", origin.port(), &more)));
        let mut swaps = 1;
        for (made, policy) in policies.enumerate() {
            setup.set_policy(&policy);
            swaps += 1;
            swapped(&setup, swaps).await;
            assert_eq!(fetch(&setup, &origin, "/zen").await, (made + 2, false), "{protocols:?} {policy}");
            assert_eq!(fetch(&setup, &origin, "/zen").await.0, made + 2, "{protocols:?}: and then it is reused");
        }
    }
}

#[tokio::test]
async fn what_another_policy_left_without_a_place_in_the_pool_is_closed_when_its_request_ends() {
    let beside = Beside::start(Origin::builder().protocols(Protocols::Http1), &[]).await;
    let mut client = beside.client("http/1.1").await;
    let endless = client.open(Request::get(beside.uri("/sse")).body(empty_body()).unwrap()).await.unwrap();
    let open = hold_open(&beside, 4).await;
    beside.origin.wait_for_requests(5, DEADLINE).await;
    let port = beside.origin.port();
    let ranges = destination("origin.test", port, "").replace("127.0.0.0/8", "127.0.0.0/8, 10.0.0.0/8");
    beside.setup.set_policy(&ranges);
    swapped(&beside.setup, 1).await;
    release_until_all_are_answered(&beside, open).await;
    let closed =
        |connections: &[RecordedConnection]| connections.iter().filter(|connection| connection.closed).count() == 4;
    beside.origin.wait_for_connections(DEADLINE, closed).await;
    drop(endless);
}

#[tokio::test]
async fn the_connection_of_a_refused_upgrade_is_for_no_other_request() {
    let beside = Beside::start(Origin::builder(), &[]).await;
    let mut stream = beside.stream().await;
    let host = format!("origin.test:{}", beside.origin.port());
    let reply = websocket(&mut stream, &host, "/status/404").await.unwrap();
    assert_eq!(reply.status, 404);
    beside.setup.sidecar.wait_for_audit(|line| line["kind"] == "request", DEADLINE).await;
    beside.client("h2").await.get(&beside.uri("/zen")).await.unwrap();
    let versions: Vec<_> = beside.origin.requests().into_iter().map(|request| request.head.version).collect();
    assert_eq!(versions, ["HTTP/1.1", "HTTP/2"]);
}

#[tokio::test]
async fn another_content_of_a_named_file_makes_new_connections_too() {
    let ca = TestCa::new();
    let origin = Origin::builder().ca(&ca).protocols(Protocols::Http1).session_tickets().start().await;
    let setup = setup(&ca, origin.port(), "", &[]).await;
    let root = setup.dir.path().join("root.pem");
    TestCa::named("one").write_root(&root);
    let more = format!("    upstream: {{ ca: [{}] }}\n", root.display());
    setup.set_policy(&destination("origin.test", origin.port(), &more));
    swapped(&setup, 1).await;
    assert_eq!(fetch(&setup, &origin, "/zen").await, (1, false));
    replace(&root, &TestCa::named("two").root_pem());
    swapped(&setup, 2).await;
    assert_eq!(fetch(&setup, &origin, "/zen").await, (2, false));
}

#[tokio::test]
async fn a_rule_can_ask_for_one_http_version() {
    let origin = Origin::builder().start().await;
    for (version, alpn) in [("2", "h2"), ("1.1", "http/1.1"), ("auto", "h2")] {
        let setup =
            setup(&origin.ca().clone(), origin.port(), &format!("    upstream: {{ http: \"{version}\" }}\n"), &[])
                .await;
        fetch(&setup, &origin, "/zen").await;
        assert_eq!(origin.requests().pop().unwrap().tls.unwrap().alpn.as_deref(), Some(alpn));
    }
    let old = Origin::builder().protocols(Protocols::Http1).start().await;
    let setup = setup(&old.ca().clone(), old.port(), "    upstream: { http: \"2\" }\n", &[]).await;
    let fetched = client(&setup, old.port(), "h2").await.get(&uri(old.port(), "/zen")).await.unwrap();
    assert_eq!(fetched.status, 502);
    assert!(
        ["upstream_protocol_error", "tls_handshake_failed"].contains(&code(&fetched).as_str()),
        "{}",
        fetched.text()
    );
    assert_eq!(old.request_count(), 0);
}
