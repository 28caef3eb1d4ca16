//! The other front door: plain `http://` requests in absolute form, judged by the same policy.

#![allow(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

use sandgate_testkit::client::{RawReply, http_through};
use sandgate_testkit::origin::{Origin, Protocols};
use tokio::net::TcpStream;

use crate::harness::{Setup, allow, beside, resolve, send_and_end, status_of};

async fn raw(setup: &Setup, request: &str) -> RawReply {
    let mut stream = TcpStream::connect(setup.sidecar.proxy()).await.unwrap();
    send_and_end(&mut stream, request.as_bytes()).await
}

fn get(target: &str, host: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[tokio::test]
async fn a_request_in_absolute_form_goes_on_in_origin_form() {
    let (origin, setup) = beside(Protocols::Plain).await;
    let host = format!("origin.test:{}", origin.port());
    let fields = "Proxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\nX-End: 1\r\n";
    let request = format!("GET http://{host}/echo?q=1 HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
    assert_eq!(status_of(&raw(&setup, &request).await), Some(200));
    let seen = origin.requests().pop().unwrap();
    assert_eq!((seen.head.target.as_str(), seen.head.header("host")), ("/echo?q=1", Some(host.as_str())));
    assert_eq!(seen.head.header("x-end"), Some("1"));
    assert_eq!((seen.head.header("proxy-authorization"), seen.head.header("proxy-connection")), (None, None));
}

#[tokio::test]
async fn one_connection_carries_requests_to_different_destinations_each_judged() {
    let (origin, setup) = beside(Protocols::Plain).await;
    let mut client = http_through(setup.sidecar.proxy()).await.unwrap();
    let allowed = format!("http://origin.test:{}/zen", origin.port());
    assert_eq!(client.get(&allowed).await.unwrap().status, 200);
    let refused = client.get("http://evil.test/").await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.json()["error"].as_str()), (403, Some("host_not_allowed")));
    assert_eq!(client.get(&allowed).await.unwrap().status, 200);
    assert_eq!(origin.request_count(), 2);
}

#[tokio::test]
async fn names_in_a_plain_request_agree_or_it_is_refused() {
    let (origin, setup) = beside(Protocols::Plain).await;
    let host = format!("origin.test:{}", origin.port());
    let target = format!("http://{host}/zen");
    for (request, status) in [
        (get(&target, "evil.test"), 421),
        (get(&target, "origin.test"), 421),
        (get(&target, &format!("user@{host}")), 400),
        (get(&format!("http://user@{host}/"), &host), 400),
        (get("http://origin.test:0/", &host), 400),
        (get(&format!("https://{host}/"), &host), 400),
        (get(&format!("ftp://{host}/"), &host), 400),
        (get("/zen", &host), 400),
        (get("*", &host), 400),
        (get(&host, &host), 400),
        (format!("GET {target} HTTP/1.1\r\n\r\n"), 400),
        (format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n"), 400),
    ] {
        let reply = raw(&setup, &request).await;
        assert_eq!(status_of(&reply), Some(status), "{request:?}: {}", reply.text());
    }
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn a_destination_for_https_is_not_reached_in_the_clear() {
    let origin = Origin::builder().start().await;
    let setup = Setup::start(origin.ca(), &allow(&origin), &["--resolve", &resolve(&origin)]).await;
    let mut client = http_through(setup.sidecar.proxy()).await.unwrap();
    let refused = client.get(&format!("http://origin.test:{}/", origin.port())).await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.json()["error"].as_str()), (403, Some("port_not_allowed")));
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn the_rules_lists_hold_for_plain_requests_too() {
    let (origin, setup) = beside(Protocols::Plain).await;
    let lists = "    scheme: http\n    deny:\n      - paths: [\"/status/**\", \"/\"]\n";
    setup.enforce(&(allow(&origin) + lists)).await;
    let mut client = http_through(setup.sidecar.proxy()).await.unwrap();
    for (path, status) in
        [("/zen", 200), ("/status/200", 403), ("/", 403), ("", 403), ("?q", 403), ("/zen/../status/200", 400)]
    {
        let host = format!("origin.test:{}", origin.port());
        let reply = raw(&setup, &get(&format!("http://{host}{path}"), &host)).await;
        assert_eq!(status_of(&reply), Some(status), "{path:?}: {}", reply.text());
    }
    let url = format!("http://origin.test:{}/status/200", origin.port());
    let refused = client.get(&url).await.unwrap();
    assert_eq!(refused.json()["rule"], "origin");
    assert_eq!(origin.request_count(), 1);
}
