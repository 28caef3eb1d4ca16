//! Inside the tunnel: every name in every request is that of the CONNECT, or the request is not routed.

#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

use http::{Method, Request};
use sandgate_testkit::client::{Client, Fetched, empty_body, read, tunnel};
use sandgate_testkit::origin::{Origin, Protocols};

use crate::harness::{DEADLINE, Setup, allow, beside, beside_http1, resolve, send_and_end, status_of};

async fn http2(setup: &Setup, origin: &Origin) -> Client {
    let client = Client::over_tls(setup.intercepted(origin, &["h2"]).await).await.unwrap();
    assert!(client.is_http2());
    client
}

async fn send(client: &mut Client, uri: &str, host: Option<&str>) -> Fetched {
    let mut request = Request::get(uri);
    if let Some(host) = host {
        request = request.header("host", host);
    }
    read(client.send(request.body(empty_body()).unwrap()).await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn host_and_absolute_form_name_the_tunnels_destination_on_every_request() {
    let (origin, setup) = beside_http1().await;
    let mut client = Client::over_tls(setup.intercepted(&origin, &["http/1.1"]).await).await.unwrap();
    let port = origin.port();
    let own = format!("origin.test:{port}");
    let other_port = format!("origin.test:{}", port ^ 1);
    let absolute = |host: &str| format!("https://{host}/zen");
    for (target, host, status) in [
        ("/zen".to_owned(), own.as_str(), 200),
        ("/zen".to_owned(), "evil.test", 421),
        ("/zen".to_owned(), "origin.test", 421),
        ("/zen".to_owned(), &other_port, 421),
        ("/zen".to_owned(), &format!("ORIGIN.test.:{port}"), 200),
        ("/zen".to_owned(), &format!("127.0.0.1:{port}"), 421),
        ("/zen".to_owned(), &format!("user@{own}"), 400),
        ("/zen".to_owned(), "", 400),
        (absolute(&own), &own, 200),
        (absolute("evil.test"), &own, 421),
        (absolute(&own), "evil.test", 421),
        (absolute(&format!("user@{own}")), &own, 400),
        (format!("http://{own}/zen"), &own, 421),
    ] {
        let fetched = send(&mut client, &target, Some(host)).await;
        assert_eq!(fetched.status, status, "{target} {host}: {}", fetched.text());
        if status == 421 {
            assert_eq!(fetched.json()["error"], "misdirected_request");
        }
    }
    assert!(origin.requests().iter().all(|seen| seen.head.target == "/zen"), "in origin form");
    assert_eq!(origin.request_count(), 3);
}

#[tokio::test]
async fn a_request_has_one_host_and_a_path() {
    let (origin, setup) = beside_http1().await;
    let own = format!("origin.test:{}", origin.port());
    setup.enforce(&(allow(&origin) + "    deny:\n      - paths: [\"/\"]\n")).await;
    for request in [
        "GET /zen HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET /zen HTTP/1.1\r\nHost: {own}\r\nHost: {own}\r\n\r\n"),
        format!("GET /zen HTTP/1.1\r\nHost: {own}\r\nHost: evil.test\r\n\r\n"),
        format!("GET /zen HTTP/1.1\r\nHost: {own}, evil.test\r\n\r\n"),
        // It would be judged without a path, and forwarded with one.
        format!("GET {own} HTTP/1.1\r\nHost: {own}\r\n\r\n"),
    ] {
        let reply = setup.raw_in_tunnel(&origin, request.as_bytes()).await;
        assert_eq!(status_of(&reply), Some(400), "{request:?}: {}", reply.text());
    }
    assert_eq!(origin.request_count(), 0);
}

#[tokio::test]
async fn connect_inside_a_tunnel_is_405() {
    let (origin, setup) = beside_http1().await;
    for target in [format!("origin.test:{}", origin.port()), "evil.test:443".to_owned()] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let reply = setup.raw_in_tunnel(&origin, request.as_bytes()).await;
        assert_eq!(status_of(&reply), Some(405), "{}", reply.text());
        assert!(reply.text().contains("connect_in_tunnel"));
    }
    let mut client = http2(&setup, &origin).await;
    let target = format!("origin.test:{}", origin.port());
    let request = Request::builder().method(Method::CONNECT).uri(&target).body(empty_body()).unwrap();
    let fetched = read(client.send(request).await.unwrap()).await.unwrap();
    assert_eq!((fetched.status.as_u16(), fetched.json()["error"].as_str()), (405, Some("connect_in_tunnel")));
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn every_stream_of_http_2_is_checked_by_itself() {
    for protocols in [Protocols::Http1, Protocols::Both] {
        let (origin, setup) = beside(protocols).await;
        let mut client = http2(&setup, &origin).await;
        let port = origin.port();
        let good = format!("https://origin.test:{port}/zen");
        for (uri, host, status) in [
            (good.as_str(), None, 200),
            (&format!("https://evil.test:{port}/zen"), None, 421),
            (&format!("https://origin.test:{}/zen", port ^ 1), None, 421),
            ("https://origin.test/zen", None, 421),
            (&format!("http://origin.test:{port}/zen"), None, 421),
            (&good, Some("evil.test"), 421),
            (&good, Some(&*format!("origin.test:{port}")), 200),
            (&format!("https://user@origin.test:{port}/zen"), None, 400),
            (&good, None, 200),
        ] {
            let fetched = send(&mut client, uri, host).await;
            assert_eq!(fetched.status, status, "{uri} {host:?}: {}", fetched.text());
        }
        assert_eq!(origin.request_count(), 3);
    }
}

#[tokio::test]
async fn another_server_name_ends_the_handshake() {
    let (origin, setup) = beside_http1().await;
    for name in ["evil.test", "other.origin.test", "127.0.0.1.test"] {
        let stream = tunnel(setup.sidecar.proxy(), &format!("origin.test:{}", origin.port())).await.unwrap();
        let error = setup.client_tls().handshake(name, stream).await.unwrap_err();
        assert!(error.to_string().contains("alert"), "{name}: {error}");
    }
    let line = setup.sidecar.wait_for_audit(|line| line["code"] == "sni_mismatch", DEADLINE).await;
    assert_eq!(line["host"], "origin.test");
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn without_a_server_name_the_leaf_is_for_the_connects_host() {
    let (origin, setup) = beside_http1().await;
    let stream = tunnel(setup.sidecar.proxy(), &format!("origin.test:{}", origin.port())).await.unwrap();
    let mut stream = setup.client_tls().without_sni().handshake("origin.test", stream).await.unwrap();
    let request = format!("GET /zen HTTP/1.1\r\nHost: origin.test:{}\r\n\r\n", origin.port());
    assert_eq!(status_of(&send_and_end(&mut stream, request.as_bytes()).await), Some(200));
    let stream = tunnel(setup.sidecar.proxy(), &format!("origin.test:{}", origin.port())).await.unwrap();
    assert!(setup.client_tls().without_sni().handshake("evil.test", stream).await.is_err(), "no leaf for another name");
}

#[tokio::test]
async fn an_address_gets_a_leaf_with_that_address() {
    let origin = Origin::builder().also_ipv6().start().await;
    let policy =
        |id: &str, host: &str| allow(&origin).replace("id: origin", &format!("id: {id}")).replace("origin.test", host);
    let setup = Setup::start(origin.ca(), &(policy("v4", "127.0.0.1") + &policy("v6", "\"::1\"")), &[]).await;
    for (authority, name) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
        let host = format!("{authority}:{}", origin.port());
        let stream = tunnel(setup.sidecar.proxy(), &host).await.unwrap();
        let mut stream = setup.client_tls().handshake(name, stream).await.unwrap();
        let request = format!("GET /zen HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let reply = send_and_end(&mut stream, request.as_bytes()).await;
        assert_eq!(status_of(&reply), Some(200), "{}", reply.text());
    }
}

#[tokio::test]
async fn the_canonical_name_is_what_is_judged_and_dialled() {
    let origin = Origin::builder().start().await;
    let setup = Setup::start(origin.ca(), &allow(&origin), &["--resolve", &resolve(&origin)]).await;
    let stream = tunnel(setup.sidecar.proxy(), &format!("ORIGIN.Test.:{}", origin.port())).await.unwrap();
    let mut stream = setup.client_tls().alpn(&["http/1.1"]).handshake("Origin.TEST", stream).await.unwrap();
    let request = format!("GET /zen HTTP/1.1\r\nHost: oRigin.test:{}\r\n\r\n", origin.port());
    assert_eq!(status_of(&send_and_end(&mut stream, request.as_bytes()).await), Some(200));
    assert_eq!(origin.connections()[0].tls.as_ref().and_then(|tls| tls.sni.as_deref()), Some("origin.test"));
}
