//! Session tickets leave together with the first response. rustls writes them as soon as the handshake is over, and nobody
//! waits for them: sent by themselves they are a segment, and wake the client, for nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ahead::Socket;

pin_project! {
    /// Keeps what is written, until something is read or, once the handshake is over, more is written.
    pub struct Held<S> {
        bytes: BytesMut,
        is_handshake_over: bool,
        #[pin]
        stream: S,
    }
}

impl<S> Held<S> {
    /// A stream on which a handshake begins.
    pub fn new(stream: S) -> Self {
        Self { bytes: BytesMut::new(), is_handshake_over: false, stream }
    }

    /// From now on writes take along what is held, and reads do not wait for it. In TLS 1.3 the last that a server writes
    /// in a handshake are its tickets (RFC 8446 4.6.1); in TLS 1.2 it is the Finished, which has to be released before.
    pub fn end_handshake(&mut self) {
        self.is_handshake_over = true;
    }
}

impl<S: AsyncWrite> Held<S> {
    /// Writes what is held.
    pub fn poll_release(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        while !this.bytes.is_empty() {
            let written = ready!(this.stream.as_mut().poll_write(context, this.bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            this.bytes.advance(written);
        }
        *this.bytes = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite> AsyncRead for Held<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_handshake_over {
            ready!(self.as_mut().poll_release(context))?;
        }
        self.project().stream.poll_read(context, buffer)
    }
}

impl<S: AsyncWrite> AsyncWrite for Held<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut this = self.project();
        if !*this.is_handshake_over {
            slices.iter().for_each(|slice| this.bytes.extend_from_slice(slice));
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        while !this.bytes.is_empty() {
            let all: Vec<_> = [IoSlice::new(this.bytes)].into_iter().chain(slices.iter().copied()).collect();
            let written = ready!(this.stream.as_mut().poll_write_vectored(context, &all))?;
            let held = this.bytes.len();
            this.bytes.advance(written.min(held));
            if written == 0 || written > held {
                *this.bytes = BytesMut::new();
                return Poll::Ready(Ok(written.saturating_sub(held)));
            }
        }
        this.stream.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// What is held stays so: it is not urgent once the handshake is over, and before that the next read sends it.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_release(context))?;
        self.project().stream.poll_shutdown(context)
    }
}

impl<S: Socket> Socket for Held<S> {
    fn is_broken(&self) -> bool {
        self.stream.is_broken()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Takes at most `most` bytes with each write, and keeps them apart.
    #[derive(Default)]
    struct Peer {
        most: usize,
        writes: Vec<Vec<u8>>,
        is_closed: bool,
    }

    impl AsyncRead for Peer {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            buffer.put_slice(b"r");
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Peer {
        fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let most = self.most;
            let taken: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(most).collect();
            let length = taken.len();
            self.writes.push(taken);
            Poll::Ready(Ok(length))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.is_closed = true;
            Poll::Ready(Ok(()))
        }
    }

    fn held(most: usize) -> Held<Peer> {
        Held::new(Peer { most, ..Peer::default() })
    }

    fn written(held: &Held<Peer>) -> Vec<&str> {
        held.stream.writes.iter().map(|bytes| std::str::from_utf8(bytes).unwrap()).collect()
    }

    #[tokio::test]
    async fn during_the_handshake_a_read_sends_what_was_written() {
        let mut held = held(100);
        held.write_all(b"hello").await.unwrap();
        held.write_all(b" and more").await.unwrap();
        held.flush().await.unwrap();
        assert_eq!(written(&held), <[&str; 0]>::default());
        held.read_u8().await.unwrap();
        assert_eq!(written(&held), ["hello and more"]);
    }

    #[tokio::test]
    async fn after_it_the_next_write_takes_along_what_is_held_and_a_read_does_not_wait_for_it() {
        let mut held = held(100);
        held.write_all(b"tickets").await.unwrap();
        held.end_handshake();
        held.read_u8().await.unwrap();
        assert_eq!(written(&held), <[&str; 0]>::default());
        held.write_all(b", response").await.unwrap();
        held.write_all(b", body").await.unwrap();
        assert_eq!(written(&held), ["tickets, response", ", body"]);
    }

    #[tokio::test]
    async fn a_peer_that_takes_little_gets_all_of_it_in_order() {
        for most in 1..12 {
            let mut held = held(most);
            held.write_all(b"tickets").await.unwrap();
            held.end_handshake();
            held.write_all(b"response").await.unwrap();
            assert_eq!(written(&held).concat(), "ticketsresponse", "{most} at a time");
        }
    }

    #[tokio::test]
    async fn released_or_shut_down_nothing_is_held_any_more() {
        let mut held = held(3);
        held.write_all(b"finished").await.unwrap();
        poll_fn(|context| Pin::new(&mut held).poll_release(context)).await.unwrap();
        assert_eq!(written(&held), ["fin", "ish", "ed"]);
        held.write_all(b"alert").await.unwrap();
        held.shutdown().await.unwrap();
        assert_eq!(written(&held).concat(), "finishedalert");
        assert!(held.stream.is_closed);
    }
}
