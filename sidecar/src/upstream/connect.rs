//! One new connection to an origin: dial, verified TLS, HTTP handshake.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sandgate_policy::UpstreamHttp;
use sandgate_policy::destination::{Destination, Scheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

use super::dial::Dialer;
use super::profile::Profile;
use super::{Failure, Peer, tls};
use crate::body::RequestBody;
use crate::meter::{Meter, Metered};
use crate::metrics::{Metrics, Open, Protocol};
use crate::refusal::Code;

/// The largest response head, in bytes: what clients may send at the defaults. An HTTP/1.1 connection reads into a buffer
/// of this size, so it is also what a client that reads nothing can fill with each stream.
const MAX_RESPONSE_HEAD: usize = 32 * 1024;
/// What one stream of an HTTP/2 connection may have in flight towards us: enough for some 10 MiB/s at 50 ms. Less would
/// slow down downloads from afar.
const STREAM_WINDOW: u32 = 512 * 1024;
/// What all streams may have in flight together, and so what stalled readers can fill with each connection: fifteen leave
/// room for the sixteenth.
const CONNECTION_WINDOW: u32 = 16 * STREAM_WINDOW;
/// What one stream may have buffered towards the origin.
const SEND_BUFFER: usize = 32 * 1024;
/// Streams assumed to be free where the origin's SETTINGS do not arrive (RFC 9113 6.5.2 recommends at least 100).
const INITIAL_STREAMS: usize = 100;
/// What hyper holds for the limit until the SETTINGS are there; no origin says just this.
const NOT_SAID_YET: usize = (1 << 40) + 1;
/// How long the SETTINGS, which are the first thing that an origin sends, are waited for by those who want to share.
/// As long as a handshake may take; the request that the connection was made for does not wait.
const SETTLING: Duration = Duration::from_secs(10);
/// How often a connection with open streams is asked whether it still lives, and how long it has to answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Sends requests on an HTTP/1.1 connection, one at a time.
pub type Http1Sender = http1::SendRequest<RequestBody>;

/// An HTTP/1.1 connection that carries one request at a time.
pub struct Http1Connection {
    /// Sends requests on it.
    pub sender: Http1Sender,
    /// Where it leads.
    pub peer: Peer,
    /// Counts the bytes of HTTP on it.
    pub meter: Arc<Meter>,
    _open: Open,
}

/// An HTTP/2 connection that several requests share.
pub struct Http2Connection {
    sender: http2::SendRequest<RequestBody>,
    driver: Arc<dyn StreamLimit>,
    in_flight: AtomicUsize,
    made: Instant,
    last_used: Mutex<Instant>,
    _open: Open,
    /// Where it leads.
    pub peer: Peer,
}

impl Http2Connection {
    /// Takes one of the streams that the origin allows, if one is free. A new connection has its first one taken.
    pub fn reserve(&self) -> bool {
        let limit = self.streams();
        let reserved =
            self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| (open < limit).then_some(open + 1));
        reserved.is_ok()
    }

    /// Whether [`Self::reserve`] would take one.
    pub fn has_free_stream(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) < self.streams()
    }

    /// How many streams may be open at once.
    fn streams(&self) -> usize {
        match self.driver.max_streams() {
            NOT_SAID_YET if self.is_settling() => 0,
            NOT_SAID_YET => INITIAL_STREAMS,
            limit => limit,
        }
    }

    /// Whether the origin has yet to say how many streams it allows: a request that took one now could wait behind one
    /// that never ends.
    pub fn is_settling(&self) -> bool {
        self.made.elapsed() < SETTLING && self.driver.max_streams() == NOT_SAID_YET
    }

    /// Gives a stream back.
    pub fn release(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether no request can be sent on it any more.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether it has carried nothing since `limit` ago.
    pub fn is_idle_for(&self, limit: Duration) -> bool {
        self.in_flight.load(Ordering::Acquire) == 0
            && self.last_used.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= limit
    }

    /// A handle that sends one request.
    pub fn sender(&self) -> http2::SendRequest<RequestBody> {
        self.sender.clone()
    }
}

/// Asks a connection how many streams its origin allows. The only type parameter that it hides is that of the socket.
trait StreamLimit: Send + Sync {
    fn max_streams(&self) -> usize;
}

/// The connection while it lives. Gone as soon as it has ended: requests that wait in it fail then, and the sender knows
/// that it is closed.
type Http2Driver<T> = Mutex<Option<http2::Connection<T, RequestBody, TokioExecutor>>>;

impl<T> StreamLimit for Http2Driver<T>
where
    T: Read + Write + Unpin + Send + 'static,
{
    fn max_streams(&self) -> usize {
        let driver = self.lock().unwrap_or_else(PoisonError::into_inner);
        driver.as_ref().map_or(0, http2::Connection::current_max_send_streams)
    }
}

/// A connection that is ready for its first request.
pub enum Made {
    /// An HTTP/1.1 connection.
    Http1(Http1Connection),
    /// An HTTP/2 connection.
    Http2(Arc<Http2Connection>),
}

/// What a new connection is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Any request: HTTP/2 where the origin and the rule allow it.
    Any,
    /// An upgrade, which is an affair of HTTP/1.1 alone (RFC 9110 7.8).
    Upgrade,
}

/// Makes a connection to `destination`.
///
/// # Errors
/// [`Failure`]; a certificate that does not verify has a code of its own, and no byte of a request was sent.
pub async fn connect(
    dialer: &Dialer,
    destination: &Destination,
    profile: &Profile,
    want: Want,
    handshake_timeout: Duration,
    metrics: &Metrics,
) -> Result<Made, Failure> {
    let (stream, peer) = dialer.dial(destination, &profile.private_cidrs).await?;
    if destination.scheme == Scheme::Http {
        return http1(stream, peer, metrics).await;
    }
    let connector = match want {
        Want::Any => &profile.connectors.any,
        Want::Upgrade => &profile.connectors.http1,
    };
    let handshake = timeout(handshake_timeout, connector.connect(tls::server_name(&destination.host)?, stream)).await;
    let stream = handshake
        .map_err(|_| Failure::new(Code::TlsTimeout, "the TLS handshake did not end in time").at(peer.address))?
        .map_err(|error| tls::failure(&error).at(peer.address))?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(tls::ALPN_H2);
    if is_http2 {
        return http2(TokioIo::new(stream), peer, metrics).await;
    }
    if profile.http == UpstreamHttp::Http2 && want == Want::Any {
        let detail = "the rule asks for HTTP/2, and the origin does not offer it";
        return Err(Failure::new(Code::UpstreamProtocol, detail).at(peer.address));
    }
    http1(stream, peer, metrics).await
}

/// HTTP/1.1 over a stream that leads to `peer`.
///
/// # Errors
/// As hyper's handshake.
pub(super) async fn http1<S>(stream: S, peer: Peer, metrics: &Metrics) -> Result<Made, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, meter) = http1_sender(stream).await.map_err(|error| protocol(&error, peer.address))?;
    let _open = metrics.upstream(Protocol::Http1);
    Ok(Made::Http1(Http1Connection { sender, peer, meter, _open }))
}

/// HTTP/1.1 over `stream`, and what counts its bytes.
///
/// # Errors
/// As hyper's handshake.
pub(super) async fn http1_sender<S>(stream: S) -> Result<(Http1Sender, Arc<Meter>), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let meter = Arc::new(Meter::default());
    let io = TokioIo::new(Metered::new(stream, Arc::clone(&meter)));
    let mut builder = http1::Builder::new();
    builder
        .preserve_header_case(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .max_buf_size(MAX_RESPONSE_HEAD)
        .max_header_size(MAX_RESPONSE_HEAD);
    let (sender, connection) = builder.handshake(io).await?;
    // The task ends with the connection; its error is also that of the request under way, which reports it.
    tokio::spawn(async move { drop(connection.with_upgrades().await) });
    Ok((sender, meter))
}

async fn http2<T>(io: T, peer: Peer, metrics: &Metrics) -> Result<Made, Failure>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(NOT_SAID_YET)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(MAX_RESPONSE_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL);
    let (sender, connection) = builder.handshake(io).await.map_err(|error| protocol(&error, peer.address))?;
    let driver = Arc::new(Mutex::new(Some(connection)));
    tokio::spawn(drive(Arc::clone(&driver)));
    // Its first stream is that of the request that it was made for.
    let (in_flight, made) = (AtomicUsize::new(1), Instant::now());
    let last_used = Mutex::new(made);
    let _open = metrics.upstream(Protocol::Http2);
    Ok(Made::Http2(Arc::new(Http2Connection { sender, driver, in_flight, made, last_used, _open, peer })))
}

async fn drive<T>(driver: Arc<Http2Driver<T>>)
where
    T: Read + Write + Unpin + Send + 'static,
{
    // The lock is held while the connection is polled, never over a wait.
    std::future::poll_fn(|context| {
        let mut driver = driver.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = driver.as_mut() else { return Poll::Ready(()) };
        // Its error is also that of the requests under way, which report it.
        ready!(Pin::new(connection).poll(context)).ok();
        *driver = None;
        Poll::Ready(())
    })
    .await;
}

fn protocol(error: &hyper::Error, address: SocketAddr) -> Failure {
    Failure::new(Code::UpstreamProtocol, format!("the HTTP handshake failed: {error}")).at(address)
}
