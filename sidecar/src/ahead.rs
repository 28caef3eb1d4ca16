//! Whether a client is still there while nobody reads from it. What it sends meanwhile is kept, a little of it, for who reads
//! next.
//!
//! An end in order is no farewell: a client that has nothing more to say may still listen (RFC 9112 9.6, RFC 8446 6.1). What
//! says that it is gone is a reset, and an end without TLS's close_notify.

use std::io;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use crate::rewind::Rewind;

/// What is read ahead at most, in bytes.
const MOST: usize = 4096;
/// How often a socket is asked for its error that has nothing more to read, and so tells nobody of a reset.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A stream that knows what happened to its socket.
pub trait Socket {
    /// Whether the peer has reset the connection, or has not answered for too long. Asking again says no.
    fn is_broken(&self) -> bool;
}

impl Socket for TcpStream {
    fn is_broken(&self) -> bool {
        !matches!(self.take_error(), Ok(None))
    }
}

impl<S: Socket> Socket for Rewind<S> {
    fn is_broken(&self) -> bool {
        self.get_ref().is_broken()
    }
}

impl<S: Socket> Socket for TlsStream<S> {
    fn is_broken(&self) -> bool {
        self.get_ref().0.is_broken()
    }
}

/// What was read of a stream before anybody asked for it.
#[derive(Default)]
pub struct Ahead {
    /// Allocated only while there are some.
    bytes: BytesMut,
    /// What comes after the bytes: an end in order, or an error, which is reported once.
    end: Option<io::Result<()>>,
    /// The reader has been told to wait for what may be read ahead now.
    is_awaited: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Ahead {
    /// Reads from `stream`, beginning with what was read of it before.
    pub fn poll_read<S: AsyncRead>(
        &mut self,
        stream: Pin<&mut S>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let taken = self.bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.bytes[..taken]);
        self.bytes.advance(taken);
        if self.bytes.is_empty() && taken > 0 {
            self.bytes = BytesMut::new();
        }
        if self.end.is_none() && buffer.remaining() > 0 {
            // With what has come since, so that reading ahead makes nobody's reads small.
            match stream.poll_read(context, buffer) {
                Poll::Ready(Ok(())) if buffer.filled().len() > before + taken => {}
                Poll::Ready(end) => self.end = Some(end),
                Poll::Pending => {}
            }
        }
        let read = match &mut self.end {
            _ if buffer.filled().len() > before => Poll::Ready(Ok(())),
            Some(end) => Poll::Ready(std::mem::replace(end, Ok(()))),
            None => Poll::Pending,
        };
        self.is_awaited = read.is_pending();
        read
    }

    /// Looks what the client does while nobody reads, and has the task woken when it does something: a break if it is gone.
    pub fn look<S: AsyncRead + Socket>(
        &mut self,
        mut stream: Pin<&mut S>,
        context: &mut Context<'_>,
    ) -> ControlFlow<()> {
        let before = self.bytes.len();
        while self.end.is_none() && self.bytes.len() < MOST {
            let mut scratch = [MaybeUninit::uninit(); MOST];
            let mut buffer = ReadBuf::uninit(&mut scratch[self.bytes.len()..]);
            match stream.as_mut().poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.bytes.extend_from_slice(buffer.filled()),
                Poll::Ready(end) => self.end = Some(end),
                Poll::Pending => break,
            }
        }
        let is_more = self.bytes.len() > before || self.end.is_some();
        if is_more && std::mem::take(&mut self.is_awaited) {
            context.waker().wake_by_ref();
        }
        match &self.end {
            None => ControlFlow::Continue(()),
            Some(Err(_)) => ControlFlow::Break(()),
            Some(Ok(())) => self.listen(&*stream, context),
        }
    }

    /// After an end in order nothing is left to read, and no reset wakes anybody.
    fn listen<S: Socket>(&mut self, socket: &S, context: &mut Context<'_>) -> ControlFlow<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(ASK_EVERY)));
        while sleep.as_mut().poll(context).is_ready() {
            if socket.is_broken() {
                return ControlFlow::Break(());
            }
            sleep.as_mut().reset(tokio::time::Instant::now() + ASK_EVERY);
        }
        ControlFlow::Continue(())
    }

    /// What nobody has taken.
    #[must_use]
    pub fn into_bytes(self) -> BytesMut {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    impl Socket for DuplexStream {
        fn is_broken(&self) -> bool {
            false
        }
    }

    /// Fails, after so many bytes.
    struct Failing(usize);

    impl AsyncRead for Failing {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            match std::mem::take(&mut self.0).min(to.remaining()) {
                0 => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                some => {
                    to.put_slice(&vec![b'x'; some]);
                    Poll::Ready(Ok(()))
                }
            }
        }
    }

    impl Socket for Failing {
        fn is_broken(&self) -> bool {
            true
        }
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads at most `most` bytes at once; `None` when there are none yet.
    fn read<S: AsyncRead + Unpin>(ahead: &mut Ahead, stream: &mut S, most: usize) -> Option<io::Result<usize>> {
        let mut bytes = vec![0; most];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = ahead.poll_read(Pin::new(stream), &mut Context::from_waker(Waker::noop()), &mut buffer);
        match read {
            Poll::Ready(read) => Some(read.map(|()| buffer.filled().len())),
            Poll::Pending => None,
        }
    }

    fn is_gone<S: AsyncRead + Socket + Unpin>(ahead: &mut Ahead, stream: &mut S) -> bool {
        ahead.look(Pin::new(stream), &mut Context::from_waker(Waker::noop())).is_break()
    }

    #[tokio::test]
    async fn a_little_is_read_ahead_and_then_comes_first() {
        let (mut client, mut stream) = duplex(3 * MOST);
        let mut ahead = Ahead::default();
        client.write_all(&vec![b'x'; 2 * MOST]).await.unwrap();
        assert!(!is_gone(&mut ahead, &mut stream) && !is_gone(&mut ahead, &mut stream));
        assert_eq!(ahead.bytes.len(), MOST);
        assert_eq!(read(&mut ahead, &mut stream, 96).unwrap().unwrap(), 96);
        assert_eq!(read(&mut ahead, &mut stream, 2 * MOST).unwrap().unwrap(), 2 * MOST - 96, "in one read");
        assert_eq!(ahead.bytes.capacity(), 0);
        assert!(read(&mut ahead, &mut stream, 1).is_none());
        client.write_all(b"x").await.unwrap();
        assert!(!is_gone(&mut ahead, &mut stream));
        assert_eq!(ahead.into_bytes(), &b"x"[..]);
    }

    #[tokio::test]
    async fn who_was_told_to_wait_is_woken_once_for_what_was_read_ahead() {
        let (mut client, mut stream) = duplex(MOST);
        let (mut ahead, wakes) = (Ahead::default(), Arc::new(Wakes::default()));
        let waker = Waker::from(Arc::clone(&wakes));
        let look = |ahead: &mut Ahead, stream: &mut DuplexStream| {
            assert!(ahead.look(Pin::new(stream), &mut Context::from_waker(&waker)).is_continue());
            wakes.0.swap(0, Ordering::Relaxed)
        };
        client.write_all(b"x").await.unwrap();
        assert_eq!(look(&mut ahead, &mut stream), 0, "nobody asked");
        assert_eq!(read(&mut ahead, &mut stream, 2).unwrap().unwrap(), 1);
        assert!(read(&mut ahead, &mut stream, 2).is_none());
        client.write_all(b"x").await.unwrap();
        assert_eq!(look(&mut ahead, &mut stream), 1);
        assert_eq!(look(&mut ahead, &mut stream), 0);
    }

    #[tokio::test]
    async fn an_end_in_order_comes_after_the_bytes_and_an_error_says_that_the_client_is_gone() {
        let (mut client, mut stream) = duplex(MOST);
        let mut ahead = Ahead::default();
        client.write_all(b"x").await.unwrap();
        drop(client);
        assert!(!is_gone(&mut ahead, &mut stream));
        for expected in [1, 0, 0] {
            assert_eq!(read(&mut ahead, &mut stream, 2).unwrap().unwrap(), expected);
        }
        let (mut ahead, mut stream) = (Ahead::default(), Failing(5));
        assert!(is_gone(&mut ahead, &mut stream));
        assert_eq!(read(&mut ahead, &mut stream, 9).unwrap().unwrap(), 5);
        assert!(read(&mut ahead, &mut stream, 9).unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_end_in_order_the_socket_is_asked_for_a_reset() {
        struct Ended;
        impl AsyncRead for Ended {
            fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
        impl Socket for Ended {
            fn is_broken(&self) -> bool {
                true
            }
        }
        let (mut ahead, start) = (Ahead::default(), tokio::time::Instant::now());
        std::future::poll_fn(|context| match ahead.look(Pin::new(&mut Ended), context) {
            ControlFlow::Break(()) => Poll::Ready(()),
            ControlFlow::Continue(()) => Poll::Pending,
        })
        .await;
        assert_eq!(start.elapsed().as_secs(), ASK_EVERY.as_secs());
    }
}
