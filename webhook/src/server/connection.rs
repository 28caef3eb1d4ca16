//! One connection: handshake, HTTP/2 or HTTP/1.1, and the reasons for which it ends.

use std::convert::Infallible;
use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::CONNECTION;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::server::TlsStream;
use tower::Service as _;

use super::places::{Place, Use};
use super::{Phase, Shared};
use crate::endpoints::rejection;
use crate::metrics::{Closed, Metrics, Rejected};

/// The largest head, in bytes: an API server's has a few hundred.
const HEAD_BYTES: u32 = 16 * 1024;
/// The most header fields.
const HEAD_FIELDS: usize = 64;
/// Requests that one HTTP/2 connection may have at once.
const STREAMS: u32 = 128;
/// What a client may send ahead on one stream: most reviews fit.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same on all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How long a connection that has to go may take to say so.
const FAREWELL: Duration = Duration::from_millis(500);

/// A connection from its first moment on.
pub(super) struct Connection {
    shared: Arc<Shared>,
    place: Arc<Place>,
    phase: watch::Receiver<Phase>,
}

impl Connection {
    pub(super) fn new(shared: &Arc<Shared>, place: Place, phase: watch::Receiver<Phase>) -> Self {
        Self { shared: Arc::clone(shared), place: Arc::new(place), phase }
    }

    pub(super) async fn run(self, stream: TcpStream) {
        let _open = self.shared.metrics.connection();
        let Some(stream) = self.handshake(stream).await else { return };
        self.place.touch();
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.http2(stream).await;
        } else {
            self.http1(stream).await;
        }
    }

    async fn handshake(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        // Answers are small, and each is waited for.
        let _ = stream.set_nodelay(true);
        let handshake = timeout(self.shared.bounds.handshake, self.shared.tls.accept(stream));
        let reason = tokio::select! {
            () = self.place.evicted() => Closed::Evicted,
            handshake = handshake => match handshake {
                Ok(Ok(stream)) => return Some(stream),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a TLS handshake failed");
                    Closed::HandshakeFailed
                }
                Err(_elapsed) => Closed::HandshakeTimeout,
            },
        };
        self.shared.metrics.closed(reason);
        None
    }

    async fn http1(self, stream: TlsStream<TcpStream>) {
        let mut builder = http1::Builder::new();
        // hyper's own bound of a head runs between two requests too: ours tells the two apart.
        builder.header_read_timeout(None).max_buf_size(HEAD_BYTES as usize).max_headers(HEAD_FIELDS);
        let (shared, place, phase) = (Arc::clone(&self.shared), Arc::clone(&self.place), self.phase.clone());
        let service = service_fn(move |request| {
            let (answer, phase) = (answer(&shared, &place, request), phase.clone());
            async move {
                let mut response = answer.await?;
                if *phase.borrow() >= Phase::Draining {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        self.drive(connection, |connection| connection.graceful_shutdown()).await;
    }

    async fn http2(self, stream: TlsStream<TcpStream>) {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (shared, place) = (Arc::clone(&self.shared), Arc::clone(&self.place));
        let service = service_fn(move |request| answer(&shared, &place, request));
        let connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        self.drive(connection, |connection| connection.graceful_shutdown()).await;
    }

    /// Runs `connection` until it ends, or has to; then `shutdown` lets it finish what it has begun.
    async fn drive<C>(&self, mut connection: Pin<&mut C>, shutdown: fn(Pin<&mut C>))
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let reason = tokio::select! {
            served = connection.as_mut() => return self.ended(served),
            () = self.place.evicted() => Some(Closed::Evicted),
            () = self.unused() => Some(Closed::Idle),
            () = self.stopped() => None,
        };
        shutdown(connection.as_mut());
        match reason {
            Some(reason) => {
                self.shared.metrics.closed(reason);
                // A peer that does not read, or does not answer a GOAWAY's ping, is not waited for.
                let _ = timeout(FAREWELL, connection).await;
            }
            // The server's end is bounded as a whole.
            None => self.ended(connection.await),
        }
    }

    /// Waits until the connection has been without a request for too long.
    async fn unused(&self) {
        let bounds = &self.shared.bounds;
        loop {
            let end = match self.place.usage() {
                Use::Never(since) => since + bounds.first_request,
                Use::Since(since) => since + bounds.idle,
                Use::Now => Instant::now() + bounds.idle,
            };
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }

    /// Waits until the server ends, and a connection that was just opened has brought its request.
    async fn stopped(&self) {
        let mut phase = self.phase.clone();
        if phase.wait_for(|phase| *phase == Phase::Stopping).await.is_err() {
            return pending().await;
        }
        if matches!(self.place.usage(), Use::Never(_)) {
            // Without a request it ends by being unused.
            self.place.used().await;
        }
    }

    fn ended(&self, served: hyper::Result<()>) {
        if let Err(error) = served {
            tracing::debug!(%error, "a connection failed");
            self.shared.metrics.closed(Closed::Http);
        }
    }
}

/// The router's answer, with the request counted as in flight while it is made.
fn answer(
    shared: &Arc<Shared>,
    place: &Arc<Place>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response, Infallible>> + use<> {
    let (running, shared) = (place.request(), Arc::clone(shared));
    async move {
        match running {
            Some(_running) => shared.router.clone().call(request.map(Body::new)).await,
            None => Ok(too_many(&shared.metrics)),
        }
    }
}

fn too_many(metrics: &Metrics) -> Response {
    metrics.rejected(Rejected::Busy);
    rejection::response(Rejected::Busy, "this address has too many requests in flight; try again")
}
