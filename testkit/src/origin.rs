//! An HTTPS origin for tests on loopback: HTTP/1.1 and HTTP/2 by ALPN, routes for every kind of exchange, and a journal
//! of what arrived. It stops when it is dropped. It never looks at what a proxy should have refused: tests judge that.

mod exchange;
mod git;
mod grpc;
mod head;
mod http1;
mod http2;
mod journal;
mod odd;
mod routes;
mod streams;
mod tls;
pub mod websocket;

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OnceCell, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub use self::head::Head;
pub use self::journal::{Outcome, RecordedConnection, RecordedRequest, TlsFacts};

pub(crate) use self::head::{ResponseHead, parse_response_head};
use self::journal::Journal;
pub(crate) use self::tls::acceptor;
use crate::pki::{Issued, TestCa};

/// The names that an origin's own certificate has, beside the loopback addresses.
pub const NAMES: &[&str] = &["origin.test", "*.origin.test", "localhost"];

/// A byte stream, with TLS or without.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
/// A byte stream of either kind.
pub type Io = Box<dyn Stream>;

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
}

/// What all connections of an origin share.
struct Shared {
    options: Options,
    journal: Arc<Journal>,
    released: watch::Sender<u64>,
    git: OnceCell<git::Repository>,
}

/// One connection, for what answers its requests.
#[derive(Clone)]
struct Connection {
    origin: Arc<Shared>,
    number: usize,
}

impl Connection {
    fn fail(&self, error: &io::Error) {
        let text = error.to_string();
        self.origin.journal.update_connection(self.number, |record| record.error = Some(text));
    }
}

/// What an origin is started with.
pub struct Builder {
    options: Options,
    ca: Option<TestCa>,
    names: Vec<String>,
    certificate: Option<Issued>,
    client_roots: Vec<CertificateDer<'static>>,
    tickets: bool,
    keeps_requests: bool,
    ipv6: bool,
    address: SocketAddr,
}

impl Builder {
    /// Signs the origin's certificate with this CA instead of a new one.
    #[must_use]
    pub fn ca(mut self, ca: &TestCa) -> Self {
        self.ca = Some(ca.clone());
        self
    }

    /// Adds names to the origin's certificate.
    #[must_use]
    pub fn names(mut self, names: &[&str]) -> Self {
        self.names.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// Shows this certificate instead of a right one.
    #[must_use]
    pub fn certificate(mut self, certificate: Issued) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Speaks only these protocols.
    #[must_use]
    pub fn protocols(mut self, protocols: Protocols) -> Self {
        self.options.protocols = protocols;
        self
    }

    /// Accepts no client without a certificate from this root.
    #[must_use]
    pub fn require_client_certificate(mut self, root: &CertificateDer<'static>) -> Self {
        self.client_roots.push(root.clone());
        self
    }

    /// Lets clients resume TLS sessions, which they cannot otherwise.
    #[must_use]
    pub fn session_tickets(mut self) -> Self {
        self.tickets = true;
        self
    }

    /// Allows so many concurrent streams per connection (`SETTINGS_MAX_CONCURRENT_STREAMS`).
    #[must_use]
    pub fn max_streams(mut self, streams: u32) -> Self {
        self.options.max_streams = Some(streams);
        self
    }

    /// Listens on `[::1]` with the same port too.
    #[must_use]
    pub fn also_ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// Listens on this port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.address.set_port(port);
        self
    }

    /// Listens on this address instead of 127.0.0.1, for tests whose clients are in other network namespaces.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address.set_ip(address);
        self
    }

    /// Counts requests but keeps no record of them, for benchmarks.
    #[must_use]
    pub fn without_requests(mut self) -> Self {
        self.keeps_requests = false;
        self
    }

    /// Starts listening.
    ///
    /// # Panics
    /// Where a port cannot be bound, or outside of a tokio runtime.
    pub async fn start(self) -> Origin {
        let ca = self.ca.unwrap_or_default();
        let names: Vec<&str> =
            NAMES.iter().copied().chain(["127.0.0.1", "::1"]).chain(self.names.iter().map(String::as_str)).collect();
        let certificate = self.certificate.unwrap_or_else(|| ca.issue(&names));
        let acceptor = (self.options.protocols != Protocols::Plain)
            .then(|| tls::acceptor(certificate, self.options.protocols, self.client_roots, self.tickets));
        let v4 = TcpListener::bind(self.address).await;
        let v4 = v4.unwrap_or_else(|error| panic!("cannot listen on {}: {error}", self.address));
        let address = v4.local_addr().expect("a bound socket has an address");
        let mut listeners = vec![v4];
        if self.ipv6 {
            let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, address.port())).await;
            listeners.push(v6.expect("[::1] has the port that 127.0.0.1 had free"));
        }
        let shared = Arc::new(Shared {
            options: self.options,
            journal: Arc::new(Journal::new(self.keeps_requests)),
            released: watch::Sender::new(0),
            git: OnceCell::new(),
        });
        let listen = |listener| tokio::spawn(listen(listener, acceptor.clone(), Arc::clone(&shared))).abort_handle();
        Origin { tasks: listeners.into_iter().map(listen).collect(), shared, ca, address }
    }
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
        Builder {
            options: Options { protocols: Protocols::Both, max_streams: None },
            ca: None,
            names: Vec::new(),
            certificate: None,
            client_roots: Vec::new(),
            tickets: false,
            keeps_requests: true,
            ipv6: false,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
        }
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

    /// Lets every open `/sse` and `/slow-body` response send its next piece.
    pub fn release_event(&self) {
        self.shared.released.send_modify(|released| *released += 1);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn listen(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        // A client that is gone before it was accepted is no reason to stop.
        let Ok((stream, _)) = accepted else { continue };
        connections.spawn(serve(stream, acceptor.clone(), Arc::clone(&shared)));
    }
}

async fn serve(stream: TcpStream, acceptor: Option<TlsAcceptor>, origin: Arc<Shared>) {
    let (number, bytes) = origin.journal.add_connection();
    let connection = Connection { origin, number };
    if let Err(error) = serve_protocol(stream, acceptor, &connection, bytes).await {
        connection.fail(&error);
    }
    connection.origin.journal.update_connection(number, |record| record.closed = true);
}

async fn serve_protocol(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    connection: &Connection,
    bytes: Arc<AtomicU64>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(acceptor) = acceptor else {
        return http1::serve(Box::new(Counted { inner: stream, bytes }), connection).await;
    };
    let stream = acceptor.accept(stream).await?;
    let facts = tls::facts(stream.get_ref().1);
    let http2 = match connection.origin.options.protocols {
        Protocols::Http2 => true,
        _ => facts.alpn.as_deref() == Some("h2"),
    };
    connection.origin.journal.update_connection(connection.number, |record| record.tls = Some(facts));
    let io = Box::new(Counted { inner: stream, bytes });
    let served: Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>> =
        if http2 { Box::pin(http2::serve(io, connection)) } else { Box::pin(http1::serve(io, connection)) };
    served.await
}

/// A stream that counts what is read from it.
struct Counted<S> {
    inner: S,
    bytes: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, into);
        self.bytes.fetch_add((into.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
