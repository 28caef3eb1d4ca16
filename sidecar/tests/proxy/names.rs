//! Names and addresses: what is asked, when, and which of the answers is dialled.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::net::UdpSocket;
use std::time::Duration;

use sandgate_testkit::client::{Fetched, connect_through, http_through};
use sandgate_testkit::dns::{Answer, DnsServer};
use sandgate_testkit::origin::{Builder, Origin, Protocols};
use sandgate_testkit::pki::TestCa;
use sandgate_testkit::raw_origin::scripts::BlackHole;

use crate::beside::{DEADLINE, client, code, uri};
use crate::harness::Setup;

const LOOPBACK: &str = "127.0.0.0/8, \"::1/128\"";

/// An origin, a name server, and a sidecar that asks it.
struct Named {
    origin: Origin,
    dns: DnsServer,
    setup: Setup,
}

impl Named {
    async fn start(origin: Builder, private_cidrs: &str, arguments: &[&str]) -> Self {
        let (origin, dns) = (origin.start().await, DnsServer::start().await);
        let server = dns.addr().to_string();
        let policy = destination("origin.test", origin.port(), private_cidrs);
        let setup = Setup::start(origin.ca(), &policy, &[&["--dns", &server], arguments].concat()).await;
        Self { origin, dns, setup }
    }

    async fn get(&self, path: &str) -> Fetched {
        let port = self.origin.port();
        let mut client = client(&self.setup, port, "h2").await;
        tokio::time::timeout(DEADLINE, client.get(&uri(port, path))).await.expect("within a bound").unwrap()
    }

    async fn refused_as(&self, status: u16, expected: &str, why: &str) {
        let fetched = self.get("/zen").await;
        assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (status, expected), "{why}: {}", fetched.text());
    }

    fn asked(&self) -> Vec<(String, String)> {
        let mut asked: Vec<_> = self.dns.questions().into_iter().map(|it| (it.name, it.record_type)).collect();
        asked.sort();
        asked
    }
}

fn destination(host: &str, port: u16, private_cidrs: &str) -> String {
    format!("  - id: origin\n    host: {host}\n    ports: [{port}]\n    private_cidrs: [{private_cidrs}]\n")
}

fn both_types(name: &str) -> Vec<(String, String)> {
    ["A", "AAAA"].map(|record_type| (name.to_owned(), record_type.to_owned())).to_vec()
}

#[tokio::test]
async fn a_name_is_asked_for_as_it_is_and_with_nothing_appended() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("resolv.conf");
    std::fs::write(&conf, "nameserver 127.0.0.1\nsearch evil.test svc.cluster.local\noptions ndots:5\n").unwrap();
    let named = Named::start(Origin::builder(), LOOPBACK, &["--resolv-conf", &conf.display().to_string()]).await;
    named.refused_as(502, "name_not_found", "the zone is empty").await;
    assert_eq!(named.asked(), both_types("origin.test"));
    named.setup.set_policy(&destination("single", named.origin.port(), LOOPBACK));
    named.setup.sidecar.wait_for_stderr("another policy is in force", DEADLINE).await;
    let tls = named.setup.client_tls().alpn(&["h2"]);
    let (proxy, port) = (named.setup.sidecar.proxy(), named.origin.port());
    let mut client = sandgate_testkit::client::https_through(proxy, "single", port, &tls).await.unwrap();
    assert_eq!(code(&client.get(&format!("https://single:{port}/")).await.unwrap()), "name_not_found");
    assert_eq!(named.asked(), [both_types("origin.test"), both_types("single")].concat());
}

#[tokio::test]
async fn nothing_is_asked_for_what_the_policy_refuses() {
    let named = Named::start(Origin::builder(), LOOPBACK, &[]).await;
    let (proxy, port) = (named.setup.sidecar.proxy(), named.origin.port());
    for authority in ["secret.evil.test:443", &format!("sub.origin.test:{port}"), "origin.test:1"] {
        assert_eq!(connect_through(proxy, authority).await.unwrap().0.status, 403, "{authority}");
        let fetched = http_through(proxy).await.unwrap().get(&format!("http://{authority}/")).await.unwrap();
        assert_eq!(fetched.status, 403, "{authority}");
    }
    let mut client = client(&named.setup, port, "h2").await;
    assert_eq!(client.get(&format!("https://evil.test:{port}/")).await.unwrap().status, 421);
    let denied = destination("origin.test", port, LOOPBACK) + "    deny: [{ paths: [/zen] }]\n";
    named.setup.set_policy(&denied);
    named.setup.sidecar.wait_for_stderr("another policy is in force", DEADLINE).await;
    named.refused_as(403, "request_denied", "a path of the deny list").await;
    assert_eq!(named.dns.questions(), []);
    assert_eq!(named.origin.connections().len(), 0);
}

#[tokio::test]
async fn the_address_that_was_judged_is_the_one_that_is_dialled_and_each_connection_is_judged_anew() {
    let builder = Origin::builder().protocols(Protocols::Http1);
    let named = Named::start(builder, "127.0.0.1/32", &[]).await;
    let (first, then) = (vec!["127.0.0.1".parse().unwrap()], vec!["127.0.0.2".parse().unwrap()]);
    named.dns.set("origin.test", Answer::Changing { first, questions: 2, then });
    assert_eq!(named.get("/zen").await.status, 200);
    // The connection is there, and the name is nobody's business any more.
    assert_eq!(named.get("/half-close").await.status, 200);
    assert_eq!(named.dns.questions().len(), 2);
    assert_eq!(named.origin.connections().len(), 1);
    named.refused_as(403, "address_not_allowed", "the name leads elsewhere now").await;
}

#[tokio::test]
async fn addresses_that_fail_are_dropped_and_the_others_are_dialled() {
    let named = Named::start(Origin::builder(), "127.0.0.1/32", &[]).await;
    let mixed =
        ["10.0.0.1", "169.254.169.254", "fd00:ec2::254", "::ffff:10.1.2.3", "127.0.0.2", "127.0.0.1", "0.0.0.0"];
    named.dns.addresses("origin.test", &mixed);
    assert_eq!(named.get("/zen").await.status, 200);
    let port = named.origin.port();
    let dialled = |line: &serde_json::Value| line["kind"] == "request" && line["status"] == 200;
    let line = named.setup.sidecar.wait_for_audit(dialled, DEADLINE).await;
    assert!(line["address"].as_str().unwrap().starts_with("127.0.0.1"), "{port} {line}");
}

#[tokio::test]
async fn a_name_with_no_address_left_is_a_403() {
    let named = Named::start(Origin::builder(), "127.0.0.1/32", &[]).await;
    let never = [
        "10.0.0.1",
        "127.0.0.2",
        "0.0.0.0",
        "192.0.0.1",
        "198.18.0.1",
        "240.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "100.64.0.1",
        "::",
        "::1",
        "2001:0:1::1",
        "fec0::1",
        // Not fe80::1, which bridges of Docker have.
        "fe80::5a4d:1",
        "fc00::1",
        "64:ff9b:1::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::1",
        "::7f00:1",
    ];
    for address in never {
        named.dns.addresses("origin.test", &[address]);
        named.refused_as(403, "address_not_allowed", address).await;
    }
    named.dns.addresses("origin.test", &never);
    named.refused_as(403, "address_not_allowed", "all of them").await;
    assert_eq!(named.origin.connections().len(), 0);
}

#[tokio::test]
async fn metadata_services_are_refused_in_every_form_even_if_the_range_is_listed() {
    let ranges = "169.254.0.0/16, 100.64.0.0/10, 192.0.0.0/24, \"fd00::/8\", 168.63.129.0/24";
    let named = Named::start(Origin::builder(), ranges, &[]).await;
    let metadata = [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
    ];
    for address in metadata {
        named.dns.addresses("origin.test", &[address]);
        named.refused_as(403, "metadata_address", address).await;
    }
}

#[tokio::test]
async fn failures_of_names_are_told_apart_within_a_bound() {
    let named = Named::start(Origin::builder(), LOOPBACK, &["--dns-timeout", "300ms", "--dial-timeout", "5s"]).await;
    named.setup.set_policy(&destination("\"*.origin.test\"", named.origin.port(), LOOPBACK));
    named.setup.sidecar.wait_for_stderr("another policy is in force", DEADLINE).await;
    let answers = [
        (Answer::NoSuchName, 502, "name_not_found"),
        (Answer::Addresses(Vec::new()), 502, "name_not_found"),
        (Answer::Failure, 502, "dns_failed"),
        (Answer::Refused, 502, "dns_failed"),
        (Answer::Silence, 504, "dns_timeout"),
    ];
    for (number, (answer, status, expected)) in answers.into_iter().enumerate() {
        // Another name each time, since what does not exist is remembered for a while.
        let host = format!("n{number}.origin.test");
        named.dns.set(&host, answer.clone());
        let refusal = refusal_of(&named, &host).await;
        assert_eq!((refusal.status.as_u16(), code(&refusal).as_str()), (status, expected), "{answer:?}");
        let error = refusal.headers["proxy-status"].to_str().unwrap().to_owned();
        assert!(error.contains("dns_"), "{error}");
    }
}

async fn refusal_of(named: &Named, host: &str) -> Fetched {
    let tls = named.setup.client_tls().alpn(&["h2"]);
    let (proxy, port) = (named.setup.sidecar.proxy(), named.origin.port());
    let mut client = sandgate_testkit::client::https_through(proxy, host, port, &tls).await.unwrap();
    tokio::time::timeout(DEADLINE, client.get(&format!("https://{host}:{port}/"))).await.expect("a bound").unwrap()
}

#[tokio::test]
async fn aliases_and_long_answers_are_followed() {
    let named = Named::start(Origin::builder().protocols(Protocols::Http1), LOOPBACK, &[]).await;
    named.dns.set("origin.test", Answer::Alias("real.elsewhere.test".into()));
    named.dns.addresses("real.elsewhere.test", &["127.0.0.1"]);
    assert_eq!(named.get("/half-close").await.status, 200);
    named.dns.set("origin.test", Answer::OnlyOverTcp(vec!["127.0.0.1".parse().unwrap()]));
    assert_eq!(named.get("/half-close").await.status, 200);
    assert!(named.dns.questions().iter().any(|question| question.tcp));
    // What an alias leads to is judged like anything else.
    named.dns.set("origin.test", Answer::Alias("inside.test".into()));
    named.dns.addresses("inside.test", &["10.0.0.1"]);
    named.refused_as(403, "address_not_allowed", "an alias to a private address").await;
}

#[tokio::test]
async fn ipv6_is_dialled_first_and_a_dead_address_costs_no_request() {
    let named = Named::start(Origin::builder().also_ipv6().protocols(Protocols::Http1), LOOPBACK, &[]).await;
    named.dns.addresses("origin.test", &["127.0.0.1", "::1"]);
    assert_eq!(named.get("/half-close").await.status, 200);
    let line = named.setup.sidecar.wait_for_audit(|line| line["kind"] == "request", DEADLINE).await;
    assert!(line["address"].as_str().unwrap().contains("::1"), "{line}");
    named.dns.addresses("origin.test", &["::1"]);
    assert_eq!(named.get("/half-close").await.status, 200);
    let v4 = Named::start(Origin::builder(), LOOPBACK, &[]).await;
    v4.dns.addresses("origin.test", &["::1", "127.0.0.1"]);
    assert_eq!(v4.get("/zen").await.status, 200);
}

#[tokio::test]
async fn an_address_that_swallows_packets_delays_a_request_and_does_not_fail_it() {
    let hole = BlackHole::start(Duration::from_millis(300)).await;
    let builder = Origin::builder().address("127.0.0.2".parse().unwrap()).port(hole.addr().port());
    let named = Named::start(builder, LOOPBACK, &["--dial-timeout", "5s"]).await;
    named.dns.addresses("origin.test", &["127.0.0.1", "127.0.0.2"]);
    assert_eq!(named.get("/zen").await.status, 200);
    let alone = Named::start(Origin::builder(), LOOPBACK, &["--dial-timeout", "500ms"]).await;
    let port = hole.addr().port();
    alone.setup.set_policy(&destination("origin.test", port, LOOPBACK));
    alone.setup.sidecar.wait_for_stderr("another policy is in force", DEADLINE).await;
    alone.dns.addresses("origin.test", &["127.0.0.1"]);
    let fetched = client(&alone.setup, port, "h2").await.get(&uri(port, "/")).await.unwrap();
    assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (504, "connect_timeout"));
}

#[tokio::test]
async fn literals_are_judged_like_the_addresses_of_names_in_every_form() {
    let origin = Origin::builder().start().await;
    let port = origin.port();
    let setup = Setup::start(origin.ca(), &destination("127.0.0.1", port, ""), &[]).await;
    let tls = setup.client_tls().alpn(&["h2"]);
    for literal in ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1"] {
        let (reply, stream) = connect_through(setup.sidecar.proxy(), &format!("{literal}:{port}")).await.unwrap();
        assert_eq!(reply.status, 200, "{literal} is the host of the rule");
        let stream = tls.handshake("127.0.0.1", stream).await.unwrap();
        let mut client = sandgate_testkit::client::Client::over_tls(stream).await.unwrap();
        let fetched = client.get(&format!("https://127.0.0.1:{port}/")).await.unwrap();
        assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (403, "address_not_allowed"), "{literal}");
    }
    for literal in ["127.0.0.2", "[::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "10.0.0.1", "169.254.169.254"] {
        let (reply, _) = connect_through(setup.sidecar.proxy(), &format!("{literal}:{port}")).await.unwrap();
        assert!(reply.status == 403 && reply.reason.contains("host_not_allowed"), "{literal}: {reply:?}");
    }
    assert_eq!(origin.connections().len(), 0);
    setup.set_policy(&destination("127.0.0.1", port, LOOPBACK));
    setup.sidecar.wait_for_stderr("another policy is in force", DEADLINE).await;
    let mut client =
        sandgate_testkit::client::https_through(setup.sidecar.proxy(), "127.0.0.1", port, &tls).await.unwrap();
    assert_eq!(client.get(&format!("https://127.0.0.1:{port}/zen")).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_address_of_this_machine_is_refused_even_if_listed() {
    // Connecting a UDP socket sends nothing; it only tells which address would be used.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    let own = own.expect("this test needs a network interface with a route, if only to nowhere").ip();
    let named = Named::start(Origin::builder(), &format!("{own}/32"), &[]).await;
    for form in [own.to_string(), format!("::ffff:{own}")] {
        named.dns.addresses("origin.test", &[&form]);
        named.refused_as(403, "own_address", &form).await;
    }
}

#[tokio::test]
async fn the_sidecars_own_listeners_are_never_dialled() {
    let named = Named::start(Origin::builder(), LOOPBACK, &[]).await;
    for own in [named.setup.sidecar.proxy(), named.setup.sidecar.admin()] {
        let policy = destination("origin.test", own.port(), LOOPBACK) + "    scheme: http\n";
        named.setup.set_policy(&policy);
        for address in ["127.0.0.1", "127.0.0.53", "::1", "::ffff:127.0.0.1"] {
            named.dns.addresses("origin.test", &[address]);
            let mut client = http_through(named.setup.sidecar.proxy()).await.unwrap();
            let answered = async {
                loop {
                    let fetched = client.get(&format!("http://origin.test:{}/healthz", own.port())).await.unwrap();
                    // Until the policy for this port is in force.
                    if code(&fetched) != "port_not_allowed" {
                        return fetched;
                    }
                }
            };
            let fetched = tokio::time::timeout(DEADLINE, answered).await.expect("the policy comes into force");
            assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (403, "proxy_loop"), "{own} {address}");
        }
    }
}

#[tokio::test]
async fn addresses_given_by_hand_are_judged_too() {
    let origin = Origin::builder().start().await;
    let port = origin.port();
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 origin.test\n").unwrap();
    let (by_hand, hosts) = (format!("origin.test:{port}:127.0.0.1"), hosts.display().to_string());
    let dns = DnsServer::start().await;
    let server = dns.addr().to_string();
    for source in [["--resolve", by_hand.as_str()], ["--hosts-file", hosts.as_str()]] {
        let arguments = [&source[..], &["--dns", server.as_str()]].concat();
        let setup = Setup::start(origin.ca(), &destination("origin.test", port, "10.0.0.0/8"), &arguments).await;
        let fetched = client(&setup, port, "h2").await.get(&uri(port, "/zen")).await.unwrap();
        assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (403, "address_not_allowed"), "{source:?}");
        setup.set_policy(&destination("origin.test", port, LOOPBACK));
        setup.sidecar.wait_for_stderr("another policy is in force", DEADLINE).await;
        assert_eq!(client(&setup, port, "h2").await.get(&uri(port, "/zen")).await.unwrap().status, 200, "{source:?}");
    }
    assert_eq!(dns.questions(), []);
}

/// Counts nothing and answers nothing: what matters is whether it is asked.
fn name_server(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind((address, 53));
    let socket = socket.expect("resolv.conf knows port 53 only: run as root, or let everyone bind it on loopback");
    socket.set_nonblocking(true).unwrap();
    socket
}

#[tokio::test]
async fn a_resolv_conf_that_is_rewritten_changes_nothing_even_after_a_restart() {
    let (ours, evil) = (name_server("127.77.0.1"), name_server("127.77.0.2"));
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (conf, state) = (path("resolv.conf"), path("state"));
    std::fs::create_dir(&state).unwrap();
    std::fs::write(&conf, "nameserver 127.77.0.1\n").unwrap();
    let ca = TestCa::new();
    let arguments = ["--resolv-conf", &conf, "--state-dir", &state, "--dns-timeout", "300ms"];
    let questions = |socket: &UdpSocket| {
        let mut count = 0;
        while socket.recv(&mut [0; 512]).is_ok() {
            count += 1;
        }
        count
    };
    for round in ["first start", "restart"] {
        let setup = Setup::start(&ca, &destination("origin.test", 443, LOOPBACK), &arguments).await;
        std::fs::write(&conf, "nameserver 127.77.0.2\n").unwrap();
        let mut client = client(&setup, 443, "h2").await;
        assert_eq!(code(&client.get(&uri(443, "/")).await.unwrap()), "dns_timeout", "{round}");
        assert!(questions(&ours) >= 2, "{round}: the name server of the first start is asked");
        assert_eq!(questions(&evil), 0, "{round}");
    }
}

#[tokio::test]
async fn the_machines_hosts_file_means_nothing() {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap();
    let names = |line: &'static str| line.split('#').next().unwrap_or_default().split_whitespace().skip(1);
    let listed = hosts.leak().lines().flat_map(names);
    // Names that every machine's file has, and, where there is one, the machine's own.
    for host in listed.filter(|host| !host.eq_ignore_ascii_case("localhost")) {
        let origin = Origin::builder().start().await;
        let dns = DnsServer::start().await;
        let (port, server) = (origin.port(), dns.addr().to_string());
        let setup = Setup::start(origin.ca(), &destination(host, port, LOOPBACK), &["--dns", &server]).await;
        let tls = setup.client_tls().alpn(&["h2"]);
        let mut client =
            sandgate_testkit::client::https_through(setup.sidecar.proxy(), host, port, &tls).await.unwrap();
        let fetched = client.get(&format!("https://{host}:{port}/")).await.unwrap();
        assert_eq!(code(&fetched), "name_not_found", "{host}");
        assert_eq!(dns.questions().len(), 2, "{host}");
    }
}
