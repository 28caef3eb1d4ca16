//! The CONNECT front door: which authorities are taken, what may follow the head, and what a refused client sees.

#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

use std::time::Duration;

use sandgate_testkit::client::{RawReply, Reply, connect_through, connect_with, http_get, http_through, tunnel};
use sandgate_testkit::origin::{Origin, Protocols};
use serde_json::Value;

use crate::harness::{DEADLINE, Setup, allow, beside, beside_http1, resolve, send_and_end, status_of};

/// The status and code that CONNECT to each of these is refused with.
async fn refused(setup: &Setup, authorities: &[&str], status: u16, code: &str) {
    for authority in authorities {
        let (reply, _) = connect_through(setup.sidecar.proxy(), authority).await.unwrap();
        assert_eq!((reply.status, error(&reply)), (status, Some(code.to_owned())), "{authority:?}: {reply:?}");
    }
}

fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_default()
}

fn error(reply: &Reply) -> Option<String> {
    json(reply)["error"].as_str().map(ToOwned::to_owned)
}

/// The status line and body of a raw refusal, and its `Proxy-Status`.
fn parts(text: &str) -> (String, String, Value) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    let status_line = head.lines().next().unwrap_or_default();
    let proxy_status = head.lines().find_map(|line| line.strip_prefix("proxy-status: ")).unwrap_or_default();
    (status_line[9..].to_owned(), proxy_status.to_owned(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn authorities_that_are_none_are_400_and_nothing_is_dialled() {
    let (origin, setup) = beside_http1().await;
    let port = origin.port();
    let userinfo = [
        format!("user@origin.test:{port}"),
        format!("user:hunter2@origin.test:{port}"),
        format!("origin.test@evil.test:{port}"),
    ];
    let malformed = ["origin.test:0", "origin.test:65536", "origin.test:-1", "origin.test:", "origin.test", "a..b:443"];
    let more = ["origin.test:443x", "origin.test:+443", "%6frigin.test:443", "origin%2etest:443", "*.test:443", ":443"];
    let unreadable =
        ["origin\0.test:443", "[::1:443", "[fe80::1%25eth0]:443", "origin.test:443/path", "http://origin.test/"];
    for authority in userinfo.iter().map(String::as_str).chain(malformed).chain(more).chain(unreadable) {
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: origin.test\r\n\r\n");
        let reply = raw_refusal(&setup, &request).await;
        assert_eq!(status_of(&reply), Some(400), "{authority:?}: {:?}", reply.text());
        assert!(!reply.text().contains("hunter2"));
    }
    assert_eq!(origin.connections().len(), 0);
    assert!(!setup.sidecar.stderr().contains("hunter2"));
}

/// The refusal of a request that ends its connection.
async fn raw_refusal(setup: &Setup, request: &str) -> RawReply {
    let mut stream = tokio::net::TcpStream::connect(setup.sidecar.proxy()).await.unwrap();
    send_and_end(&mut stream, request.as_bytes()).await
}

#[tokio::test]
async fn addresses_in_any_form_are_refused_unless_listed() {
    let (origin, setup) = beside_http1().await;
    for (host, canonical) in [
        ("127.0.0.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
        ("169.254.169.254", "169.254.169.254"),
    ] {
        let (reply, _) = connect_through(setup.sidecar.proxy(), &format!("{host}:{}", origin.port())).await.unwrap();
        assert_eq!((reply.status, error(&reply).as_deref()), (403, Some("host_not_allowed")), "{host}");
        let named = json(&reply)["host"].as_str().unwrap().to_owned();
        let port = origin.port();
        assert!(
            [format!("{canonical}:{port}"), format!("[::ffff:127.0.0.1]:{port}")].contains(&named),
            "{host}: {named}"
        );
    }
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn a_listed_address_is_reached_in_every_form_of_it() {
    let origin = Origin::builder().protocols(Protocols::Http1).start().await;
    let policy = allow(&origin).replace("origin.test", "127.0.0.1");
    let setup = Setup::start(origin.ca(), &policy, &[]).await;
    for host in ["127.0.0.1", "0x7f.1", "2130706433"] {
        let stream = tunnel(setup.sidecar.proxy(), &format!("{host}:{}", origin.port())).await.unwrap();
        let mut stream = setup.client_tls().handshake("127.0.0.1", stream).await.unwrap();
        let request = format!("GET /zen HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", origin.port());
        assert_eq!(status_of(&send_and_end(&mut stream, request.as_bytes()).await), Some(200), "{host}");
    }
}

#[tokio::test]
async fn a_name_has_one_verdict_in_every_form_of_it() {
    let origin = Origin::builder().start().await;
    let policy = allow(&origin).replace("origin.test", "bücher.test");
    let setup = Setup::start(origin.ca(), &policy, &[]).await;
    let connect = async |host: &str| {
        let request = format!("CONNECT {host}:{} HTTP/1.1\r\n\r\n", origin.port());
        connect_with(setup.sidecar.proxy(), request.as_bytes()).await.unwrap().0.status
    };
    for host in ["xn--bcher-kva.test", "XN--BCHER-KVA.TEST", "xn--bcher-kva.test."] {
        assert_eq!(connect(host).await, 200, "{host}");
    }
    for host in ["bücher.test", "BÜCHER.test", "bücher\u{ff0e}test", "bücher\u{3002}test"] {
        assert_eq!(connect(host).await, 400, "an authority is ASCII: {host}");
    }
    for host in ["bucher.test", "xn--bcher-kva.test.evil.test", "xn--invalid-\u{fc}.test"] {
        assert!([400, 403].contains(&connect(host).await), "{host}");
    }
}

#[tokio::test]
async fn ports_are_those_of_the_rule_and_no_others() {
    let (origin, setup) = beside_http1().await;
    refused(
        &setup,
        &["origin.test:22", "origin.test:25", "origin.test:443", "origin.test:80"],
        403,
        "port_not_allowed",
    )
    .await;
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn wildcards_match_whole_labels_below_their_suffix() {
    let (origin, setup) = beside_http1().await;
    let policy = "  - id: wild\n    host: \"*.allowed.test\"\n";
    setup.enforce(policy).await;
    let no = ["evilallowed.test:443", "allowed.test.evil.test:443", "allowed.test:443", "x.allowed.test.evil.test:443"];
    refused(&setup, &no, 403, "host_not_allowed").await;
    for bad in [
        "evil.test%2eallowed.test:443",
        "evil.test\0.allowed.test:443",
        "evil.test\\.allowed.test:443",
        ".allowed.test:443",
    ] {
        let reply = raw_refusal(&setup, &format!("CONNECT {bad} HTTP/1.1\r\n\r\n")).await;
        assert_eq!(status_of(&reply), Some(400), "{bad:?}");
    }
    let (reply, _) = connect_through(setup.sidecar.proxy(), "a.b.allowed.test:443").await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn http_1_0_clients_get_tunnels_and_refusals() {
    let (origin, setup) = beside_http1().await;
    let request = format!("CONNECT origin.test:{} HTTP/1.0\r\n\r\n", origin.port());
    let (reply, stream) = connect_with(setup.sidecar.proxy(), request.as_bytes()).await.unwrap();
    assert_eq!(reply.status, 200);
    let mut stream = setup.client_tls().handshake("origin.test", stream).await.unwrap();
    let request = format!("GET /zen HTTP/1.0\r\nHost: origin.test:{}\r\n\r\n", origin.port());
    assert_eq!(status_of(&send_and_end(&mut stream, request.as_bytes()).await), Some(200));
    let (reply, _) = connect_with(setup.sidecar.proxy(), b"CONNECT evil.test:443 HTTP/1.0\r\n\r\n").await.unwrap();
    assert_eq!((reply.status, error(&reply).as_deref()), (403, Some("host_not_allowed")));
}

#[tokio::test]
async fn the_answer_to_an_allowed_connect_has_no_body() {
    let (origin, setup) = beside_http1().await;
    let (reply, _) = connect_through(setup.sidecar.proxy(), &format!("origin.test:{}", origin.port())).await.unwrap();
    // RFC 9110 9.3.6 forbids both.
    assert_eq!((reply.header("content-length"), reply.header("transfer-encoding")), (None, None), "{reply:?}");
}

#[tokio::test]
async fn a_body_on_connect_is_refused() {
    let (origin, setup) = beside_http1().await;
    for fields in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let head = format!("CONNECT origin.test:{} HTTP/1.1\r\nHost: origin.test\r\n{fields}\r\n", origin.port());
        let reply = raw_refusal(&setup, &format!("{head}5\r\nhello\r\n0\r\n\r\n")).await;
        assert_eq!(status_of(&reply), Some(400), "{fields:?}: {}", reply.text());
    }
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn bytes_behind_the_head_are_the_first_of_the_tunnel_and_nothing_else() {
    let (origin, setup) = beside_http1().await;
    let head = format!("CONNECT origin.test:{} HTTP/1.1\r\nHost: origin.test\r\n\r\n", origin.port());
    let hello = client_hello(&setup).await;
    let mut stream = tokio::net::TcpStream::connect(setup.sidecar.proxy()).await.unwrap();
    let reply = send_and_end(&mut stream, &[head.as_bytes(), &hello].concat()).await;
    let end = reply.bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(status_of(&reply), Some(200));
    assert_eq!(reply.bytes[end..][..2], [22, 3], "no ServerHello but {:?}", &reply.bytes[end..]);

    let smuggled = format!("{head}GET http://origin.test:{}/ HTTP/1.1\r\nHost: origin.test\r\n\r\n", origin.port());
    let reply = raw_refusal(&setup, &smuggled).await;
    assert_eq!(reply.text().matches("HTTP/1.1 ").count(), 1, "{}", reply.text());
    assert_eq!(origin.connections().len(), 0);
}

/// What a TLS client says first.
async fn client_hello(setup: &Setup) -> Vec<u8> {
    use tokio::io::AsyncReadExt as _;
    let (near, mut far) = tokio::io::duplex(64 << 10);
    let tls = setup.client_tls();
    let handshake = tokio::spawn(async move { tls.handshake("origin.test", near).await.map(drop) });
    let mut hello = vec![0; 16 << 10];
    let read = far.read(&mut hello).await.unwrap();
    handshake.abort();
    hello.truncate(read);
    hello
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let (origin, setup) = beside_http1().await;
    let connect = format!("CONNECT origin.test:{} HTTP/1.1\r\nHost: origin.test\r\n", origin.port());
    let fields: String = (0..1000).map(|number| format!("X-{number}: a\r\n")).collect();
    for fields in [format!("X-Long: {}\r\n", "a".repeat(64 << 10)), fields] {
        let reply = raw_refusal(&setup, &format!("{connect}{fields}\r\n")).await;
        assert!(matches!(status_of(&reply), Some(400 | 431)), "{}", reply.text());
        let inside = format!("GET /zen HTTP/1.1\r\nHost: origin.test:{}\r\n{fields}\r\n", origin.port());
        let reply = setup.raw_in_tunnel(&origin, inside.as_bytes()).await;
        assert!(matches!(status_of(&reply), Some(400 | 431)), "{}", reply.text());
    }
    assert_eq!(origin.request_count(), 0);
    setup.serves(&origin).await;
}

#[tokio::test]
async fn the_number_of_fields_is_a_setting() {
    let origin = Origin::builder().protocols(Protocols::Http1).start().await;
    let arguments = ["--max-head-fields", "150", "--resolve", &resolve(&origin)];
    let setup = Setup::start(origin.ca(), &allow(&origin), &arguments).await;
    for (count, status) in [(140, 200), (160, 431)] {
        let fields: String = (0..count).map(|number| format!("X-{number}: a\r\n")).collect();
        let request = format!("GET /zen HTTP/1.1\r\nHost: origin.test:{}\r\n{fields}\r\n", origin.port());
        assert_eq!(status_of(&setup.raw_in_tunnel(&origin, request.as_bytes()).await), Some(status), "{count}");
    }
}

#[tokio::test]
async fn large_heads_do_not_stay_in_memory() {
    let (origin, setup) = beside_http1().await;
    setup.serves(&origin).await;
    let before = setup.sidecar.rss_kib();
    // Without an end: what is kept of it is bounded by the head's limit.
    let endless = format!("CONNECT origin.test:{} HTTP/1.1\r\nX-Long: {}", origin.port(), "a".repeat(4 << 20));
    for _ in 0..8 {
        let reply = raw_refusal(&setup, &endless).await;
        assert!(matches!(status_of(&reply), None | Some(400 | 431)), "{}", reply.text());
    }
    let grown = setup.sidecar.peak_rss_kib().saturating_sub(before);
    assert!(grown < 8 << 10, "the sidecar grew by {grown} KiB");
}

#[tokio::test]
async fn fields_of_the_connect_never_reach_the_origin() {
    let (origin, setup) = beside_http1().await;
    let head = format!(
        "CONNECT origin.test:{} HTTP/1.1\r\nHost: origin.test\r\nProxy-Authorization: Basic c2VjcmV0\r\n\
         Proxy-Connection: keep-alive\r\nX-Mine: 1\r\n\r\n",
        origin.port()
    );
    let (_, stream) = connect_with(setup.sidecar.proxy(), head.as_bytes()).await.unwrap();
    let mut stream = setup.client_tls().handshake("origin.test", stream).await.unwrap();
    let request = format!("GET /zen HTTP/1.1\r\nHost: origin.test:{}\r\n\r\n", origin.port());
    send_and_end(&mut stream, request.as_bytes()).await;
    let seen = origin.requests();
    assert_eq!(seen.len(), 1);
    for gone in ["proxy-authorization", "proxy-connection", "x-mine"] {
        assert_eq!(seen[0].head.header(gone), None);
    }
}

#[tokio::test]
async fn the_host_of_a_connect_is_that_of_its_target() {
    let (origin, setup) = beside_http1().await;
    let head = format!("CONNECT origin.test:{} HTTP/1.1\r\nHost: evil.test\r\n\r\n", origin.port());
    let (reply, _) = connect_with(setup.sidecar.proxy(), head.as_bytes()).await.unwrap();
    assert_eq!((reply.status, error(&reply).as_deref()), (421, Some("misdirected_request")));
}

#[tokio::test]
async fn the_proxys_own_ports_are_refused_even_where_the_policy_lists_them() {
    let (origin, setup) = beside_http1().await;
    let (proxy, admin) = (setup.sidecar.proxy(), setup.sidecar.admin());
    for own in [proxy, admin] {
        refused(&setup, &[&own.to_string()], 403, "host_not_allowed").await;
    }
    let listed = |scheme| {
        let (proxy, admin) = (proxy.port(), admin.port());
        format!(
            "  - id: {scheme}\n    host: 127.0.0.1\n    ports: [{proxy}, {admin}]\n    scheme: {scheme}\n    private_cidrs: [127.0.0.0/8]\n"
        )
    };
    setup.enforce(&(listed("http") + &allow(&origin))).await;
    for own in [proxy, admin] {
        let mut client = http_through(proxy).await.unwrap();
        let fetched = client.get(&format!("http://{own}/metrics")).await.unwrap();
        assert_eq!((fetched.status.as_u16(), fetched.json()["error"].as_str()), (403, Some("proxy_loop")));
    }
    setup.enforce(&listed("https")).await;
    for own in [proxy, admin] {
        refused(&setup, &[&own.to_string(), &format!("0x7f.1:{}", own.port())], 403, "proxy_loop").await;
    }
}

#[tokio::test]
async fn an_unlisted_host_is_refused_at_connect_and_no_leaf_is_made() {
    let (origin, setup) = beside_http1().await;
    refused(&setup, &["evil.test:443", "origin.test.evil.test:443"], 403, "host_not_allowed").await;
    let line = setup.sidecar.wait_for_audit(|line| line["host"] == "evil.test", DEADLINE).await;
    assert_eq!(
        (&line["verdict"], &line["code"], &line["status"]),
        (&"denied".into(), &"host_not_allowed".into(), &403.into())
    );
    assert_eq!(origin.connections().len(), 0);
    // The counter is written every few seconds: what it counts first shows that it had time to count more.
    setup.serves(&origin).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mints = tokio::time::timeout(DEADLINE, async {
        loop {
            ticks.tick().await;
            let metrics = http_get(setup.sidecar.admin(), "/metrics").await.unwrap().text();
            let mints = metrics.lines().find_map(|line| line.split_once("leaf_mints_total ")?.1.parse::<u64>().ok());
            if let Some(mints @ 1..) = mints {
                return mints;
            }
        }
    });
    assert_eq!(mints.await.expect("the leaf of the allowed host is counted"), 1);
}

#[tokio::test]
async fn a_refusal_is_the_same_for_connect_in_absolute_form_and_inside_the_tunnel() {
    let (origin, setup) = beside_http1().await;
    let evil = "Forbidden: evil.test is not in the policy (host_not_allowed)";
    let connect = raw_refusal(&setup, "CONNECT evil.test:80 HTTP/1.1\r\nHost: evil.test:80\r\n\r\n").await;
    let plain = raw_refusal(&setup, "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
    assert_eq!(parts(&connect.text()), parts(&plain.text()));
    let (status, proxy_status, body) = parts(&connect.text());
    assert_eq!(status, format!("403 {evil}"));
    assert_eq!(proxy_status, "sandgate; error=http_request_denied; details=\"host_not_allowed\"");
    assert_eq!((&body["error"], &body["host"]), (&"host_not_allowed".into(), &"evil.test:80".into()));

    let deny = "    deny:\n      - methods: [DELETE]\n        paths: [\"/**\"]\n";
    setup.enforce(&(allow(&origin) + deny)).await;
    let port = origin.port();
    let request = format!("DELETE /x HTTP/1.1\r\nHost: origin.test:{port}\r\n\r\n");
    let (status, proxy_status, body) = parts(&setup.raw_in_tunnel(&origin, request.as_bytes()).await.text());
    assert_eq!(status, "403 Forbidden: the policy denies this method and path on origin.test (request_denied)");
    assert_eq!(proxy_status, "sandgate; error=http_request_denied; details=\"request_denied\"");
    assert_eq!((&body["host"], &body["rule"]), (&format!("origin.test:{port}").into(), &"origin".into()));
    assert!(body["message"].as_str().unwrap().contains("; "), "{body}");
    assert_eq!(origin.request_count(), 0);
}

#[tokio::test]
async fn the_reason_phrase_fits_whatever_the_host() {
    let (_origin, setup) = beside(Protocols::Http1).await;
    let long = format!("{0}.{0}.{0}.example", "a".repeat(63));
    let (reply, _) = connect_through(setup.sidecar.proxy(), &format!("{long}:443")).await.unwrap();
    assert!(reply.reason.len() <= 120 && reply.reason.ends_with("(host_not_allowed)"), "{}", reply.reason);
    assert!(reply.reason.contains(".example "), "{}", reply.reason);
}

#[tokio::test]
async fn a_refused_client_may_ask_again_on_the_same_connection() {
    let origin = Origin::builder().start().await;
    let setup = Setup::start(origin.ca(), &allow(&origin), &["--resolve", &resolve(&origin)]).await;
    let (reply, mut stream) = connect_through(setup.sidecar.proxy(), "evil.test:443").await.unwrap();
    assert_eq!(reply.status, 403);
    let again = format!("CONNECT origin.test:{} HTTP/1.1\r\nHost: origin.test\r\n\r\n", origin.port());
    let reply = send_and_end(&mut stream, again.as_bytes()).await;
    assert!(matches!(status_of(&reply), None | Some(200)), "{}", reply.text());
}
