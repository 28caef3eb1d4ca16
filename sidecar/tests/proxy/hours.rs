//! What runs for hours, at the defaults: the whole proxy in this process, over real sockets and TLS, on a clock that
//! tests move. `two_minutes` has the same on the clock of the wall, for as long as that can be waited for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use sandgate_sidecar::cli::{self, Action};
use sandgate_sidecar::serve::{self, Running};
use sandgate_testkit::client::{Client, ClientTls, consume, empty_body, https_through, tunnel, websocket};
use sandgate_testkit::origin::{Origin, Protocols};
use tempfile::TempDir;

use crate::beside::{DEADLINE, ORIGINS, VERSIONS, code, destination, echo, uri};
use crate::streaming::text_until;

const MINUTE: Duration = Duration::from_secs(60);
/// The defaults of `--idle-body-timeout` and `--first-byte-timeout`, but for the time that tests take by themselves.
const ALMOST_TOO_LONG: Duration = Duration::from_secs(15 * 60 - 20);
/// From there on it is more than they are.
const A_LITTLE_MORE: Duration = Duration::from_secs(21);

/// A proxy and its origin in this process.
struct Within {
    origin: Origin,
    proxy: SocketAddr,
    tls: ClientTls,
    _running: Running,
    _dir: TempDir,
}

impl Within {
    async fn start(protocols: Protocols) -> Self {
        let (origin, dir) = (Origin::builder().protocols(protocols).start().await, tempfile::tempdir().unwrap());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (policy, roots, trust) = (path("policy.yaml"), path("origin-ca.pem"), path("trust"));
        let rules = destination("origin.test", origin.port(), "");
        std::fs::write(&policy, format!("version: 1\ndestinations:\n{rules}")).unwrap();
        origin.ca().write_root(roots.as_ref());
        std::fs::create_dir(&trust).unwrap();
        let resolve = format!("origin.test:{}:127.0.0.1", origin.port());
        let listeners = ["--listen", "127.0.0.1:0", "--admin-listen", "none"];
        let files = ["--ca", "generate", "--policy", &policy, "--trust-dir", &trust, "--upstream-ca", &roots];
        let rest = ["--resolve", &resolve, "--audit-log", "none", "--no-env"];
        let line = ["sandgate-sidecar", "serve"].iter().chain(&listeners).chain(&files).chain(&rest);
        let Ok(Action::Serve(settings)) = cli::parse(line.map(OsString::from), &[]) else { panic!("wrong usage") };
        let running = serve::start(*settings, None).await.unwrap();
        let tls = ClientTls::new(&std::fs::read_to_string(path("trust/ca.crt")).unwrap());
        Self { origin, proxy: running.proxy_addresses()[0], tls, _running: running, _dir: dir }
    }

    async fn client(&self, alpn: &str) -> Client {
        https_through(self.proxy, "origin.test", self.origin.port(), &self.tls.clone().alpn(&[alpn])).await.unwrap()
    }

    fn uri(&self, path: &str) -> String {
        uri(self.origin.port(), path)
    }

    /// Opens `path`, and returns the body with a client for other requests: over HTTP/2 on the same connection.
    async fn open(&self, alpn: &str, path: &str) -> (Incoming, Client, Client) {
        let mut client = self.client(alpn).await;
        let request = Request::get(self.uri(path)).body(empty_body()).unwrap();
        let body = client.open(request).await.unwrap().into_body();
        let other = match &client {
            Client::Http2(sender) => Client::Http2(sender.clone()),
            _ => self.client(alpn).await,
        };
        (body, client, other)
    }

    /// A request that goes by what is open. Behind it, every ping of HTTP/2 that the clock brought is answered.
    async fn serves(&self, client: &mut Client) {
        let fetched = client.get(&self.uri("/zen")).await.unwrap();
        assert_eq!(fetched.status, 200, "{}", fetched.text());
    }
}

/// Lets time pass, at once. The clock stands still for that moment alone: while it does, tokio moves it by itself
/// whenever all tasks wait, be it for a socket.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_websocket_is_idle_for_four_hours_and_goes_on() {
    let within = Within::start(Protocols::Both).await;
    let host = format!("origin.test:{}", within.origin.port());
    let stream = tunnel(within.proxy, &host).await.unwrap();
    let mut stream = within.tls.clone().alpn(&["http/1.1"]).handshake("origin.test", stream).await.unwrap();
    assert_eq!(websocket(&mut stream, &host, "/ws").await.unwrap().status, 101);
    echo(&mut stream, "before").await.unwrap();
    for _ in 0..4 * 60 {
        pass(MINUTE).await;
    }
    echo(&mut stream, "after").await.unwrap();
}

#[tokio::test]
async fn an_event_stream_runs_for_hours_while_an_event_comes_in_time_and_ends_when_none_does() {
    for protocols in ORIGINS {
        for alpn in VERSIONS {
            let within = Within::start(protocols).await;
            let (mut body, _client, mut other) = within.open(alpn, "/sse").await;
            text_until(&mut body, "\n\n").await;
            within.serves(&mut other).await;
            for event in 1..=16 {
                pass(ALMOST_TOO_LONG).await;
                within.origin.release_event();
                assert_eq!(text_until(&mut body, "\n\n").await, format!("id: {event}\ndata: event {event}\n\n"));
                within.serves(&mut other).await;
            }
            pass(ALMOST_TOO_LONG).await;
            within.serves(&mut other).await;
            pass(A_LITTLE_MORE).await;
            consume(body, |_| ()).await.expect_err("a quarter of an hour without an event");
        }
    }
}

#[tokio::test]
async fn a_long_poll_is_waited_for_almost_a_quarter_of_an_hour_again_and_again() {
    for protocols in ORIGINS {
        for alpn in VERSIONS {
            let within = Within::start(protocols).await;
            let (mut client, mut other) = (within.client(alpn).await, within.client(alpn).await);
            within.serves(&mut other).await;
            for poll in 0..9 {
                let answered = poll < 8;
                let waiting = within.origin.request_count();
                let request = Request::get(within.uri("/long-poll")).body(empty_body()).unwrap();
                let polled = tokio::spawn(async move {
                    let answer = client.fetch(request).await.unwrap();
                    (client, answer)
                });
                within.origin.wait_for_requests(waiting + 1, DEADLINE).await;
                pass(ALMOST_TOO_LONG).await;
                within.serves(&mut other).await;
                match answered {
                    true => within.origin.release_event(),
                    false => pass(A_LITTLE_MORE).await,
                }
                let (same, answer) = polled.await.unwrap();
                client = same;
                match answered {
                    true => assert_eq!(answer.text(), "news\n", "{alpn} {protocols:?}"),
                    false => assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (504, "response_timeout")),
                }
            }
        }
    }
}
