//! How slowly a client may go: a head that has begun must be finished, and what was sent must be read. And time for it to
//! see a refusal while it still sends.
//!
//! hyper bounds a head together with the idle time before it, looks at nothing while its write buffer is full, and does not
//! read while a request runs. That is put right here, between hyper and the stream. Nothing here looks at the bytes.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use hyper::rt::Timer;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::ahead::{Ahead, Socket};
use crate::link::Link;
use crate::settings::Settings;

pin_project! {
    /// A client's stream that fails once the client has left unread for too long what waits to be written.
    pub struct Paced<S> {
        #[pin]
        stream: S,
        settings: Arc<Settings>,
        stall: Stall,
        link: Arc<Link>,
        linger: Linger,
        ahead: Option<Ahead>,
    }
}

impl<S> Paced<S> {
    /// The stream of the client behind `link`.
    pub fn new(stream: S, link: &Arc<Link>, settings: &Arc<Settings>) -> Self {
        let (link, settings) = (Arc::clone(link), Arc::clone(settings));
        Self { stream, settings, stall: Stall::default(), link, linger: Linger::default(), ahead: None }
    }

    /// For HTTP/1, where nobody reads while a request runs: severs the link when the client turns out to be gone.
    #[must_use]
    pub fn watched(self) -> Self {
        Self { ahead: Some(Ahead::default()), ..self }
    }

    /// The timer for hyper's `header_read_timeout` on this stream: the first head has `head` from now on, later ones have
    /// it from their first byte and may let themselves be waited for as long as `idle`.
    #[must_use]
    pub fn head_timer(&self, head: Duration, idle: Duration) -> HeadTimer {
        HeadTimer { link: Arc::clone(&self.link), later: Arc::default(), head, idle }
    }

    /// The stream itself, and what was read of it that nobody has taken.
    pub fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.ahead.map(Ahead::into_bytes).unwrap_or_default())
    }
}

/// A write that waits. Its timer is set when the first one waits, and looked at again only when it fires.
#[derive(Default)]
struct Stall {
    since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    /// What became of a write, or an error where it has waited for as long as `limit`.
    fn watch<T>(
        &mut self,
        limit: Duration,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.since = None;
            return written;
        }
        let deadline = *self.since.get_or_insert_with(Instant::now) + limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while sleep.as_mut().poll(context).is_ready() {
            if deadline <= Instant::now() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")));
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// What follows a refusal: the client may still be sending. A socket that is closed with bytes unread is reset, and the
/// reset takes the refusal with it before the client has seen it (RFC 9112 9.6).
#[derive(Default)]
struct Linger(Option<Pin<Box<Sleep>>>);

impl Linger {
    /// From now on, for as long as `limit`.
    fn begin(&mut self, limit: Duration) {
        self.0 = Some(Box::pin(sleep(limit)));
    }

    /// Reads and drops until the client has ended too, or for long enough; where it has not begun, it is over.
    fn poll<S: AsyncRead>(&mut self, mut stream: Pin<&mut S>, context: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.0 else { return Poll::Ready(()) };
        loop {
            if sleep.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut scratch = [MaybeUninit::uninit(); SCRATCH];
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match ready!(stream.as_mut().poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}

/// What is read at once to be dropped.
const SCRATCH: usize = 4096;

impl<S: AsyncRead> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let read = match this.ahead {
            Some(ahead) => ahead.poll_read(this.stream, context, buffer),
            None => this.stream.poll_read(context, buffer),
        };
        if read.is_ready() {
            this.link.note_read();
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Socket> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = this.stream.poll_write(context, bytes);
        this.stall.watch(this.settings.client_read_timeout, context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = this.stream.poll_write_vectored(context, slices);
        this.stall.watch(this.settings.client_read_timeout, context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes whenever it has done what it could: the moment to look what the client does.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        let flushed = this.stream.as_mut().poll_flush(context);
        if let Some(ahead) = this.ahead
            && this.link.is_answering()
            && ahead.look(this.stream, context).is_break()
        {
            this.link.sever();
        }
        this.stall.watch(this.settings.client_read_timeout, context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        if this.linger.0.is_none() {
            let shut = this.stream.as_mut().poll_shutdown(context);
            ready!(this.stall.watch(this.settings.client_read_timeout, context, shut))?;
            if this.link.is_refused() {
                this.linger.begin(this.settings.refused_body_timeout);
            }
        }
        this.linger.poll(this.stream, context).map(Ok)
    }
}

/// Tells hyper when a head has taken too long.
#[derive(Clone)]
pub struct HeadTimer {
    link: Arc<Link>,
    /// Whether the first head's wait has begun already.
    later: Arc<AtomicBool>,
    head: Duration,
    idle: Duration,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let reads_before = self.later.swap(true, Ordering::Relaxed).then(|| self.link.reads());
        let deadline = if reads_before.is_some() { Instant::now() + self.idle } else { deadline.into() };
        Box::pin(HeadWait { sleep: sleep_until(deadline), link: Arc::clone(&self.link), reads_before, head: self.head })
    }

    /// The clock that the waits go by.
    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

pin_project! {
    /// One wait for a head.
    struct HeadWait {
        #[pin]
        sleep: Sleep,
        link: Arc<Link>,
        // The reads there were when the connection fell idle; `None` once a head has begun.
        reads_before: Option<u64>,
        head: Duration,
    }
}

impl hyper::rt::Sleep for HeadWait {}

impl Future for HeadWait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if this.reads_before.is_some_and(|before| before != this.link.reads()) {
            *this.reads_before = None;
            this.sleep.as_mut().reset(Instant::now() + *this.head);
        }
        this.sleep.poll(context)
    }
}
