//! Requests that two parsers may read differently: the origin sees at most one request of each, in one reading.
//!
//! Every case is raw bytes in an intercepted tunnel to an origin that speaks HTTP/1.1 and refuses what is ambiguous.

use sandgate_testkit::client::RawReply;
use sandgate_testkit::origin::Origin;

use crate::harness::{Setup, beside_http1, status_of};

/// What would be a request of its own to a parser that ends the first one early.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: origin.test\r\n\r\n";

/// A request with these fields and this body, with `Host` already there.
fn post(origin: &Origin, fields: &str, body: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: origin.test:{}\r\n{fields}\r\n{body}", origin.port())
}

/// Sends each case and checks that it is refused with 400, and that nothing whole of it reached the origin.
async fn all_refused(origin: &Origin, setup: &Setup, cases: impl IntoIterator<Item = String>) {
    for case in cases {
        let reply = setup.raw_in_tunnel(origin, case.as_bytes()).await;
        assert_eq!(status_of(&reply), Some(400), "{case:?}: {:?}", reply.text());
        assert_eq!(responses(&reply), 1, "{case:?}: {:?}", reply.text());
        let whole: Vec<_> = origin.requests().into_iter().filter(|seen| seen.body_sha256.is_some()).collect();
        assert!(whole.is_empty(), "{case:?} reached the origin: {whole:#?}");
    }
    setup.serves(origin).await;
    assert!(origin.requests().iter().all(|seen| ["/echo", "/zen"].contains(&seen.head.path())));
}

fn responses(reply: &RawReply) -> usize {
    reply.text().matches("HTTP/1.1 ").count()
}

#[tokio::test]
async fn two_plain_requests_in_a_row_are_both_answered() {
    // What the other tests count would not show anything if this were not so.
    let (origin, setup) = beside_http1().await;
    let host = format!("Host: origin.test:{}", origin.port());
    let requests =
        format!("GET /zen HTTP/1.1\r\n{host}\r\n\r\nPOST /echo HTTP/1.1\r\n{host}\r\nContent-Length: 2\r\n\r\nok");
    let reply = setup.raw_in_tunnel(&origin, requests.as_bytes()).await;
    assert_eq!(responses(&reply), 2, "{}", reply.text());
    assert_eq!(origin.request_count(), 2);
}

#[tokio::test]
async fn with_both_framings_chunked_alone_holds_and_the_connection_closes() {
    let (origin, setup) = beside_http1().await;
    for (order, fields) in [
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 300\r\nTransfer-Encoding: Chunked\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let case = post(&origin, fields, &format!("5\r\nhello\r\n0\r\n\r\n{HIDDEN}"));
        let reply = setup.raw_in_tunnel(&origin, case.as_bytes()).await;
        assert_eq!(responses(&reply), 1, "{fields:?}: {}", reply.text());
        if status_of(&reply) != Some(400) {
            let seen = origin.requests().pop().unwrap();
            assert_eq!(seen.body_bytes, 5, "{fields:?}");
            assert_eq!(seen.head.header("content-length"), None, "{fields:?}");
        }
        assert!(origin.request_count() <= order + 1, "{fields:?}");
    }
    assert!(origin.requests().iter().all(|seen| seen.head.path() == "/echo"));
    assert!(origin.connections().iter().all(|connection| connection.error.is_none()));
}

#[tokio::test]
async fn an_asterisk_in_place_of_a_path_goes_with_options_alone() {
    let (origin, setup) = beside_http1().await;
    let ask = |method: &str| format!("{method} * HTTP/1.1\r\nHost: origin.test:{}\r\n\r\n", origin.port());
    all_refused(&origin, &setup, ["GET", "DELETE", "POST"].map(ask)).await;
    setup.raw_in_tunnel(&origin, ask("OPTIONS").as_bytes()).await;
    let last = origin.requests().pop().unwrap();
    assert_eq!((last.head.method.as_str(), last.head.target.as_str()), ("OPTIONS", "*"));
}

#[tokio::test]
async fn different_or_malformed_lengths_are_refused() {
    let (origin, setup) = beside_http1().await;
    let body = format!("hello{HIDDEN}");
    let lengths = ["+5", "-5", "0x5", "5_0", "5 5", "5, 6", "", "5.0", "99999999999999999999"];
    let mut cases: Vec<_> =
        lengths.iter().map(|length| post(&origin, &format!("Content-Length: {length}\r\n"), &body)).collect();
    cases.push(post(&origin, "Content-Length: 5\r\nContent-Length: 6\r\n", &body));
    all_refused(&origin, &setup, cases).await;
}

#[tokio::test]
async fn equal_lengths_become_one() {
    let (origin, setup) = beside_http1().await;
    let case =
        post(&origin, "Content-Length: 5\r\nContent-Length: 5\r\nConnection: close\r\n", &format!("hello{HIDDEN}"));
    let reply = setup.raw_in_tunnel(&origin, case.as_bytes()).await;
    assert_eq!((status_of(&reply), responses(&reply)), (Some(200), 1), "{}", reply.text());
    let seen = origin.requests();
    assert_eq!((seen.len(), seen[0].body_bytes), (1, 5));
    assert_eq!(seen[0].head.header_lines("content-length"), ["5"]);
}

#[tokio::test]
async fn any_transfer_coding_but_one_chunked_is_refused() {
    let (origin, setup) = beside_http1().await;
    let body = format!("0\r\n\r\n{HIDDEN}");
    let fields = [
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: chunked\x0b\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: \r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
    ];
    let mut cases: Vec<_> = fields.iter().map(|fields| post(&origin, fields, &body)).collect();
    cases.push(
        post(&origin, "Transfer-Encoding: chunked\r\n", &body)
            .replace("HTTP/1.1\r\nHost: origin.test:", "HTTP/1.0\r\nHost: origin.test:"),
    );
    all_refused(&origin, &setup, cases).await;
}

#[tokio::test]
async fn malformed_chunks_are_refused() {
    let (origin, setup) = beside_http1().await;
    let giant = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(64 << 10));
    let bodies = [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        giant.as_str(),
    ];
    let cases: Vec<_> =
        bodies.iter().map(|body| post(&origin, "Transfer-Encoding: chunked\r\n", &format!("{body}{HIDDEN}"))).collect();
    all_refused(&origin, &setup, cases).await;
}

#[tokio::test]
async fn odd_lines_are_refused_or_normalised() {
    let (origin, setup) = beside_http1().await;
    let host = format!("origin.test:{}", origin.port());
    let head = |fields: &str| format!("GET /echo HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
    let cases = [
        head("X-Folded: 1\r\n 2\r\n"),
        head("X-Folded: 1\r\n\tContent-Length: 5\r\n"),
        head("X-Bare: 1\nX-Other: 2\r\n"),
        head("X-Bare: 1\rX-Other: 2\r\n"),
        head("X-Nul: a\0b\r\n"),
        head("X-Nul\0: a\r\n"),
        head("X-Space : a\r\n"),
        head(" X-Leading: a\r\n"),
        head(": no name\r\n"),
        head("no colon\r\n"),
        format!("GET /echo HTTP/1.1\nHost: {host}\n\n"),
        format!("\r\n\r\nGET /echo HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /echo  HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /echo x HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET\t/echo\tHTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /echo\0 HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /echo HTTP/1.2\r\nHost: {host}\r\n\r\n"),
        format!("GET /echo HTTP/2.0\r\nHost: {host}\r\n\r\n"),
        format!("GET /echo\r\nHost: {host}\r\n\r\n"),
    ];
    for case in cases {
        let before = origin.request_count();
        let reply = setup.raw_in_tunnel(&origin, case.as_bytes()).await;
        let arrived = origin.request_count() - before;
        match status_of(&reply) {
            Some(200) => assert_eq!(arrived, 1, "{case:?}"),
            status => assert!(arrived == 0 && matches!(status, None | Some(400)), "{case:?}: {:?}", reply.text()),
        }
        assert!(responses(&reply) <= 1, "{case:?}: {:?}", reply.text());
    }
    // The origin's parser takes no odd line, so what it took was normal.
    assert!(origin.connections().iter().all(|connection| connection.error.is_none()));
    setup.serves(&origin).await;
}

#[tokio::test]
async fn a_body_arrives_whatever_its_framing_and_the_method() {
    let (origin, setup) = beside_http1().await;
    for method in ["GET", "DELETE", "OPTIONS", "POST", "QUERY"] {
        for (fields, body) in
            [("Content-Length: 5\r\n", "hello"), ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")]
        {
            let case = post(&origin, fields, body).replacen("POST", method, 1);
            let reply = setup.raw_in_tunnel(&origin, case.as_bytes()).await;
            assert_eq!(status_of(&reply), Some(200), "{case:?}: {}", reply.text());
            let seen = origin.requests().pop().unwrap();
            assert_eq!((seen.head.method.as_str(), seen.body_bytes), (method, 5), "{case:?}");
        }
    }
    assert!(origin.connections().iter().all(|connection| connection.error.is_none()));
}
