//! Which destinations go through the upstream proxy, which directly, and which nowhere: names, addresses, and the
//! proxy's own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::time::Duration;

use sandgate_testkit::client::{read_all, tunnel, websocket};
use sandgate_testkit::dns::{Answer, DnsServer};
use sandgate_testkit::origin::{Origin, Protocols};
use sandgate_testkit::raw_origin::RawOrigin;
use sandgate_testkit::raw_origin::scripts::tunnel_to;
use sandgate_testkit::sidecar::run_command;

use crate::beside::{DEADLINE, code, destination, echo, stream};
use crate::harness::{PROGRAM, Setup};
use crate::upstream_proxy::{Chained, get};

/// An origin behind a proxy, and a sidecar that asks this name server: for the origin's name and for the proxy's.
struct Named {
    origin: Origin,
    proxy: RawOrigin,
    dns: DnsServer,
    setup: Setup,
}

impl Named {
    /// The rule of `origin.test` lists `private_cidrs`; the proxy is `proxy.test`.
    async fn start(private_cidrs: &str, arguments: &[&str]) -> Self {
        let (origin, dns) = (Origin::builder().start().await, DnsServer::start().await);
        let target = origin.addr();
        let proxy = RawOrigin::plain(move |connection| tunnel_to(connection, target)).await;
        dns.addresses("proxy.test", &["127.0.0.1"]);
        let (server, url) = (dns.addr().to_string(), format!("http://proxy.test:{}", proxy.port()));
        let all = [&["--dns", &server, "--upstream-proxy", &url], arguments].concat();
        let setup = Setup::start(origin.ca(), &policy(&origin, private_cidrs), &all).await;
        Self { origin, proxy, dns, setup }
    }

    /// The status of a request, and the code where it is refused.
    async fn get(&self) -> (u16, String) {
        let fetched = get(&self.setup, self.origin.port(), "/zen").await;
        let refusal = if fetched.status == 200 { String::new() } else { code(&fetched) };
        (fetched.status.as_u16(), refusal)
    }
}

fn policy(origin: &Origin, private_cidrs: &str) -> String {
    format!(
        "  - id: origin\n    host: origin.test\n    ports: [{}]\n    private_cidrs: [{private_cidrs}]\n",
        origin.port()
    )
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_name_with_any_refused_address_here_never_reaches_the_proxy() {
    let named = Named::start("10.0.0.0/8", &[]).await;
    let public_and_private = ["93.184.216.34", "192.168.0.1"];
    for (addresses, expected) in [
        (&["192.168.0.1"][..], "address_not_allowed"),
        (&["127.0.0.1"], "address_not_allowed"),
        (&["169.254.169.254"], "metadata_address"),
        (&["::ffff:169.254.169.254"], "metadata_address"),
        (&public_and_private, "address_not_allowed"),
        (&["10.0.0.1", "fd00::1"], "address_not_allowed"),
    ] {
        named.dns.addresses("origin.test", addresses);
        assert_eq!(named.get().await, refused(403, expected), "{addresses:?}");
    }
    // What the last of them lacks can be added.
    let body = get(&named.setup, named.origin.port(), "/zen").await.text();
    assert!(body.contains("fd00::1/128") && !body.contains("whatever a policy lists"), "{body}");
    let both = ["93.184.216.34", "fd00::1"].map(|address| address.parse().unwrap()).to_vec();
    named.dns.set("origin.test", Answer::LateV6(both, Duration::from_millis(300)));
    assert_eq!(named.get().await, refused(403, "address_not_allowed"), "the private one comes late");
    assert_eq!(named.proxy.connections(), 0);
    let line = named.setup.sidecar.wait_for_audit(|line| line["kind"] == "request", DEADLINE).await;
    assert_eq!(line["verdict"], "denied");
}

#[tokio::test]
async fn a_name_goes_to_the_proxy_whose_addresses_are_public_or_listed_or_that_is_not_known_here() {
    for answer in [
        Answer::Addresses(vec!["93.184.216.34".parse().unwrap()]),
        Answer::Addresses(vec!["10.1.2.3".parse().unwrap(), "93.184.216.34".parse().unwrap()]),
        Answer::Addresses(Vec::new()),
        Answer::NoSuchName,
    ] {
        let named = Named::start("10.0.0.0/8", &[]).await;
        named.dns.set("origin.test", answer.clone());
        assert_eq!(named.get().await, (200, String::new()), "{answer:?}");
        assert_eq!(named.proxy.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_name_that_nobody_could_be_asked_for_is_not_taken_for_unknown() {
    for (answer, expected) in [
        (Answer::Failure, refused(502, "dns_failed")),
        (Answer::Refused, refused(502, "dns_failed")),
        (Answer::Silence, refused(504, "dns_timeout")),
    ] {
        let named = Named::start("10.0.0.0/8", &["--dns-timeout", "300ms"]).await;
        named.dns.set("origin.test", answer.clone());
        assert_eq!(named.get().await, expected, "{answer:?}");
        assert_eq!(named.proxy.connections(), 0);
    }
}

#[tokio::test]
async fn without_any_name_server_every_name_is_the_proxys_to_resolve() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let path = empty.path().display().to_string();
    let origin = Origin::builder().start().await;
    let target = origin.addr();
    let proxy = RawOrigin::plain(move |connection| tunnel_to(connection, target)).await;
    let url = format!("http://{}", proxy.addr());
    let arguments = ["--resolv-conf", &path, "--upstream-proxy", &url];
    let setup = Setup::start(origin.ca(), &policy(&origin, "10.0.0.0/8"), &arguments).await;
    assert_eq!(get(&setup, origin.port(), "/zen").await.status, 200);
    // But for those whose address is known without asking.
    let local = policy(&origin, "10.0.0.0/8").replace("origin.test", "localhost") + "    scheme: http\n";
    setup.enforce(&local).await;
    let mut client = sandgate_testkit::client::http_through(setup.sidecar.proxy()).await.unwrap();
    let fetched = client.get(&format!("http://localhost:{}/", origin.port())).await.unwrap();
    assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (403, "address_not_allowed"));
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn an_address_is_refused_by_name_unless_the_list_sends_it_directly() {
    let origin = Origin::builder().start().await;
    let proxy = RawOrigin::plain(move |connection| tunnel_to(connection, ([127, 0, 0, 1], 1).into())).await;
    let (policy, url) = (destination("127.0.0.1", origin.port(), ""), format!("http://{}", proxy.addr()));
    let reached = async |setup: &Setup| {
        let stream = tunnel(setup.sidecar.proxy(), &format!("127.0.0.1:{}", origin.port())).await.unwrap();
        let stream = setup.client_tls().handshake("127.0.0.1", stream).await.unwrap();
        let mut client = sandgate_testkit::client::Client::over_tls(stream).await.unwrap();
        client.get(&format!("https://127.0.0.1:{}/zen", origin.port())).await.unwrap()
    };
    let setup = Setup::start(origin.ca(), &policy, &["--upstream-proxy", &url]).await;
    let fetched = reached(&setup).await;
    assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (403, "literal_through_proxy"));
    assert!(fetched.text().contains("--upstream-no-proxy"), "{}", fetched.text());
    let arguments = ["--upstream-proxy", &url, "--upstream-no-proxy", "other.test,127.0.0.0/8"];
    let setup = Setup::start(origin.ca(), &policy, &arguments).await;
    assert_eq!(reached(&setup).await.status, 200);
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn a_name_on_the_list_is_reached_directly_and_its_addresses_are_judged_as_ever() {
    let chained = Chained::start(Protocols::Http1, "", &["--upstream-no-proxy", ".other.test,Origin.Test"]).await;
    assert_eq!(chained.get("/zen").await.status, 200);
    assert_eq!(chained.proxy.connections(), 0);
    let port = chained.origin.port();
    let unlisted = destination("origin.test", port, "").replace("127.0.0.0/8", "10.0.0.0/8");
    chained.setup.enforce(&unlisted).await;
    assert_eq!(code(&chained.get("/zen").await), "address_not_allowed");
    let other_port = format!("origin.test:{}", port.wrapping_add(1));
    let chained = Chained::start(Protocols::Http1, "", &["--upstream-no-proxy", &other_port]).await;
    assert_eq!(chained.get("/zen").await.status, 200);
    assert_eq!(chained.proxy.connections(), 1, "that was for another port");
}

#[tokio::test]
async fn the_proxys_own_address_is_exempt_and_no_client_reaches_it_for_that() {
    let named = Named::start("10.0.0.0/8", &[]).await;
    assert_eq!(named.get().await, (200, String::new()), "the proxy is on loopback, which no rule lists");
    let as_destination = |host: &str| {
        format!("  - id: proxy\n    host: {host}\n    scheme: http\n    ports: [{}]\n", named.proxy.port())
    };
    for (host, expected) in [("proxy.test", "address_not_allowed"), ("127.0.0.1", "address_not_allowed")] {
        named.setup.enforce(&as_destination(host)).await;
        let mut client = sandgate_testkit::client::http_through(named.setup.sidecar.proxy()).await.unwrap();
        let fetched = client.get(&format!("http://{host}:{}/", named.proxy.port())).await.unwrap();
        assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (403, expected), "{host}");
    }
    assert_eq!(named.proxy.connections(), 1);
}

#[tokio::test]
async fn the_proxys_addresses_are_tried_until_one_takes_the_connection() {
    let named = Named::start("10.0.0.0/8", &[]).await;
    named.dns.addresses("proxy.test", &["::1", "127.0.0.2", "127.0.0.1"]);
    assert_eq!(named.get().await, (200, String::new()));
}

#[tokio::test]
async fn what_is_open_outlives_a_new_policy_that_admits_the_name_and_not_one_that_refuses_its_address() {
    let named = Named::start("10.0.0.0/8, 192.168.0.0/16", &[]).await;
    named.dns.addresses("origin.test", &["10.0.0.1", "192.168.0.1"]);
    let port = named.origin.port();
    let mut socket = stream(&named.setup, port).await;
    assert_eq!(websocket(&mut socket, &format!("origin.test:{port}"), "/ws").await.unwrap().status, 101);
    let more = "    limits: {body_bytes: 1MiB}\n";
    named.setup.enforce(&(policy(&named.origin, "10.0.0.0/8, 192.168.0.0/16") + more)).await;
    echo(&mut socket, "the proxy's own address is in no rule, and need not be").await.unwrap();
    named.setup.enforce(&policy(&named.origin, "10.0.0.0/8")).await;
    assert!(read_all(&mut socket, Duration::from_secs(5)).await.closed);
}

/// A port of loopback that stays taken, so that a sidecar can have it at another address of loopback.
fn port() -> (std::net::TcpListener, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn a_sidecar_that_would_be_its_own_proxy_does_not_start() {
    let (_taken, port) = port();
    for (listen, proxy) in [("127.0.0.9", "127.0.0.9"), ("127.0.0.9", "127.9.9.9")] {
        let (listen, url) = (format!("{listen}:{port}"), format!("http://{proxy}:{port}"));
        let arguments = [
            "serve",
            "--no-env",
            "--ca",
            "generate",
            "--admin-listen",
            "none",
            "--listen",
            &listen,
            "--upstream-proxy",
            &url,
        ];
        let output = run_command(PROGRAM, &arguments, &[], DEADLINE).await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(&format!("--upstream-proxy: {url} is this sidecar itself")), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_whose_name_leads_back_here_is_refused_when_it_is_dialled() {
    let (origin, (_taken, port)) = (Origin::builder().start().await, port());
    let (listen, url) = (format!("127.0.0.9:{port}"), format!("http://proxy.test:{port}"));
    let resolve = format!("proxy.test:{port}:127.0.0.9,origin.test:{}:93.184.216.34", origin.port());
    let arguments = ["--listen", &listen, "--upstream-proxy", &url, "--resolve", &resolve];
    let setup = Setup::start(origin.ca(), &policy(&origin, "10.0.0.0/8"), &arguments).await;
    let fetched = get(&setup, origin.port(), "/zen").await;
    assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (502, "upstream_proxy_loop"));
}
