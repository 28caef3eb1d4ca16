//! Origins behind an upstream proxy: what it is told, what passes through it, and what stays verified end to end. A
//! second sidecar is the proxy where a whole one is needed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::path::Path;

use sandgate_testkit::client::{ClientTls, Fetched, https_through, tunnel, websocket};
use sandgate_testkit::origin::{Origin, Protocols};
use sandgate_testkit::pki::TestCa;
use sandgate_testkit::raw_origin::RawOrigin;
use sandgate_testkit::raw_origin::scripts::{tunnel_to, tunnel_with};
use sandgate_testkit::sidecar::Sidecar;
use tokio::time::timeout;

use crate::beside::{DEADLINE, client, code, destination, echo, stream, uri};
use crate::harness::{PROGRAM, Setup, allow, resolve};

/// An origin, a proxy that opens tunnels to it, and a sidecar that reaches `origin.test` through that proxy.
pub(crate) struct Chained {
    pub(crate) origin: Origin,
    pub(crate) proxy: RawOrigin,
    pub(crate) setup: Setup,
}

impl Chained {
    pub(crate) async fn start(protocols: Protocols, more: &str, arguments: &[&str]) -> Self {
        let origin = Origin::builder().protocols(protocols).start().await;
        let target = origin.addr();
        let proxy = RawOrigin::plain(move |connection| tunnel_to(connection, target)).await;
        let policy = destination("origin.test", origin.port(), more);
        let (url, resolve) = (format!("http://{}", proxy.addr()), resolve(&origin));
        let all = [&["--upstream-proxy", &url, "--resolve", &resolve], arguments].concat();
        let setup = Setup::start(origin.ca(), &policy, &all).await;
        Self { origin, proxy, setup }
    }

    /// A request on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Fetched {
        get(&self.setup, self.origin.port(), path).await
    }
}

pub(crate) async fn get(setup: &Setup, port: u16, path: &str) -> Fetched {
    let mut client = client(setup, port, "http/1.1").await;
    timeout(DEADLINE, client.get(&uri(port, path))).await.expect("within a bound").unwrap()
}

/// A sidecar as the corporate proxy in front of `origin`, and the sidecar of the workload behind it.
struct TwoSidecars {
    origin: Origin,
    corporate: Setup,
    own: Setup,
}

impl TwoSidecars {
    /// `of_corporate` are further lines of the corporate proxy's rule, `more` of both. Without the former it intercepts,
    /// and the own sidecar knows its root.
    async fn start(protocols: Protocols, of_corporate: &str, more: &str) -> Self {
        let origin = Origin::builder().protocols(protocols).start().await;
        let resolve = resolve(&origin);
        let corporate =
            Setup::start(origin.ca(), &(allow(&origin) + of_corporate + more), &["--resolve", &resolve]).await;
        let (url, root) = (corporate.sidecar.proxy_url(), corporate.dir.path().join("trust/ca.crt"));
        let root = root.display().to_string();
        let mut arguments = vec!["--resolve", &resolve, "--upstream-proxy", &url];
        if of_corporate.is_empty() {
            arguments.extend(["--upstream-ca", &root]);
        }
        let own = Setup::start(origin.ca(), &(allow(&origin) + more), &arguments).await;
        Self { origin, corporate, own }
    }
}

#[tokio::test]
async fn an_intercepting_proxy_whose_root_is_known_is_passed_with_http2_websockets_and_bodies() {
    let chain = TwoSidecars::start(Protocols::Both, "", "").await;
    let port = chain.origin.port();
    for alpn in ["h2", "http/1.1"] {
        let mut client = client(&chain.own, port, alpn).await;
        let fetched = client.get(&uri(port, "/zen")).await.unwrap();
        assert_eq!((fetched.status.as_u16(), fetched.text().trim()), (200, "Keep it logically awesome."), "{alpn}");
    }
    let mut client = client(&chain.own, port, "h2").await;
    let fetched = client.post(&uri(port, "/echo"), vec![7_u8; 300_000]).await.unwrap();
    assert_eq!((fetched.status.as_u16(), &fetched.json()["body_bytes"]), (200, &300_000.into()));
    let mut stream = stream(&chain.own, port).await;
    assert_eq!(websocket(&mut stream, &format!("origin.test:{port}"), "/ws").await.unwrap().status, 101);
    timeout(DEADLINE, echo(&mut stream, "through two")).await.expect("the echo comes").unwrap();
    let request = |line: &serde_json::Value| line["kind"] == "request" && line["path"] == "/zen";
    let own = chain.own.sidecar.wait_for_audit(request, DEADLINE).await;
    assert_eq!(own["address"], chain.corporate.sidecar.proxy().to_string(), "what was dialled is the proxy");
    let there = chain.corporate.sidecar.wait_for_audit(request, DEADLINE).await;
    assert_eq!((&there["host"], &there["port"]), (&"origin.test".into(), &port.into()));
}

#[tokio::test]
async fn an_intercepting_proxy_whose_root_is_not_known_is_noticed_before_a_request_is_sent() {
    let origin = Origin::builder().start().await;
    let corporate = Setup::start(origin.ca(), &allow(&origin), &["--resolve", &resolve(&origin)]).await;
    let url = corporate.sidecar.proxy_url();
    let own =
        Setup::start(origin.ca(), &allow(&origin), &["--resolve", &resolve(&origin), "--upstream-proxy", &url]).await;
    let fetched = get(&own, origin.port(), "/zen").await;
    assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (502, "certificate_unknown_issuer"));
    assert_eq!(origin.request_count(), 0);
}

#[tokio::test]
async fn through_a_proxy_that_passes_tls_on_the_origin_itself_is_verified_and_its_connection_shared() {
    let chain = TwoSidecars::start(Protocols::Both, "    tls: passthrough\n", "").await;
    let port = chain.origin.port();
    for _ in 0..2 {
        let mut client = client(&chain.own, port, "h2").await;
        assert_eq!(client.get(&uri(port, "/zen")).await.unwrap().status, 200);
    }
    assert_eq!(chain.origin.connections().len(), 1, "the second request uses the tunnel of the first");
    let other = TestCa::named("another");
    let untrusting = allow(&chain.origin);
    let (url, resolve) = (chain.corporate.sidecar.proxy_url(), resolve(&chain.origin));
    let own = Setup::start(&other, &untrusting, &["--resolve", &resolve, "--upstream-proxy", &url]).await;
    assert_eq!(code(&get(&own, port, "/zen").await), "certificate_unknown_issuer");
}

#[tokio::test]
async fn a_passthrough_tunnel_leads_through_the_proxy_to_the_origins_own_certificate() {
    let chained = Chained::start(Protocols::Http1, "    tls: passthrough\n", &[]).await;
    let port = chained.origin.port();
    let tls = ClientTls::new(&chained.origin.ca().root_pem());
    let mut client = https_through(chained.setup.sidecar.proxy(), "origin.test", port, &tls).await.unwrap();
    assert_eq!(client.get(&uri(port, "/zen")).await.unwrap().status, 200);
    drop(client);
    let ended = chained.setup.sidecar.wait_for_audit(|line| line["kind"] == "tunnel_end", DEADLINE).await;
    assert_eq!(
        (&ended["address"], &ended["code"]),
        (&chained.proxy.addr().to_string().into(), &serde_json::Value::Null)
    );
}

#[tokio::test]
async fn plain_http_takes_a_tunnel_too_and_the_origin_sees_no_sign_of_the_proxy() {
    let chain = TwoSidecars::start(Protocols::Plain, "", "    scheme: http\n").await;
    let port = chain.origin.port();
    let mut client = sandgate_testkit::client::http_through(chain.own.sidecar.proxy()).await.unwrap();
    for _ in 0..2 {
        let fetched = client.get(&format!("http://origin.test:{port}/zen")).await.unwrap();
        assert_eq!(fetched.status, 200, "{}", fetched.text());
    }
    let asked = chain.corporate.sidecar.audit_lines().iter().filter(|line| line["method"] == "CONNECT").count();
    assert_eq!(asked, 1, "one tunnel carries both");
    let request = &chain.origin.requests()[0];
    assert!(request.head.header("proxy-authorization").is_none() && request.head.header("via").is_none());
    assert_eq!(request.head.header("host"), Some(format!("origin.test:{port}").as_str()));
}

#[tokio::test]
async fn the_proxy_is_told_the_name_and_the_port_and_nothing_else() {
    let chained = Chained::start(Protocols::Http1, "", &[]).await;
    assert_eq!(chained.get("/zen").await.status, 200);
    let authority = format!("origin.test:{}", chained.origin.port());
    assert_eq!(chained.proxy.requests(), [format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n")]);
}

#[tokio::test]
async fn any_2xx_opens_the_tunnel_whatever_length_it_claims() {
    let origin = Origin::builder().start().await;
    for answer in [
        "HTTP/1.0 200 Connection established\r\nProxy-agent: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 17\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 201 x\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        let target = origin.addr();
        let proxy = RawOrigin::plain(move |connection| tunnel_with(connection, answer, target)).await;
        let (url, resolve) = (format!("http://{}", proxy.addr()), resolve(&origin));
        let setup =
            Setup::start(origin.ca(), &allow(&origin), &["--upstream-proxy", &url, "--resolve", &resolve]).await;
        let fetched = get(&setup, origin.port(), "/zen").await;
        assert_eq!(fetched.status, 200, "{answer}: {}", fetched.text());
    }
}

#[tokio::test]
async fn credentials_come_from_the_file_as_it_is_now_and_show_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth");
    let set = |text: &str| std::fs::write(&file, text).unwrap();
    set("Aladdin:open sesame\n");
    let path = file.display().to_string();
    let arguments = ["--upstream-proxy-auth-file", &path, "--log-level", "trace", "--pool-idle-timeout", "1ms"];
    let chained = Chained::start(Protocols::Http1, "", &arguments).await;
    let warning = chained.setup.sidecar.wait_for_stderr("may be read or written by others", DEADLINE).await;
    assert!(warning.contains(&path), "{warning}");
    // An upgrade has a connection of its own, and so has each CONNECT behind one.
    let upgrade = async || {
        let port = chained.origin.port();
        let mut stream = stream(&chained.setup, port).await;
        websocket(&mut stream, &format!("origin.test:{port}"), "/ws").await.unwrap().status
    };
    assert_eq!(upgrade().await, 101);
    set("user:changed");
    assert_eq!(upgrade().await, 101);
    let heads = chained.proxy.requests();
    assert!(heads[0].contains("\r\nproxy-authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"), "{heads:?}");
    assert!(heads[1].contains("\r\nproxy-authorization: Basic dXNlcjpjaGFuZ2Vk\r\n"), "{heads:?}");
    std::fs::remove_file(&file).unwrap();
    let fetched = chained.get("/zen").await;
    assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (502, "upstream_proxy_auth"));
    assert!(!fetched.text().contains(&path), "a client learns no path: {}", fetched.text());
    let log = chained.setup.sidecar.wait_for_stderr("nothing reaches the upstream proxy", DEADLINE).await;
    assert!(log.contains(&path), "{log}");
    let audit: String = chained.setup.sidecar.audit_lines().iter().map(ToString::to_string).collect();
    let metrics = sandgate_testkit::client::http_get(chained.setup.sidecar.admin(), "/metrics").await.unwrap().text();
    for secret in ["sesame", "QWxhZ", "changed", "dXNlc"] {
        let everywhere = [&chained.setup.sidecar.stderr(), &audit, &metrics, &fetched.text()];
        assert!(everywhere.iter().all(|text| !text.contains(secret)), "{secret}");
    }
    let head = &chained.origin.requests()[0].head;
    assert!(head.header("proxy-authorization").is_none());
}

#[tokio::test]
async fn a_proxy_over_tls_is_verified_by_its_name() {
    let origin = Origin::builder().start().await;
    let target = origin.addr();
    let proxy = RawOrigin::tls(origin.ca(), Protocols::Http1, move |connection| tunnel_to(connection, target)).await;
    let resolve = [resolve(&origin), format!("proxy.origin.test:{}:127.0.0.1", proxy.port())];
    let resolve = resolve.join(",");
    let url = format!("https://proxy.origin.test:{}", proxy.port());
    let setup = Setup::start(origin.ca(), &allow(&origin), &["--resolve", &resolve, "--upstream-proxy", &url]).await;
    for alpn in ["h2", "http/1.1"] {
        let mut client = client(&setup, origin.port(), alpn).await;
        assert_eq!(client.get(&uri(origin.port(), "/zen")).await.unwrap().status, 200, "{alpn}");
    }
    let mut stream = stream(&setup, origin.port()).await;
    assert_eq!(websocket(&mut stream, &format!("origin.test:{}", origin.port()), "/ws").await.unwrap().status, 101);
    timeout(DEADLINE, echo(&mut stream, "TLS in TLS in TLS")).await.expect("the echo comes").unwrap();
}

#[tokio::test]
async fn serve_ignores_the_proxy_variables_of_its_environment() {
    let (origin, dir) = (Origin::builder().start().await, tempfile::tempdir().unwrap());
    let proxy = RawOrigin::plain(move |connection| tunnel_to(connection, ([127, 0, 0, 1], 1).into())).await;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (policy, trust, roots) = (path("policy.yaml"), path("trust"), path("roots.pem"));
    origin.ca().write_root(Path::new(&roots));
    std::fs::create_dir(&trust).unwrap();
    std::fs::write(&policy, format!("version: 1\ndestinations:\n{}", allow(&origin))).unwrap();
    let resolve = resolve(&origin);
    let arguments = ["--ca", "generate", "--policy", &policy, "--trust-dir", &trust, "--upstream-ca", &roots];
    let url = format!("http://{}", proxy.addr());
    let names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let variables = names.map(|name| (name, url.as_str()));
    let sidecar =
        Sidecar::start(Path::new(PROGRAM), &[&arguments[..], &["--resolve", &resolve]].concat(), &variables).await;
    let tls = ClientTls::new(&std::fs::read_to_string(Path::new(&trust).join("ca.crt")).unwrap());
    let stream = tunnel(sidecar.proxy(), &format!("origin.test:{}", origin.port())).await.unwrap();
    let stream = tls.handshake("origin.test", stream).await.unwrap();
    let mut client = sandgate_testkit::client::Client::over_tls(stream).await.unwrap();
    assert_eq!(client.get(&uri(origin.port(), "/zen")).await.unwrap().status, 200);
    assert_eq!(proxy.connections(), 0);
}
