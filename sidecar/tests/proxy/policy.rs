//! The policy as clients of the program meet it: lists, limits, audit mode, and what a reload does to what is open.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt as _;
use sandgate_testkit::client::{
    connect_through, empty_body, http_get, http_through, https_through, pattern_body, raw, read_all, tunnel, websocket,
};
use sandgate_testkit::origin::Origin;
use sandgate_testkit::pki::TestCa;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::harness::{DEADLINE, Setup, allow, code, resolve, start_origin, until, url};

/// What an open stream has to end in once another policy is in force.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

async fn setup(origin: &Origin, more: &str) -> Setup {
    Setup::start(origin.ca(), &format!("{}{more}", allow(origin)), &["--resolve", &resolve(origin)]).await
}

async fn wait_for_policy_changed(setup: &Setup, kind: &str) {
    let ended = setup.sidecar.wait_for_audit(|line| line["kind"] == kind && line["code"] == "policy_changed", DEADLINE);
    ended.await;
}

#[tokio::test]
async fn audit_mode_lets_through_what_it_would_refuse_and_logs_it() {
    let origin = start_origin().await;
    let setup = setup(&origin, "    allow: [{paths: [/zen]}]\nmode: audit\n").await;
    let mut client = setup.client(&origin).await;
    assert_eq!(client.get(&url(&origin, "/echo")).await.unwrap().status, 200);
    assert_eq!(origin.request_count(), 1);
    let line = setup.sidecar.wait_for_audit(|line| line["path"] == "/echo", DEADLINE).await;
    assert_eq!((&line["verdict"], &line["code"]), (&"audited".into(), &"request_not_allowed".into()));
    let (reply, _) = connect_through(setup.sidecar.proxy(), "other.test:443").await.unwrap();
    assert_eq!(reply.status, 200);
    let line = setup.sidecar.wait_for_audit(|line| line["host"] == "other.test", DEADLINE).await;
    assert_eq!((&line["verdict"], &line["code"]), (&"audited".into(), &"host_not_allowed".into()));
}

#[tokio::test]
async fn audit_mode_relaxes_neither_the_address_nor_the_authority_checks() {
    let origin = start_origin().await;
    let hand = format!("unlisted.test:{}:127.0.0.1", origin.port());
    let setup = Setup::start(
        origin.ca(),
        &format!("{}mode: audit\n", allow(&origin)),
        &["--resolve", &resolve(&origin), "--resolve", &hand],
    )
    .await;
    let proxy = setup.sidecar.proxy();
    let mut client = https_through(proxy, "unlisted.test", origin.port(), &setup.client_tls()).await.unwrap();
    let fetched = client.get(&format!("https://unlisted.test:{}/zen", origin.port())).await.unwrap();
    assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (403, "address_not_allowed"));
    let mut client = setup.client(&origin).await;
    let request = Request::get(url(&origin, "/zen")).header("host", "unlisted.test").body(empty_body()).unwrap();
    let fetched = client.fetch(request).await.unwrap();
    assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (421, "misdirected_request"));
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn lists_judge_method_and_path_and_the_path_goes_on_as_it_came() {
    let origin = start_origin().await;
    let lists = "    allow:\n      - {methods: [GET, POST], paths: [/echo, '/echo/**']}\n    \
                 deny:\n      - {paths: ['/echo/secret/**']}\n      - {methods: [POST], paths: [/echo/read]}\n";
    let setup = setup(&origin, lists).await;
    let mut client = setup.client(&origin).await;
    for target in ["/echo/a?q=/../x", "/echo/@scope%2Fname", "/echo//x", "/echo/%7Euser/A%20b", "/echo/Secret/x"] {
        let fetched = client.get(&url(&origin, target)).await.unwrap();
        assert_eq!((fetched.status.as_u16(), fetched.json()["target"].as_str()), (200, Some(target)));
    }
    let before = origin.request_count();
    for (method, target, status, expected) in [
        ("GET", "/zen", 403, "request_not_allowed"),
        ("PUT", "/echo/a", 403, "request_not_allowed"),
        ("POST", "/echo/read", 403, "request_denied"),
        ("GET", "/echo/secret/x", 403, "request_denied"),
        ("GET", "/echo/secret%2Fx", 403, "request_denied"),
        ("GET", "/echo/secret%2fx", 403, "request_denied"),
        ("GET", "/zen%2Fx", 403, "request_not_allowed"),
        ("GET", "/echo/a/../b", 400, "bad_path"),
        ("GET", "/echo/%2e%2e/b", 400, "bad_path"),
        ("GET", "/echo/%252e%252e/b", 400, "bad_path"),
        ("GET", "/echo/..;/b", 400, "bad_path"),
        ("GET", "/echo/a%5Cb", 400, "bad_path"),
        ("GET", "/echo/%00", 400, "bad_path"),
        ("GET", "/echo/%0a", 400, "bad_path"),
        ("GET", "/echo/%zz", 400, "bad_path"),
    ] {
        let request = Request::builder().method(method).uri(url(&origin, target)).body(empty_body()).unwrap();
        let fetched = client.fetch(request).await.unwrap();
        assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (status, expected), "{method} {target}");
        assert_eq!(fetched.json()["rule"], "origin", "{target}");
    }
    assert_eq!(origin.request_count(), before);
}

#[tokio::test]
async fn paths_are_not_judged_where_a_destination_has_no_path_lists() {
    let origin = start_origin().await;
    let setup = setup(&origin, "    deny: [{methods: [DELETE]}]\n").await;
    let mut client = setup.client(&origin).await;
    for target in ["/echo/a/../b", "/echo/%2e%2e/b", "/echo/a%5Cb", "/echo/%zz"] {
        let fetched = client.get(&url(&origin, target)).await.unwrap();
        assert_eq!((fetched.status.as_u16(), fetched.json()["target"].as_str()), (200, Some(target)));
    }
}

#[tokio::test]
async fn one_destination_answers_and_a_wildcards_deny_does_not_reach_it() {
    let origin = Origin::builder().names(&["origin.test", "a.origin.test", "b.a.origin.test"]).start().await;
    let rule = |id: &str, host: &str, more: &str| {
        format!("  - {{id: {id}, host: '{host}', ports: [{}], private_cidrs: [127.0.0.0/8]{more}}}\n", origin.port())
    };
    let rules = [
        rule("all", "*.origin.test", ", deny: [{paths: ['/**']}]"),
        rule("deep", "*.a.origin.test", ", allow: [{methods: [POST]}]"),
        rule("exact", "a.origin.test", ""),
    ];
    let hosts = ["a.origin.test", "b.a.origin.test", "c.origin.test"];
    let resolve = hosts.map(|host| format!("{host}:{}:127.0.0.1", origin.port()));
    let arguments: Vec<&str> = resolve.iter().flat_map(|hand| ["--resolve", hand]).collect();
    let setup = Setup::start(origin.ca(), &rules.concat(), &arguments).await;
    for (host, status, rule) in [(hosts[0], 200, "exact"), (hosts[1], 403, "deep"), (hosts[2], 403, "all")] {
        let mut client = https_through(setup.sidecar.proxy(), host, origin.port(), &setup.client_tls()).await.unwrap();
        let fetched = client.get(&format!("https://{host}:{}/zen", origin.port())).await.unwrap();
        assert_eq!(fetched.status.as_u16(), status, "{host}");
        let of_request = |line: &serde_json::Value| line["host"] == host && line["path"] == "/zen";
        assert_eq!(setup.sidecar.wait_for_audit(of_request, DEADLINE).await["rule"], rule);
    }
    for authority in ["origin.test", "evilorigin.test", "a.origin.test.evil.test", "x%2eorigin.test"] {
        let (reply, _) =
            connect_through(setup.sidecar.proxy(), &format!("{authority}:{}", origin.port())).await.unwrap();
        assert!(matches!(reply.status, 400 | 403), "{authority}: {}", reply.status);
    }
}

#[tokio::test]
async fn a_rate_that_is_used_up_is_429_and_who_comes_back_when_told_is_served() {
    let origin = start_origin().await;
    let setup = setup(&origin, "    limits: {requests_per_second: 1, burst: 2}\n").await;
    let mut client = setup.client(&origin).await;
    let mut answered = 0;
    let refused = loop {
        let fetched = client.get(&url(&origin, "/zen")).await.unwrap();
        if fetched.status != 200 {
            break fetched;
        }
        answered += 1;
        assert!(answered < 50, "the rate is one a second");
    };
    assert_eq!((refused.status.as_u16(), code(&refused).as_str()), (429, "rate_limited"));
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(answered >= 2, "the burst is two");
    assert_eq!(origin.request_count(), answered);
    // What a client does that was told so.
    let told: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    tokio::time::sleep(Duration::from_secs(told)).await;
    assert_eq!(client.get(&url(&origin, "/zen")).await.unwrap().status, 200);
}

#[tokio::test]
async fn requests_beyond_the_concurrent_ones_are_429_until_one_ends() {
    let origin = start_origin().await;
    let setup = setup(&origin, "    limits: {concurrent_requests: 1}\n").await;
    let mut first = setup.http2_client(&origin).await;
    let target = url(&origin, "/stall-head");
    let running = tokio::spawn(async move { first.get(&target).await.is_ok() });
    origin.wait_for_requests(1, DEADLINE).await;
    let mut second = setup.client(&origin).await;
    let refused = second.get(&url(&origin, "/zen")).await.unwrap();
    assert_eq!((refused.status.as_u16(), code(&refused).as_str()), (429, "too_many_requests"));
    assert!(refused.headers.contains_key("retry-after"));
    running.abort();
    let freed = async { while second.get(&url(&origin, "/zen")).await.unwrap().status != 200 {} };
    timeout(DEADLINE, freed).await.expect("a client that went away makes room");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_whether_its_length_is_known_or_not() {
    let origin = start_origin().await;
    let setup = setup(&origin, "    limits: {body_bytes: 1000B}\n").await;
    for http2 in [false, true] {
        for announced in [true, false] {
            let mut client = if http2 { setup.http2_client(&origin).await } else { setup.client(&origin).await };
            let post = |length| Request::post(url(&origin, "/upload")).body(pattern_body(length, announced)).unwrap();
            assert_eq!(client.fetch(post(1000)).await.unwrap().status, 200);
            let refused = client.fetch(post(1_000_000)).await.unwrap();
            let context = format!("http2 {http2}, announced {announced}");
            assert_eq!((refused.status.as_u16(), code(&refused).as_str()), (413, "body_too_large"), "{context}");
        }
    }
    assert!(origin.requests().iter().all(|request| request.body_bytes <= 1000), "not a byte beyond the limit goes out");
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let origin = start_origin().await;
    let setup = setup(&origin, "    deny: [{paths: [/upload]}]\n").await;
    for announced in [true, false] {
        let mut client = setup.client(&origin).await;
        let request = Request::post(url(&origin, "/upload")).body(pattern_body(20_000_000, announced)).unwrap();
        let refused = client.fetch(request).await.unwrap();
        assert_eq!((refused.status.as_u16(), code(&refused).as_str()), (403, "request_denied"), "{announced}");
    }
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn a_response_that_stops_moving_ends_after_the_rules_idle_time() {
    let origin = start_origin().await;
    let setup = setup(&origin, "    limits: {idle: 300ms}\n").await;
    for mut client in [setup.client(&origin).await, setup.http2_client(&origin).await] {
        let broken = timeout(DEADLINE, client.get(&url(&origin, "/stall-body"))).await.expect("it ends");
        assert!(broken.is_err(), "a body that is cut must not look whole");
    }
    setup.sidecar.wait_for_audit(|line| line["kind"] == "request" && line["code"] == "idle_timeout", DEADLINE).await;
}

#[tokio::test]
async fn a_passthrough_tunnel_has_an_idle_end_only_where_the_rule_says_so() {
    let origin = start_origin().await;
    let setup = setup(&origin, "    tls: passthrough\n    limits: {idle: 300ms}\n").await;
    let stream = tunnel(setup.sidecar.proxy(), &format!("origin.test:{}", origin.port())).await.unwrap();
    let tls = sandgate_testkit::client::ClientTls::new(&origin.ca().root_pem());
    let mut stream = tls.handshake("origin.test", stream).await.unwrap();
    assert!(read_all(&mut stream, DEADLINE).await.closed);
    setup.sidecar.wait_for_audit(|line| line["kind"] == "tunnel_end" && line["code"] == "idle_timeout", DEADLINE).await;
}

fn generated(ca: &TestCa) -> (TempDir, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let roots = dir.path().join("origin-ca.pem");
    ca.write_root(&roots);
    (dir, roots.display().to_string())
}

#[tokio::test]
async fn without_a_good_policy_at_the_start_everything_is_refused_until_the_first_good_one() {
    let origin = start_origin().await;
    let authority = format!("origin.test:{}", origin.port());
    for broken in [None, Some("version: 1\ndestinations:\n  - {id: a, hots: b}\n  - {id: A B}\n")] {
        let (dir, roots) = generated(origin.ca());
        if let Some(text) = broken {
            std::fs::write(dir.path().join("policy.yaml"), text).unwrap();
        }
        let arguments = ["--ca", "generate", "--upstream-ca", &roots, "--resolve", &resolve(&origin)];
        let setup = Setup::start_in(dir, &arguments).await;
        let (reply, _) = connect_through(setup.sidecar.proxy(), &authority).await.unwrap();
        assert_eq!(reply.status, 403);
        let plain =
            http_through(setup.sidecar.proxy()).await.unwrap().get(&format!("http://{authority}/")).await.unwrap();
        for refusal in [String::from_utf8(reply.body).unwrap(), plain.text()] {
            assert!(refusal.contains("there is no valid policy"), "{refusal}");
        }
        assert_eq!(http_get(setup.sidecar.admin(), "/healthz").await.unwrap().status, 200);
        let (status, report) = setup.readyz().await;
        assert_eq!((status, &report["status"]), (503, &"not_ready".into()));
        let problems = report["problems"].to_string();
        match broken {
            None => assert!(problems.contains("policy.yaml is missing"), "{problems}"),
            Some(_) => {
                // Every problem with its line, in the log as well.
                for needle in ["hots", "line 3", "line 4"] {
                    assert!(problems.contains(needle), "{needle}: {problems}");
                    assert!(setup.sidecar.stderr().contains(needle), "{needle}: {}", setup.sidecar.stderr());
                }
            }
        }
        assert!(setup.metric("sandgate_policy_reload_failures_total").await >= Some(1.0));
        setup.enforce(&allow(&origin)).await;
        assert_eq!(setup.client(&origin).await.get(&url(&origin, "/zen")).await.unwrap().status, 200);
        assert_eq!(setup.readyz().await.0, 200);
    }
}

#[tokio::test]
async fn a_broken_reload_keeps_the_last_good_policy_and_shows_everywhere() {
    let origin = start_origin().await;
    let setup = setup(&origin, "").await;
    setup.set_policy_text("version: 1\ndestinations:\n  - id: x\n    hots: y\n");
    setup.sidecar.wait_for_stderr("hots", DEADLINE).await;
    setup.wait_for_metric("sandgate_policy_reload_failures_total", |value| value >= 1.0).await;
    let (status, report) = setup.readyz().await;
    assert_eq!((status, &report["status"]), (200, &"degraded".into()));
    assert!(report["problems"].to_string().contains("the last good policy stays"), "{report}");
    assert_eq!(setup.client(&origin).await.get(&url(&origin, "/zen")).await.unwrap().status, 200);
    setup.enforce("  []\n").await;
    assert_eq!(setup.readyz().await.1["status"], "ready");
    let (reply, _) = connect_through(setup.sidecar.proxy(), &format!("origin.test:{}", origin.port())).await.unwrap();
    assert_eq!(reply.status, 403);
}

#[tokio::test]
async fn a_policy_file_that_is_gone_denies_everything_and_one_that_comes_back_is_taken() {
    let origin = start_origin().await;
    let setup = setup(&origin, "").await;
    let mut client = setup.client(&origin).await;
    assert_eq!(client.get(&url(&origin, "/zen")).await.unwrap().status, 200);
    std::fs::remove_file(setup.dir.path().join("policy.yaml")).unwrap();
    until("/readyz", async || setup.readyz().await.0 == 503).await;
    let (_, report) = setup.readyz().await;
    assert!(report["problems"].to_string().contains("everything is refused"), "{report}");
    assert!(!report["problems"].to_string().contains("last good"), "{report}");
    setup.sidecar.wait_for_stderr("another policy is in force", DEADLINE).await;
    assert_eq!(client.get(&url(&origin, "/zen")).await.unwrap().status, 403);
    setup.enforce(&allow(&origin)).await;
    assert_eq!(client.get(&url(&origin, "/zen")).await.unwrap().status, 200);
    assert_eq!(setup.readyz().await.0, 200);
}

#[tokio::test]
async fn an_open_tunnel_meets_the_new_policy_at_its_next_request() {
    let origin = start_origin().await;
    let setup = setup(&origin, "").await;
    let (mut h1, mut h2) = (setup.client(&origin).await, setup.http2_client(&origin).await);
    for client in [&mut h1, &mut h2] {
        assert_eq!(client.get(&url(&origin, "/zen")).await.unwrap().status, 200);
    }
    setup.enforce(&format!("{}    deny: [{{paths: [/zen]}}]\n", allow(&origin))).await;
    for client in [&mut h1, &mut h2] {
        let refused = client.get(&url(&origin, "/zen")).await.unwrap();
        assert_eq!((refused.status.as_u16(), code(&refused).as_str()), (403, "request_denied"));
        assert_eq!(client.get(&url(&origin, "/echo")).await.unwrap().status, 200);
    }
    setup.enforce("  []\n").await;
    for client in [&mut h1, &mut h2] {
        let refused = client.get(&url(&origin, "/echo")).await.unwrap();
        assert_eq!((refused.status.as_u16(), code(&refused).as_str()), (403, "host_not_allowed"));
    }
}

#[tokio::test]
async fn no_request_uses_a_connection_that_the_new_policy_would_not_have_made() {
    let origin = start_origin().await;
    let setup = setup(&origin, "").await;
    let mut client = setup.client(&origin).await;
    assert_eq!(client.get(&url(&origin, "/zen")).await.unwrap().status, 200);
    setup.enforce(&format!("  - {{id: origin, host: origin.test, ports: [{}]}}\n", origin.port())).await;
    let refused = client.get(&url(&origin, "/zen")).await.unwrap();
    assert_eq!((refused.status.as_u16(), code(&refused).as_str()), (403, "address_not_allowed"));
    assert_eq!(origin.request_count(), 1);
}

#[tokio::test]
async fn a_certificate_file_that_a_rule_names_is_part_of_the_policy() {
    let origin = start_origin().await;
    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path().join("rule-ca.pem");
    TestCa::named("another CA").write_root(&roots);
    let rule = format!("{}    upstream: {{ca: [{}]}}\n", allow(&origin), roots.display());
    let setup = Setup::start(&TestCa::named("no origin's CA"), &rule, &["--resolve", &resolve(&origin)]).await;
    let mut client = setup.client(&origin).await;
    let refused = client.get(&url(&origin, "/zen")).await.unwrap();
    assert_eq!((refused.status.as_u16(), code(&refused).as_str()), (502, "certificate_unknown_issuer"));
    origin.ca().write_root(&roots);
    setup.sidecar.wait_for_stderr("another policy is in force", DEADLINE).await;
    assert_eq!(client.get(&url(&origin, "/zen")).await.unwrap().status, 200);
    std::fs::write(&roots, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let failures = "sandgate_policy_reload_failures_total";
    setup.wait_for_metric(failures, |value| value >= 1.0).await;
    assert_eq!(client.get(&url(&origin, "/zen")).await.unwrap().status, 200, "the last good one stays");
    // Said once, not at every look: the next good content comes many looks later.
    assert!(timeout(Duration::from_millis(500), setup.wait_for_metric(failures, |value| value > 1.0)).await.is_err());
    assert_eq!(setup.readyz().await.1["status"], "degraded");
    origin.ca().write_root(&roots);
    until("/readyz", async || setup.readyz().await.1["status"] == "ready").await;
}

#[tokio::test]
async fn an_event_stream_ends_when_the_policy_no_longer_allows_it() {
    for http2 in [false, true] {
        let origin = start_origin().await;
        let setup = setup(&origin, "").await;
        let mut client = if http2 { setup.http2_client(&origin).await } else { setup.client(&origin).await };
        let request = Request::get(url(&origin, "/sse")).body(empty_body()).unwrap();
        let mut body = client.open(request).await.unwrap().into_body();
        assert!(body.frame().await.unwrap().is_ok());
        // A reload that still allows it disturbs nothing.
        setup.enforce(&format!("{}    deny: [{{paths: [/zen]}}]\n", allow(&origin))).await;
        origin.release_event();
        assert!(timeout(DEADLINE, body.frame()).await.unwrap().unwrap().is_ok());
        setup.enforce("  []\n").await;
        let end = timeout(CLOSED_WITHIN, body.frame()).await.expect("the stream ends");
        assert!(end.is_none_or(|frame| frame.is_err()));
        wait_for_policy_changed(&setup, "request").await;
    }
}

#[tokio::test]
async fn a_websocket_ends_when_the_policy_no_longer_allows_it() {
    let origin = start_origin().await;
    let setup = setup(&origin, "").await;
    let mut stream = setup.tls_stream(&origin).await;
    let reply = websocket(&mut stream, &format!("origin.test:{}", origin.port()), "/ws").await.unwrap();
    assert_eq!(reply.status, 101);
    setup.enforce("  []\n").await;
    assert!(read_all(&mut stream, CLOSED_WITHIN).await.closed);
    wait_for_policy_changed(&setup, "tunnel_end").await;
}

#[tokio::test]
async fn a_passthrough_tunnel_ends_when_the_policy_no_longer_passes_it_through() {
    // Not allowed at all, and allowed but to be intercepted.
    for intercepted in [false, true] {
        let origin = start_origin().await;
        let setup = setup(&origin, "    tls: passthrough\n").await;
        let stream = tunnel(setup.sidecar.proxy(), &format!("origin.test:{}", origin.port())).await.unwrap();
        let tls = sandgate_testkit::client::ClientTls::new(&origin.ca().root_pem());
        let mut stream = tls.handshake("origin.test", stream).await.unwrap();
        setup.enforce(&if intercepted { allow(&origin) } else { "  []\n".to_owned() }).await;
        assert!(read_all(&mut stream, CLOSED_WITHIN).await.closed);
        wait_for_policy_changed(&setup, "tunnel_end").await;
    }
}

#[tokio::test]
async fn a_body_on_its_way_ends_when_the_policy_no_longer_allows_it() {
    let origin = start_origin().await;
    let setup = setup(&origin, "").await;
    // Up: the client has announced more than it sends. Down: the origin waits to be released.
    let mut up = setup.tls_stream(&origin).await;
    let head =
        format!("POST /upload HTTP/1.1\r\nHost: origin.test:{}\r\nContent-Length: 100\r\n\r\n12345", origin.port());
    up.write_all(head.as_bytes()).await.unwrap();
    origin.wait_until(DEADLINE, |requests| requests.iter().any(|request| request.body_bytes == 5)).await;
    let mut client = setup.client(&origin).await;
    let request = Request::get(url(&origin, "/slow-body?pieces=3")).body(empty_body()).unwrap();
    let mut down = client.open(request).await.unwrap().into_body();
    assert!(down.frame().await.unwrap().is_ok());
    setup.enforce("  []\n").await;
    let end = timeout(CLOSED_WITHIN, down.frame()).await.expect("the response ends");
    assert!(end.is_none_or(|frame| frame.is_err()));
    let refusal = read_all(&mut up, CLOSED_WITHIN).await;
    assert!(refusal.closed && refusal.text().contains("policy_changed"), "{refusal:?}");
    wait_for_policy_changed(&setup, "request").await;
}

#[tokio::test]
async fn a_request_that_waits_for_its_origin_is_refused_when_the_policy_no_longer_allows_it() {
    for http2 in [false, true] {
        let origin = start_origin().await;
        let setup = setup(&origin, "").await;
        let mut client = if http2 { setup.http2_client(&origin).await } else { setup.client(&origin).await };
        let target = url(&origin, "/stall-head");
        let waiting = tokio::spawn(async move { client.get(&target).await });
        origin.wait_for_requests(1, DEADLINE).await;
        setup.enforce("  []\n").await;
        let refused = timeout(CLOSED_WITHIN, waiting).await.expect("it is answered").unwrap().unwrap();
        assert_eq!((refused.status.as_u16(), code(&refused).as_str()), (403, "policy_changed"));
        wait_for_policy_changed(&setup, "request").await;
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_keep_its_stream_when_the_policy_changes() {
    for http2 in [false, true] {
        let origin = start_origin().await;
        let setup = setup(&origin, "").await;
        let mut client = if http2 { setup.http2_client(&origin).await } else { setup.client(&origin).await };
        let request = Request::get(url(&origin, "/bytes/500000000")).body(empty_body()).unwrap();
        let response = client.open(request).await.unwrap();
        setup.enforce("  []\n").await;
        wait_for_policy_changed(&setup, "request").await;
        origin.wait_for_connections(DEADLINE, |connections| connections.iter().all(|one| one.closed)).await;
        drop(response);
    }
}

#[tokio::test]
async fn the_short_form_is_https_on_443_and_a_variable_sets_it() {
    let mut command = sandgate_testkit::sidecar::isolated(
        crate::harness::PROGRAM,
        &[("SANDGATE_ALLOWED_DOMAINS", "a.test,*.b.test"), ("SANDGATE_CA", "generate")],
    );
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let sidecar = sandgate_testkit::sidecar::Sidecar::start_command(command).await;
    for (authority, status) in [
        ("a.test:443", 200),
        ("x.b.test:443", 200),
        ("b.test:443", 403),
        ("a.test:80", 403),
        ("a.test:22", 403),
        ("c.test:443", 403),
    ] {
        assert_eq!(connect_through(sidecar.proxy(), authority).await.unwrap().0.status, status, "{authority}");
    }
    let plain =
        raw(sidecar.proxy(), b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", DEADLINE);
    assert!(plain.await.unwrap().text().starts_with("HTTP/1.1 403 "));
}

#[tokio::test]
async fn fifty_streams_of_one_connection_end_together_and_the_connection_goes_on() {
    let origin = start_origin().await;
    let setup = setup(&origin, "").await;
    let mut client = setup.http2_client(&origin).await;
    let mut bodies = Vec::new();
    for _ in 0..50 {
        let request = Request::get(url(&origin, "/sse")).body(empty_body()).unwrap();
        bodies.push(client.open(request).await.unwrap());
    }
    setup.enforce("  []\n").await;
    for body in bodies {
        assert!(timeout(DEADLINE, body.into_body().collect()).await.expect("it ends").is_err());
    }
    setup.enforce(&allow(&origin)).await;
    assert_eq!(client.post(&url(&origin, "/upload"), "ten bytes!").await.unwrap().json()["body_bytes"], 10);
}
