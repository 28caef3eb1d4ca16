//! What can go wrong with the upstream proxy: each failure has a code, and a message that says whose proxy it is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::time::Duration;

use sandgate_testkit::client::Fetched;
use sandgate_testkit::origin::Protocols;
use sandgate_testkit::pki::TestCa;
use sandgate_testkit::raw_origin::scripts::{BlackHole, refuse_connect, silence};
use sandgate_testkit::raw_origin::{RawConnection, RawOrigin};

use crate::beside::{DEADLINE, code, destination};
use crate::harness::Setup;
use crate::upstream_proxy::get;

/// No origin is there: none of these requests gets so far.
const PORT: u16 = 8443;

/// The refusal of a request through the proxy at `url`, which must be named in it.
async fn refusal(ca: &TestCa, url: &str, arguments: &[&str]) -> Fetched {
    let resolve = format!("origin.test:{PORT}:127.0.0.1");
    let all = [&["--upstream-proxy", url, "--resolve", &resolve], arguments].concat();
    let setup = Setup::start(ca, &destination("origin.test", PORT, ""), &all).await;
    let fetched = get(&setup, PORT, "/zen").await;
    let message = fetched.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("upstream proxy") && message.contains(url), "{url}: {message}");
    let line = setup.sidecar.wait_for_audit(|line| line["kind"] == "request", DEADLINE).await;
    assert_eq!((&line["code"], &line["status"]), (&code(&fetched).into(), &fetched.status.as_u16().into()), "{line}");
    fetched
}

async fn answered(answer: &'static [u8], arguments: &[&str]) -> Fetched {
    let proxy = RawOrigin::plain(move |connection| refuse_connect(connection, answer)).await;
    refusal(&TestCa::new(), &format!("http://{}", proxy.addr()), arguments).await
}

fn check(fetched: &Fetched, status: u16, expected: &str, words: &str) {
    assert_eq!((fetched.status.as_u16(), code(fetched).as_str()), (status, expected), "{}", fetched.text());
    assert!(fetched.text().contains(words), "{words}: {}", fetched.text());
}

#[tokio::test]
async fn every_answer_but_a_2xx_is_named_by_what_it_means() {
    for (answer, status, expected, words) in [
        (
            &b"HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\n\r\nsecret"[..],
            403,
            "upstream_proxy_denied",
            "port 443 alone",
        ),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\n\r\nsecret", 502, "upstream_proxy_status", "answered 502"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://secret.test/\r\n\r\n", 502, "upstream_proxy_status", "answered 302"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", 502, "upstream_proxy_status", "answered 101"),
        (b"HTTP/1.1 200 OK\r\n\r\nearly", 502, "upstream_proxy_protocol_error", "more than its answer"),
        (b"\x15\x03\x01 no HTTP at all\r\n\r\n", 502, "upstream_proxy_protocol_error", "not valid HTTP"),
        (b"", 502, "upstream_proxy_protocol_error", "without an answer"),
        (b"HTTP/1.1 200 O", 502, "upstream_proxy_protocol_error", "without an answer"),
    ] {
        let fetched = answered(answer, &[]).await;
        check(&fetched, status, expected, words);
        assert!(!fetched.text().contains("secret"), "what the proxy wrote is not repeated: {}", fetched.text());
    }
}

#[tokio::test]
async fn a_407_says_whether_credentials_are_missing_wrong_or_of_no_use() {
    let basic = &b"HTTP/1.1 407 x\r\nproxy-authenticate: Negotiate, Basic realm=\"x\"\r\ncontent-length: 0\r\n\r\n"[..];
    check(&answered(basic, &[]).await, 502, "upstream_proxy_auth", "can set --upstream-proxy-auth-file");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "user:hunter2\n").unwrap();
    let path = file.path().display().to_string();
    let fetched = answered(basic, &["--upstream-proxy-auth-file", &path]).await;
    check(&fetched, 502, "upstream_proxy_auth", "is wrong");
    assert!(!fetched.text().contains("hunter2") && !fetched.text().contains(&path));
    let other =
        b"HTTP/1.1 407 x\r\nproxy-authenticate: Negotiate\r\nproxy-authenticate: NTLM\r\ncontent-length: 0\r\n\r\n";
    check(&answered(other, &[]).await, 502, "upstream_proxy_auth", "no Basic authentication");
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let ca = TestCa::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // The port stays taken, and nobody listens there at this address.
    let nobody = format!("http://127.0.0.9:{}", listener.local_addr().unwrap().port());
    check(&refusal(&ca, &nobody, &[]).await, 502, "upstream_proxy_unreachable", "refused");
    let dns = sandgate_testkit::dns::DnsServer::start().await;
    let server = dns.addr().to_string();
    let fetched = refusal(&ca, "http://proxy.test:3128", &["--dns", &server]).await;
    check(&fetched, 502, "upstream_proxy_dns", "the name has no address");
    dns.set("proxy.test", sandgate_testkit::dns::Answer::Silence);
    let fetched = refusal(&ca, "http://proxy.test:3128", &["--dns", &server, "--dns-timeout", "200ms"]).await;
    check(&fetched, 502, "upstream_proxy_dns", "did not answer in time");
}

#[tokio::test]
async fn a_proxy_that_is_too_slow_is_named_at_every_step() {
    let ca = TestCa::new();
    let hole = BlackHole::start(Duration::from_millis(300)).await;
    let url = format!("http://{}", hole.addr());
    let fetched = refusal(&ca, &url, &["--dial-timeout", "300ms"]).await;
    check(&fetched, 504, "upstream_proxy_timeout", "did not take the connection");
    let quiet = RawOrigin::plain(silence).await;
    let url = format!("http://{}", quiet.addr());
    let fetched = refusal(&ca, &url, &["--dial-timeout", "300ms"]).await;
    check(&fetched, 504, "upstream_proxy_timeout", "did not answer in time");
    let url = format!("https://{}", quiet.addr());
    // The client's handshake has to end in the same time.
    let fetched = refusal(&ca, &url, &["--handshake-timeout", "2s"]).await;
    check(&fetched, 504, "upstream_proxy_timeout", "TLS handshake in time");
}

#[tokio::test]
async fn a_connection_to_a_proxy_that_does_not_answer_is_closed() {
    let (closed, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let quiet = RawOrigin::plain(move |connection| {
        let closed = closed.clone();
        async move {
            silence(connection).await;
            closed.send(()).unwrap();
        }
    })
    .await;
    let (url, resolve) = (format!("http://{}", quiet.addr()), format!("origin.test:{PORT}:127.0.0.1"));
    let arguments = ["--upstream-proxy", &url, "--resolve", &resolve, "--dial-timeout", "300ms"];
    let setup = Setup::start(&TestCa::new(), &destination("origin.test", PORT, ""), &arguments).await;
    assert_eq!(code(&get(&setup, PORT, "/zen").await), "upstream_proxy_timeout");
    tokio::time::timeout(DEADLINE, seen.recv()).await.expect("it is closed while the sidecar lives on").unwrap();
    drop(setup);
}

#[tokio::test]
async fn the_certificate_of_a_proxy_over_tls_is_checked_as_an_origins_is() {
    let (ca, other) = (TestCa::new(), TestCa::named("another"));
    let never = |connection: RawConnection| async move { unreachable!("{} got through", connection.number) };
    let proxy = RawOrigin::tls(&ca, Protocols::Http1, never).await;
    let by_address = format!("https://127.0.0.1:{}", proxy.port());
    check(&refusal(&other, &by_address, &[]).await, 502, "upstream_proxy_certificate", "UnknownIssuer; a private CA");
    let (url, resolve) =
        (format!("https://proxy.test:{}", proxy.port()), format!("proxy.test:{}:127.0.0.1", proxy.port()));
    let fetched = refusal(&ca, &url, &["--resolve", &resolve]).await;
    check(&fetched, 502, "upstream_proxy_certificate", "not valid for name");
    let plain = RawOrigin::plain(|mut connection| async move {
        connection.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        connection.until_closed().await;
    })
    .await;
    let fetched = refusal(&ca, &format!("https://{}", plain.addr()), &[]).await;
    check(&fetched, 502, "upstream_proxy_tls", "corrupt message");
}
