//! gRPC: HTTP/2 end to end, trailers and all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use sandgate_testkit::client::bytes_body;
use sandgate_testkit::origin::{Origin, Protocols};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::beside::{Beside, DEADLINE, code};

/// A message with its prefix: one byte for "not compressed", four for the length.
fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &length[..], bytes].concat()
}

fn call(beside: &Beside, method: &str) -> http::request::Builder {
    let request = Request::post(beside.uri(&format!("/sandgate.test.Echo/{method}")));
    request.header("content-type", "application/grpc").header("te", "trailers")
}

#[tokio::test]
async fn calls_are_answered_with_their_trailers() {
    let beside = Beside::start(Origin::builder(), &[]).await;
    let mut client = beside.client("h2").await;
    for (method, messages, status) in [("Unary", 1, "0"), ("ServerStream", 3, "0"), ("Fail", 0, "9"), ("None", 0, "12")]
    {
        let request = call(&beside, method).body(bytes_body(message(b"hello"))).unwrap();
        let fetched = client.fetch(request).await.unwrap();
        assert_eq!(fetched.body, message(b"hello").repeat(messages), "{method}");
        assert_eq!(fetched.trailers.unwrap()["grpc-status"], status, "{method}");
        assert_eq!(beside.origin.requests().pop().unwrap().head.header("te"), Some("trailers"));
    }
}

/// Frames that a test hands over one by one.
struct Handed(mpsc::Receiver<Bytes>);

impl http_body::Body for Handed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<std::io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[tokio::test]
async fn both_directions_of_a_stream_go_on_at_once() {
    let beside = Beside::start(Origin::builder(), &[]).await;
    let (sender, receiver) = mpsc::channel(1);
    let request = call(&beside, "BidiStream").body(Handed(receiver).boxed()).unwrap();
    let mut client = beside.client("h2").await;
    let mut body = client.open(request).await.unwrap().into_body();
    for number in 0..5 {
        let sent = message(format!("message {number}").as_bytes());
        sender.send(sent.clone().into()).await.unwrap();
        let mut got = Vec::new();
        while got.len() < sent.len() {
            let frame = timeout(DEADLINE, body.frame()).await.expect("the echo is not held back").unwrap().unwrap();
            got.extend_from_slice(&frame.into_data().unwrap());
        }
        assert_eq!(got, sent);
    }
    drop(sender);
    let trailers = timeout(DEADLINE, body.frame()).await.expect("it ends").unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn grpc_to_an_origin_without_http2_is_refused_by_name() {
    let beside = Beside::start(Origin::builder().protocols(Protocols::Http1), &[]).await;
    let request = || call(&beside, "Unary").body(bytes_body(message(b"hello"))).unwrap();
    let fetched = beside.client("http/1.1").await.fetch(request()).await.unwrap();
    assert_eq!((fetched.status.as_u16(), code(&fetched).as_str()), (502, "grpc_needs_http2"));
    // A call, which HTTP/2 makes of it, has its status and the message in gRPC's own form.
    let fetched = beside.client("h2").await.fetch(request()).await.unwrap();
    let field = |name: &str| fetched.headers[name].to_str().unwrap();
    assert_eq!((fetched.status.as_u16(), field("content-type"), field("grpc-status")), (200, "application/grpc", "14"));
    assert!(field("grpc-message").contains("(grpc_needs_http2)"), "{}", field("grpc-message"));
    assert!(field("proxy-status").contains("grpc_needs_http2") && fetched.body.is_empty());
    let of_call = |line: &serde_json::Value| line["kind"] == "request" && line["code"] == "grpc_needs_http2";
    assert_eq!(beside.setup.sidecar.wait_for_audit(of_call, DEADLINE).await["status"], 502);
    assert_eq!(beside.origin.request_count(), 0);
}

#[tokio::test]
async fn a_call_that_a_rule_refuses_is_answered_in_trailers_alone() {
    let beside = Beside::start(Origin::builder(), &[]).await;
    let rule = crate::beside::destination("origin.test", beside.origin.port(), "    deny: [{methods: [POST]}]\n");
    beside.setup.enforce(&rule).await;
    for (kind, status) in [("application/grpc+proto", 200), ("application/grpc-web", 403), ("text/plain", 403)] {
        let request = Request::post(beside.uri("/sandgate.test.Echo/Unary")).header("content-type", kind);
        let request = request.body(bytes_body(message(b"hello"))).unwrap();
        let fetched = beside.client("h2").await.fetch(request).await.unwrap();
        assert_eq!(fetched.status, status, "{kind}");
        let in_trailers = fetched.headers.get("grpc-status").map(|status| status.to_str().unwrap());
        assert_eq!(in_trailers, (status == 200).then_some("7"), "{kind}");
        assert_eq!(fetched.body.is_empty(), status == 200, "{kind}");
    }
    assert_eq!(beside.origin.request_count(), 0);
}
