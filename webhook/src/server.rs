//! The server: TLS, connections and their bounds, and the end of all that. It knows nothing of what is answered.
//!
//! Anything in the cluster can reach this port. Whatever one peer does, another's review must still be answered: so each
//! has a share of the connections and of the requests in flight, and what is unused makes place for what comes.

mod connection;
mod listener;
mod places;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt as _;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::ResolvesServerCert;
use sandgate_service::watches;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::config;
use crate::metrics::Metrics;
use connection::Connection;
use places::Places;

pub use listener::bind;

/// How long no connection is accepted after an accept failed, mostly for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Descriptors for everything but clients' connections: the API server, files, the admin port with its 64.
const RESERVED_DESCRIPTORS: usize = 192;
/// One address may have this part of all connections.
const SHARE: usize = 4;

/// The bounds of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections open at once.
    pub connections: usize,
    /// Those of them that one address may have.
    pub connections_of_address: usize,
    /// A TLS handshake.
    pub handshake: Duration,
    /// The first request's head, from the end of the handshake on.
    pub first_request: Duration,
    /// A connection without a request in flight, after its first one. A slow head is no request.
    pub idle: Duration,
}

impl Bounds {
    /// As configured, with no more connections than `descriptors` allow.
    #[must_use]
    pub fn new(server: &config::Server, descriptors: usize) -> Self {
        let most = descriptors.saturating_sub(RESERVED_DESCRIPTORS.min(descriptors / 2));
        let connections = server.max_connections.min(most).max(1);
        if connections < server.max_connections {
            tracing::info!(
                connections,
                descriptors,
                "fewer connections than server.maxConnections: too few descriptors"
            );
        }
        Self {
            connections,
            connections_of_address: (connections / SHARE).max(1),
            handshake: server.handshake_timeout,
            first_request: server.request_timeout,
            idle: server.idle_timeout,
        }
    }
}

/// What a connection needs of the server.
struct Shared {
    tls: TlsAcceptor,
    router: Router,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    places: Places,
}

/// How far the server is towards its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// Connections of HTTP/1.1 end with their next answer.
    Draining,
    /// Nothing more is accepted, and no connection stays for another request.
    Stopping,
}

/// A server that accepts connections.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    accepting: JoinHandle<()>,
}

/// Serves `router` on `listener`, with the certificates of `resolver`: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
///
/// # Errors
/// When the listener has no address.
///
/// # Panics
/// Outside a tokio runtime.
pub fn start(
    listener: TcpListener,
    resolver: Arc<dyn ResolvesServerCert>,
    router: Router,
    bounds: Bounds,
    metrics: Arc<Metrics>,
) -> io::Result<Running> {
    let address = listener.local_addr()?;
    let places = Places::new(bounds.connections, bounds.connections_of_address);
    let shared = Arc::new(Shared { tls: TlsAcceptor::from(tls(resolver)), router, bounds, metrics, places });
    let (phase, phases) = watch::channel(Phase::Serving);
    let accepting = tokio::spawn(accept(listener, shared, phases));
    Ok(Running { address, phase, accepting })
}

fn tls(resolver: Arc<dyn ResolvesServerCert>) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for TLS 1.2 and 1.3");
    let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for ever, unless the server fails.
    pub async fn failed(&mut self) {
        // It ends by itself only when it panics: that is in the log.
        let _ = (&mut self.accepting).await;
    }

    /// Accepts on, and says `Connection: close` in every answer over HTTP/1.1, which is what an API server speaks to
    /// webhooks. Such a connection can't be ended from here while it is idle without a risk: a request may be on its
    /// way, and the API server sends none twice. So it has to be told before, while it is used.
    pub fn drain(&self) {
        self.phase.send_replace(Phase::Draining);
    }

    /// Accepts nothing more, says GOAWAY on every connection, and waits for what runs to end, at most for `grace`. How
    /// it went: `false` where connections were cut off.
    pub async fn stop(self, grace: Duration) -> bool {
        self.phase.send_replace(Phase::Stopping);
        let abort = self.accepting.abort_handle();
        let ended = timeout(grace, self.accepting).await.is_ok();
        // Drops the connections that are left.
        abort.abort();
        ended
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut phase: watch::Receiver<Phase>) {
    let mut connections = JoinSet::new();
    let phases = phase.clone();
    loop {
        tokio::select! {
            () = told(&mut phase) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => take(&mut connections, &shared, &phases, stream, peer),
                Err(error) => {
                    tracing::warn!(error = %watches::explained(error), "a connection cannot be accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            },
            Some(ended) = connections.join_next() => report(ended),
        }
    }
    // Who is in the kernel's queue was told that this port is open.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        take(&mut connections, &shared, &phases, stream, peer);
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// Waits for the end, or for nobody being left who could tell.
async fn told(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase == Phase::Stopping).await.map(|_| ());
}

fn take(
    connections: &mut JoinSet<()>,
    shared: &Arc<Shared>,
    phase: &watch::Receiver<Phase>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    match shared.places.take(peer.ip().to_canonical()) {
        Ok(place) => drop(connections.spawn(Connection::new(shared, place, phase.clone()).run(stream))),
        Err(reason) => shared.metrics.closed(reason),
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection failed; please report this");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        let server = config::Server::default();
        let bounds = |descriptors| Bounds::new(&server, descriptors);
        assert_eq!((bounds(1 << 20).connections, bounds(1 << 20).connections_of_address), (4096, 1024));
        assert_eq!(bounds(1024).connections, 1024 - RESERVED_DESCRIPTORS);
        assert_eq!(bounds(64).connections, 32);
        assert_eq!((bounds(0).connections, bounds(0).connections_of_address), (1, 1));
    }
}
