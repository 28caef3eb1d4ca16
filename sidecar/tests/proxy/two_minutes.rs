//! What is quiet for minutes, over real sockets and on the clock of the wall. It needs no processor, so `scripts/test`
//! runs it beside all other tests. `hours` has the same on a clock that tests move.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use sandgate_testkit::client::{Client, Fetched, empty_body, websocket};
use sandgate_testkit::origin::{Origin, Protocols};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_rustls::client::TlsStream;

use crate::beside::{Beside, DEADLINE, VERSIONS, echo};
use crate::streaming::text_until;

const EVENTS_EVERY: Duration = Duration::from_secs(10);
const EVENTS: u64 = 12;

/// A WebSocket, and event streams over both protocols, each with the client that keeps its connection.
struct Streams {
    beside: Beside,
    websocket: TlsStream<TcpStream>,
    events: Vec<(Incoming, Client)>,
}

impl Streams {
    async fn open(beside: Beside) -> Self {
        let mut socket = beside.stream().await;
        let host = format!("origin.test:{}", beside.origin.port());
        assert_eq!(websocket(&mut socket, &host, "/ws").await.unwrap().status, 101);
        let mut events = Vec::new();
        for alpn in VERSIONS {
            let mut client = beside.client(alpn).await;
            let request = Request::get(beside.uri("/sse")).body(empty_body()).unwrap();
            events.push((client.open(request).await.unwrap().into_body(), client));
        }
        Self { beside, websocket: socket, events }
    }

    async fn next_event(&mut self, number: u64) {
        for (body, _) in &mut self.events {
            assert_eq!(text_until(body, "\n\n").await, format!("id: {number}\ndata: event {number}\n\n"));
        }
        self.beside.origin.release_event();
    }
}

/// Asks for what does not come yet, over both protocols.
async fn poll(beside: &Beside) -> JoinSet<Fetched> {
    let mut polls = JoinSet::new();
    for alpn in VERSIONS {
        let mut client = beside.client(alpn).await;
        let uri = beside.uri("/long-poll");
        polls.spawn(async move { client.get(&uri).await.unwrap() });
    }
    beside.origin.wait_for_requests(VERSIONS.len(), DEADLINE).await;
    polls
}

#[tokio::test]
#[ignore = "waits for two minutes: scripts/test runs it beside the others"]
async fn a_websocket_is_idle_events_come_now_and_then_and_polls_wait() {
    let (mut streams, mut polls) = (Vec::new(), Vec::new());
    // A WebSocket needs HTTP/1.1; event streams and polls take HTTP/2 where there is both.
    for protocols in [Protocols::Both, Protocols::Http1] {
        let beside = async || Beside::start(Origin::builder().protocols(protocols), &[]).await;
        streams.push(Streams::open(beside().await).await);
        let polled = beside().await;
        polls.push((poll(&polled).await, polled));
    }
    let mut ticks = interval(EVENTS_EVERY);
    for number in 0..=EVENTS {
        ticks.tick().await;
        for streams in &mut streams {
            streams.next_event(number).await;
        }
    }
    for streams in &mut streams {
        timeout(DEADLINE, echo(&mut streams.websocket, "after two minutes")).await.expect("it lives").unwrap();
    }
    for (polls, polled) in polls {
        polled.origin.release_event();
        for answer in timeout(DEADLINE, polls.join_all()).await.expect("they are answered") {
            assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "news\n"));
        }
    }
}
