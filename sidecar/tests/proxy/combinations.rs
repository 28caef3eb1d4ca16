//! HTTP/1.1 and HTTP/2 on both sides, in every combination: the message arrives as it was sent.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use http::Request;
use sandgate_testkit::client::{consume, empty_body, http_through, pattern_body, read};
use sandgate_testkit::digest::pattern_sha256;
use sandgate_testkit::origin::{Origin, Protocols};
use sandgate_testkit::raw_origin::RawConnection;

use crate::beside::{Beside, BesideRaw, DEADLINE, ORIGINS, VERSIONS};
use crate::harness::Setup;

const LONG: u64 = 700_001;

#[tokio::test]
async fn bodies_pass_whole_in_both_directions_between_all_versions() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
        for alpn in VERSIONS {
            let mut client = beside.client(alpn).await;
            for path in ["/bytes", "/chunked"] {
                let request = Request::get(beside.uri(&format!("{path}/{LONG}"))).body(empty_body()).unwrap();
                let response = client.open(request).await.unwrap();
                let announced =
                    response.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
                assert_eq!(announced.as_deref(), (path == "/bytes").then_some("700001"), "{alpn} {protocols:?}");
                let got = consume(response.into_body(), |_| ()).await.unwrap();
                assert_eq!((got.bytes, got.sha256), (LONG, pattern_sha256(LONG)), "{alpn} {protocols:?} {path}");
            }
            for announced in [true, false] {
                let request = Request::post(beside.uri("/upload")).body(pattern_body(LONG, announced)).unwrap();
                let got = client.fetch(request).await.unwrap().json();
                assert_eq!(got["body_sha256"], pattern_sha256(LONG), "{alpn} {protocols:?} {announced}");
                let arrived = beside.origin.requests().pop().unwrap();
                let length = arrived.head.header("content-length").map(str::to_owned);
                assert_eq!(length.as_deref(), announced.then_some("700001"), "{alpn} {protocols:?}");
            }
        }
        let version = if protocols == Protocols::Http2 { "HTTP/2" } else { "HTTP/1.1" };
        assert!(beside.origin.requests().iter().all(|request| request.head.version == version));
    }
}

#[tokio::test]
async fn an_http1_request_arrives_with_its_names_values_and_target_as_they_were_written() {
    let beside = Beside::start(Origin::builder().protocols(Protocols::Http1), &[]).await;
    let target = "/echo/%7Euser/%41;v=1//x?q=%20a+b&r=%2F#";
    let target = target.trim_end_matches('#');
    let host = format!("ORIGIN.Test:{}", beside.origin.port());
    let fields = [
        ("Host", host.as_str()),
        ("X-CamelCase", "One"),
        ("x-lower", "two  inner  spaces"),
        ("X-UPPER", "\"quoted\", list"),
        ("X-CamelCase", "Three"),
        ("User-Agent", "test"),
    ];
    let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let reply = beside.raw(&format!("GET {target} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n")).await;
    assert!(reply.text().starts_with("HTTP/1.1 200 OK\r\n"), "{}", reply.text());
    let head = beside.origin.requests().pop().unwrap().head;
    assert_eq!(head.target, target);
    let mut expected: Vec<_> = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let mut arrived = head.headers;
    expected.sort();
    arrived.sort();
    assert_eq!(arrived, expected);
}

#[tokio::test]
async fn an_http1_response_comes_with_its_reason_phrase_and_names_as_the_origin_wrote_them() {
    async fn answer(mut connection: RawConnection) {
        while connection.read_head().await.is_some() {
            let head = "HTTP/1.1 299 Strange, But Mine\r\nX-MiXed: A\r\nx-mixed: b\r\nContent-Length: 2\r\n\r\n";
            connection.send(format!("{head}hi")).await;
        }
    }
    let beside = BesideRaw::start(Protocols::Http1, &[], answer).await;
    let host = format!("origin.test:{}", beside.origin.port());
    let reply = beside.raw(&format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
    let text = reply.text();
    assert!(text.starts_with("HTTP/1.1 299 Strange, But Mine\r\n"), "{text}");
    assert!(text.contains("\r\nX-MiXed: A\r\n") && text.contains("\r\nx-mixed: b\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\nhi"), "{text}");
    let mut client = beside.client("h2").await;
    let fetched = client.get(&beside.uri("/")).await.unwrap();
    assert_eq!((fetched.status.as_u16(), fetched.text().as_str()), (299, "hi"));
}

#[tokio::test]
async fn responses_without_a_body_have_none_and_the_connection_goes_on() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
        for alpn in VERSIONS {
            let mut client = beside.client(alpn).await;
            let head = Request::head(beside.uri("/bytes/1000")).body(empty_body()).unwrap();
            let fetched = client.fetch(head).await.unwrap();
            assert_eq!((fetched.status.as_u16(), fetched.body.len()), (200, 0), "{alpn} {protocols:?}");
            assert_eq!(fetched.headers["content-length"], "1000", "{alpn} {protocols:?}");
            for status in [204, 304] {
                let fetched = client.get(&beside.uri(&format!("/status/{status}"))).await.unwrap();
                assert_eq!((fetched.status.as_u16(), fetched.body.len()), (status, 0), "{alpn} {protocols:?}");
            }
            assert_eq!(client.get(&beside.uri("/zen")).await.unwrap().status, 200, "{alpn} {protocols:?}");
        }
        assert_eq!(beside.origin.connections().len(), 1, "{protocols:?}: every one leaves its connection in order");
    }
}

#[tokio::test]
async fn redirects_and_errors_of_the_origin_are_passed_on_and_not_followed() {
    let beside = Beside::start(Origin::builder(), &[]).await;
    for alpn in VERSIONS {
        let mut client = beside.client(alpn).await;
        let fetched = client.get(&beside.uri("/redirect?to=http://evil.test/a?b=%2F")).await.unwrap();
        assert_eq!(
            (fetched.status.as_u16(), &fetched.headers["location"]),
            (302, &"http://evil.test/a?b=%2F".parse().unwrap())
        );
        for status in [400, 403, 404, 418, 429, 500, 502, 503] {
            let fetched = client.get(&beside.uri(&format!("/status/{status}"))).await.unwrap();
            assert_eq!((fetched.status.as_u16(), fetched.text()), (status, format!("{status}\n")), "{alpn}");
        }
    }
    assert_eq!(beside.origin.request_count(), 18);
}

#[tokio::test]
async fn cookies_are_joined_for_http1_and_set_cookie_is_not() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
        let mut client = beside.client("h2").await;
        let request = Request::get(beside.uri("/cookies")).header("cookie", "a=1").header("cookie", "b=2; c=3");
        let fetched = client.fetch(request.body(empty_body()).unwrap()).await.unwrap();
        let lines = fetched.json();
        match protocols {
            Protocols::Http1 => assert_eq!(lines, serde_json::json!(["a=1; b=2; c=3"])),
            _ => assert_eq!(lines, serde_json::json!(["a=1", "b=2; c=3"])),
        }
        assert_eq!(fetched.headers.get_all("set-cookie").iter().count(), 2);
    }
}

#[tokio::test]
async fn te_goes_on_with_trailers_alone() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
        for alpn in VERSIONS {
            let te = if alpn == "h2" { "trailers" } else { "gzip, trailers;q=0.5" };
            let request = Request::get(beside.uri("/echo")).header("te", te).body(empty_body()).unwrap();
            assert_eq!(beside.client(alpn).await.fetch(request).await.unwrap().status, 200);
            let head = beside.origin.requests().pop().unwrap().head;
            assert_eq!(head.header("te"), Some("trailers"), "{alpn} {protocols:?}");
            let connection = (protocols == Protocols::Http1).then_some("te");
            assert_eq!(head.header("connection"), connection, "{alpn} {protocols:?}");
        }
        let request = Request::get(beside.uri("/echo")).header("te", "gzip").body(empty_body()).unwrap();
        beside.client("http/1.1").await.fetch(request).await.unwrap();
        assert_eq!(beside.origin.requests().pop().unwrap().head.header("te"), None);
    }
}

#[tokio::test]
async fn an_interim_response_does_not_stand_for_the_final_one() {
    for protocols in ORIGINS {
        let beside = Beside::start(Origin::builder().protocols(protocols), &[]).await;
        for alpn in VERSIONS {
            let fetched = beside.client(alpn).await.get(&beside.uri("/informational")).await.unwrap();
            assert_eq!(
                (fetched.status.as_u16(), fetched.text().as_str()),
                (200, "after 103\n"),
                "{alpn} {protocols:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_plain_request_goes_to_its_origin_in_origin_form() {
    let origin = Origin::builder().protocols(Protocols::Plain).start().await;
    let policy = crate::beside::destination("origin.test", origin.port(), "    scheme: http\n");
    let resolve = format!("origin.test:{}:127.0.0.1", origin.port());
    let setup = Setup::start(origin.ca(), &policy, &["--resolve", &resolve]).await;
    let mut client = http_through(setup.sidecar.proxy()).await.unwrap();
    let uri = format!("http://origin.test:{}/upload?x=1", origin.port());
    let request = Request::put(&uri).body(pattern_body(LONG, true)).unwrap();
    let fetched = read(client.open(request).await.unwrap()).await.unwrap();
    assert_eq!(fetched.json()["body_sha256"], pattern_sha256(LONG));
    let head = origin.wait_for_requests(1, DEADLINE).await.pop().unwrap().head;
    assert_eq!((head.method.as_str(), head.target.as_str()), ("PUT", "/upload?x=1"));
    assert_eq!(head.header("host"), Some(format!("origin.test:{}", origin.port()).as_str()));
}
