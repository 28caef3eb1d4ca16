//! More at once than fits: what waits is answered in its turn.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use http::Request;
use sandgate_testkit::client::{Client, empty_body, read};
use sandgate_testkit::origin::{Builder, Origin, Protocols};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::beside::{Beside, DEADLINE};

const REQUESTS: usize = 1_000;
/// The default of `--max-streams`.
const STREAMS: usize = 200;

/// Sends all requests at once over one tunnel's HTTP/2, waits until as many run as may before the first is answered, and
/// returns when each has its answer.
async fn all_are_answered(origin: Builder, at_once: usize) -> Beside {
    let beside = Beside::start(origin, &[]).await;
    let Client::Http2(sender) = beside.client("h2").await else { panic!("ALPN chose HTTP/2") };
    let mut open = JoinSet::new();
    for number in 0..REQUESTS {
        let (mut sender, uri) = (sender.clone(), beside.uri(&format!("/slow-body?pieces=2&number={number}")));
        open.spawn(async move {
            sender.ready().await.unwrap();
            read(sender.send_request(Request::get(uri).body(empty_body()).unwrap()).await.unwrap()).await.unwrap()
        });
    }
    beside.origin.wait_for_requests(at_once, DEADLINE).await;
    assert_eq!(beside.origin.request_count(), at_once, "no more run than may");
    let answered = async {
        while !open.is_empty() {
            beside.origin.release_event();
            while let Some(ended) = open.try_join_next() {
                let answer = ended.unwrap();
                assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "piece 0\npiece 1\n"));
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE * 2, answered).await.expect("none waits for ever");
    assert_eq!(beside.origin.request_count(), REQUESTS, "none was sent twice");
    beside
}

#[tokio::test]
async fn a_thousand_requests_at_once_are_all_answered_by_an_http2_origin_that_allows_few_streams() {
    let beside = all_are_answered(Origin::builder().protocols(Protocols::Http2).max_streams(10), 40).await;
    assert_eq!(beside.origin.connections().len(), 4);
}

#[tokio::test]
async fn a_thousand_requests_at_once_are_all_answered_by_an_http1_origin_two_hundred_at_a_time() {
    all_are_answered(Origin::builder().protocols(Protocols::Http1), STREAMS).await;
}
