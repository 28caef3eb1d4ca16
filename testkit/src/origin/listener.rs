//! Accepting connections of an origin: TLS, then HTTP/1 or HTTP/2. What fails here is recorded and stops nothing else.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{Protocols, Shared, http1, http2, tls};

/// A byte stream, with TLS or without.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
/// A byte stream of either kind.
pub type Io = Box<dyn Stream>;

/// One connection, for what answers its requests.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) origin: Arc<Shared>,
    pub(super) number: usize,
}

impl Connection {
    /// Records why the connection, or a stream on it, broke.
    pub(super) fn fail(&self, error: &io::Error) {
        let text = error.to_string();
        self.origin.journal.update_connection(self.number, |record| record.error = Some(text));
    }
}

/// Accepts until it is aborted, and takes its connections along then.
pub(super) async fn listen(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
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
