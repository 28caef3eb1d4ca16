use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt::Write;
use std::net::Ipv6Addr;

use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sandgate_policy::destination::{Host, Scheme};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// The statuses that a refusal may have, as docs/refusals.md promises.
const STATUSES: [u16; 12] = [400, 403, 405, 408, 413, 421, 429, 431, 499, 502, 503, 504];

fn destination(host: &str, port: u16) -> Destination {
    Destination { scheme: Scheme::Https, host: Host::parse(host).unwrap(), port }
}

async fn body(refusal: &Refusal) -> Value {
    let bytes = refusal.response().into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

fn header(refusal: &Refusal, name: &str) -> Option<String> {
    refusal.response().headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_refused_host_is_told_what_where_and_what_to_do() {
    let refusal = Refusal::new(Code::HostNotAllowed, &destination("Example.com", 443));
    let response = refusal.response();
    assert_eq!(response.status(), 403);
    assert_eq!(
        response.extensions().get::<ReasonPhrase>().unwrap().as_bytes(),
        b"Forbidden: example.com is not in the policy (host_not_allowed)"
    );
    let proxy_status = "sandgate; error=http_request_denied; details=\"host_not_allowed\"";
    assert_eq!(header(&refusal, "proxy-status").as_deref(), Some(proxy_status));
    assert_eq!(header(&refusal, "content-type").as_deref(), Some("application/json"));
    let message =
        "example.com is not in the policy; use an allowed host, or ask whoever runs this sandbox to add this one";
    let expected = json!({"error": "host_not_allowed", "host": "example.com:443", "rule": null, "message": message, "allow": null});
    assert_eq!(body(&refusal).await, expected);
}

#[tokio::test]
async fn the_rule_and_the_detail_are_named() {
    let refusal = Refusal::new(Code::BodyTooLarge, &destination("a.test", 8443));
    let refusal = refusal.with_rule("uploads").with_detail("the limit is 10 bytes");
    let body = body(&refusal).await;
    assert_eq!(body["rule"], "uploads");
    assert_eq!(body["message"], "the body is too large for a.test; the limit is 10 bytes");
}

#[tokio::test]
async fn an_unreadable_destination_is_not_repeated() {
    let refusal = Refusal::unreadable(Code::BadAuthority);
    assert_eq!(body(&refusal).await["host"], Value::Null);
    assert_eq!(refusal.reason_phrase(), "Bad Request: the request names no valid host and port (bad_authority)");
}

#[test]
fn only_429_and_503_say_when_to_try_again() {
    let to = destination("a.test", 443);
    for code in Code::ALL {
        let expected = matches!(code.status().as_u16(), 429 | 503).then_some("7");
        let refusal = Refusal::new(*code, &to).with_retry_after(7);
        assert_eq!(header(&refusal, "retry-after").as_deref(), expected, "{code}");
    }
    assert_eq!(header(&Refusal::new(Code::Overloaded, &to), "retry-after").as_deref(), Some("1"));
}

#[tokio::test]
async fn an_http1_client_reads_the_reason_in_the_status_line() {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let service = service_fn(async |_| {
        let refusal = Refusal::new(Code::HostNotAllowed, &destination("a.test", 443));
        Ok::<_, Infallible>(refusal.response())
    });
    client.write_all(b"CONNECT a.test:443 HTTP/1.0\r\n\r\n").await.unwrap();
    http1::Builder::new().serve_connection(TokioIo::new(server), service).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    let (status_line, rest) = text.split_once("\r\n").unwrap();
    assert_eq!(&status_line[8..], " 403 Forbidden: a.test is not in the policy (host_not_allowed)");
    assert!(rest.contains("\r\nproxy-status: sandgate; error=http_request_denied;"), "{rest}");
    assert!(rest.ends_with("}\n"), "{rest}");
}

#[test]
fn a_405_names_the_methods_that_work() {
    let refusal = Refusal::new(Code::ConnectInTunnel, &destination("a.test", 443));
    assert!(header(&refusal, "allow").is_some_and(|methods| !methods.contains("CONNECT")));
}

#[test]
fn addresses_keep_their_brackets() {
    let to = Destination { scheme: Scheme::Https, host: Host::from(Ipv6Addr::LOCALHOST), port: 443 };
    let refusal = Refusal::new(Code::OwnAddress, &to);
    assert_eq!(refusal.reason_phrase(), "Forbidden: [::1] is an address of this pod (own_address)");
}

#[test]
fn codes_are_unique_and_in_the_order_of_the_table() {
    let unique: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(unique.len(), Code::ALL.len());
    for (index, code) in Code::ALL.iter().enumerate() {
        assert_eq!(*code as usize, index);
        assert!(STATUSES.contains(&code.status().as_u16()), "{code}");
    }
}

#[tokio::test]
async fn every_code_makes_a_sound_response_whatever_the_host() {
    let longest = format!("{0}.{0}.{0}.{1}.example", "a".repeat(63), "d".repeat(53));
    for code in Code::ALL {
        for refusal in [Refusal::new(*code, &destination(&longest, 65535)), Refusal::unreadable(*code)] {
            let phrase = refusal.reason_phrase();
            assert!(phrase.len() <= 120, "{} bytes: {phrase}", phrase.len());
            assert!(phrase.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{phrase}");
            assert!(phrase.ends_with(&format!("({code})")), "{phrase}");
            let names_host = !refusal.host.is_empty() && code.summary().contains('{');
            assert!(!names_host || phrase.contains("ddd.example"), "{phrase}");
            assert!(refusal.response().extensions().get::<ReasonPhrase>().is_some());
            let body = body(&refusal).await;
            assert_eq!(body["error"], code.as_str());
            assert!(body["message"].as_str().is_some_and(|text| text.is_ascii() && !text.contains('{')), "{body}");
        }
    }
}

/// What docs/refusals.md says below its heading and text.
fn table() -> String {
    let mut table =
        String::from("| code | status | Proxy-Status error | what it means; what to do |\n|---|---|---|---|\n");
    for code in Code::ALL {
        let (status, kind) = (code.status().as_u16(), code.proxy_status());
        let summary = code.summary().replace("{host}", "HOST").replace("{authority}", "HOST:PORT");
        writeln!(table, "| `{code}` | {status} | `{kind}` | {summary}; {} |", code.advice()).unwrap();
    }
    table
}

#[tokio::test]
async fn the_documentation_shows_a_refusal_as_it_is() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/refusals.md")).unwrap();
    let (to, policy) = (destination("example.com", 443), Policy::from_allowed_domains("a.test").unwrap());
    let addition = policy.addition_for_connect(&to.host, to.port).map(Arc::new);
    let response = Refusal::denied(Code::HostNotAllowed, &to, &policy, addition).response();
    let length = response.headers()["content-length"].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let shown = format!("\ncontent-length: {length}\n");
    assert!(page.contains(&shown), "{shown}");
    let shown = str::from_utf8(&body).unwrap();
    assert!(page.contains(shown), "{shown}");
}

#[test]
fn the_documentation_lists_this_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/refusals.md");
    let page = std::fs::read_to_string(path).unwrap();
    let start = page.find("| code |").expect("the page has the table");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{}{}", &page[..start], table())).unwrap();
        return;
    }
    assert_eq!(&page[start..], table(), "run `UPDATE_DOCS=1 cargo test -p sandgate-sidecar documentation`");
}
