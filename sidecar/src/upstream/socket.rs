//! A socket to an origin, or to the proxy before it, and its place among those that may be open. Nothing closes one
//! without giving back the other.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::client::TlsStream;

/// A connection whose bytes reach the origin as they are: over TCP, or inside the TLS of an upstream proxy.
pub enum Socket {
    /// TCP. Dropped in this order: the descriptor is free before its place is.
    Tcp(TcpStream, OwnedSemaphorePermit),
    /// TLS with an upstream proxy.
    Tls(Box<TlsStream<Socket>>),
}

impl Socket {
    /// Sets the options of a new connection. `keepalive` is the idle time before TCP asks whether the peer is still
    /// there.
    pub fn configure(&self, keepalive: Duration) {
        let Self::Tcp(stream, _) = self else { return };
        set_options(stream, keepalive);
    }
}

/// Has small writes sent at once, and TCP ask a silent peer whether it is still there, first after `keepalive`. A
/// connection on which that can't be set goes on without.
pub fn set_options(socket: &impl AsFd, keepalive: Duration) {
    // Without it the first response of a tunnel waits for a delayed ACK, some 40 ms.
    if let Err(error) = SockRef::from(socket).set_tcp_nodelay(true) {
        tracing::debug!(%error, "a connection goes on with Nagle's algorithm");
    }
    keep_alive(socket, keepalive);
}

/// Lets TCP ask a silent peer whether it is still there, first after `idle`. A connection on which that can't be set
/// goes on without.
fn keep_alive(socket: &impl AsFd, idle: Duration) {
    // The option counts whole seconds, and takes no zero.
    let interval = (idle / 4).max(Duration::from_secs(1));
    let options = TcpKeepalive::new().with_time(idle).with_interval(interval);
    if let Err(error) = SockRef::from(socket).set_tcp_keepalive(&options) {
        tracing::debug!(%error, ?idle, "a connection goes on without keepalive");
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream, _) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream, _) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream, _) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream, _) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream, _) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream, _) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listeners_options_are_those_of_what_it_accepts() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        set_options(&listener, Duration::from_secs(60));
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(15));
    }

    #[tokio::test]
    async fn keepalive_is_set_from_four_seconds_to_nine_hours() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        for seconds in [4, 60, 9 * 3600] {
            keep_alive(&stream, Duration::from_secs(seconds));
            let socket = SockRef::from(&stream);
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(seconds));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(seconds / 4));
        }
    }
}
