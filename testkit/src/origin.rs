//! An HTTPS origin for tests on loopback: HTTP/1.1 and HTTP/2 by ALPN, routes for every kind of exchange, and a journal
//! of what arrived. It stops when it is dropped. It never looks at what a proxy should have refused: tests judge that.

mod apis;
mod builder;
mod exchange;
mod files;
mod git;
mod grpc;
mod head;
mod http1;
mod http2;
mod journal;
mod listener;
mod odd;
mod routes;
mod streams;
mod tls;
pub mod websocket;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, watch};
use tokio::task::AbortHandle;

pub use self::builder::Builder;
pub use self::head::Head;
pub use self::journal::{Outcome, RecordedConnection, RecordedRequest, TlsFacts};
pub use self::listener::{Io, Stream};

pub(crate) use self::head::{ResponseHead, parse_response_head};
use self::journal::Journal;
use self::listener::Connection;
pub(crate) use self::tls::acceptor;
use crate::pki::TestCa;

/// The names that an origin's own certificate has, beside the loopback addresses.
pub const NAMES: &[&str] = &["origin.test", "*.origin.test", "localhost"];

/// Which protocols an origin speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2 and HTTP/1.1 over TLS; ALPN decides, and HTTP/1.1 is spoken without it.
    Both,
    /// HTTP/1.1 over TLS only.
    Http1,
    /// HTTP/2 over TLS only, with or without ALPN.
    Http2,
    /// HTTP/1.1 without TLS.
    Plain,
}

struct Options {
    protocols: Protocols,
    max_streams: Option<u32>,
    files: Option<PathBuf>,
}

/// What all connections of an origin share.
struct Shared {
    options: Options,
    journal: Arc<Journal>,
    released: watch::Sender<u64>,
    git: OnceCell<git::Repository>,
}

/// A running origin. Dropping it closes its listeners and connections.
pub struct Origin {
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
    ca: TestCa,
    address: SocketAddr,
}

impl Origin {
    /// An origin with everything at its default: TLS from a CA of its own, HTTP/1.1 and HTTP/2, no session tickets.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The address and port that it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The CA that signed its certificate, unless another certificate was given.
    #[must_use]
    pub fn ca(&self) -> &TestCa {
        &self.ca
    }

    /// Every request so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.journal.requests()
    }

    /// How many requests have arrived.
    #[must_use]
    pub fn request_count(&self) -> usize {
        self.shared.journal.request_count()
    }

    /// Every connection so far, in order of arrival.
    #[must_use]
    pub fn connections(&self) -> Vec<RecordedConnection> {
        self.shared.journal.connections()
    }

    /// Waits until `count` requests have arrived, with their heads.
    ///
    /// # Panics
    /// After `deadline`, with what did arrive.
    pub async fn wait_for_requests(&self, count: usize, deadline: Duration) -> Vec<RecordedRequest> {
        let arrived = self.shared.journal.wait(deadline, |journal| journal.request_count() >= count).await;
        let requests = self.requests();
        assert!(arrived, "fewer than {count} requests after {deadline:?}: {requests:#?}");
        requests
    }

    /// Waits until `condition` holds for the requests so far.
    ///
    /// # Panics
    /// After `deadline`, with what did arrive.
    pub async fn wait_until(
        &self,
        deadline: Duration,
        mut condition: impl FnMut(&[RecordedRequest]) -> bool,
    ) -> Vec<RecordedRequest> {
        let held = self.shared.journal.wait(deadline, |journal| condition(&journal.requests())).await;
        let requests = self.requests();
        assert!(held, "the origin's requests were not as expected after {deadline:?}: {requests:#?}");
        requests
    }

    /// Waits until `condition` holds for the connections so far.
    ///
    /// # Panics
    /// After `deadline`, with what there was.
    pub async fn wait_for_connections(
        &self,
        deadline: Duration,
        mut condition: impl FnMut(&[RecordedConnection]) -> bool,
    ) -> Vec<RecordedConnection> {
        let held = self.shared.journal.wait(deadline, |journal| condition(&journal.connections())).await;
        let connections = self.connections();
        assert!(held, "the origin's connections were not as expected after {deadline:?}: {connections:#?}");
        connections
    }

    /// Lets every open `/sse` and `/slow-body` response send its next piece, and every `/long-poll` answer.
    pub fn release_event(&self) {
        self.shared.released.send_modify(|released| *released += 1);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}
