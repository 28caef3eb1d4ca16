//! A request's body on its way to the origin, and the way to send it once more where the origin refused it unseen.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::BodyError;
use crate::exchange::{Exchange, Upload};
use crate::expect::Gate;
use crate::refusal::Code;

/// What is kept of a request's body until the response begins, in bytes: an origin that refuses the stream has not
/// processed it (RFC 9113 8.7), and a body of this size can go to another one.
const KEPT: usize = 64 * 1024;

/// A request's body on its way to the origin.
pub struct RequestBody {
    source: Option<Arc<Mutex<Source>>>,
    /// Which sending of the request this body is of; only the last one gets anything.
    turn: usize,
    /// What an earlier sending had taken already.
    again: VecDeque<Bytes>,
    /// `None` where the request is the sidecar's own, and part of no client's exchange.
    exchange: Option<Upload>,
    limit: Option<u64>,
    gate: Option<Arc<Gate>>,
}

/// The client's body, and what was taken of it.
struct Source {
    incoming: Incoming,
    ended: bool,
    turn: usize,
    /// The data so far; `None` once it is too much, or not needed any more.
    kept: Option<Vec<Bytes>>,
}

impl Source {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(kept) = &mut self.kept else { return };
        match frame.data_ref() {
            Some(data) if kept.iter().map(Bytes::len).sum::<usize>() + data.len() <= KEPT => kept.push(data.clone()),
            _ => self.kept = None,
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => self.keep(frame),
            Some(Err(_)) => self.kept = None,
            None => self.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.incoming.is_end_stream()
    }
}

/// Makes the body of a request a second time, from where the client is and what was kept.
pub struct Recovery {
    source: Option<Arc<Mutex<Source>>>,
    exchange: Option<Arc<Exchange>>,
    limit: Option<u64>,
    gate: Option<Arc<Gate>>,
}

impl Recovery {
    /// The whole body once more, if it can still be had. The one before gets nothing from now on.
    #[must_use]
    pub fn body(&self) -> Option<RequestBody> {
        let Some(shared) = &self.source else { return Some(RequestBody::none(self.exchange.clone())) };
        let mut source = lock(shared);
        let again = source.kept.clone()?.into();
        source.turn += 1;
        let (turn, exchange, gate) = (source.turn, self.exchange.clone().map(Upload::of), self.gate.clone());
        Some(RequestBody { source: Some(Arc::clone(shared)), turn, again, exchange, limit: self.limit, gate })
    }

    /// Keeps nothing any more: the origin has the request.
    pub fn give_up(&self) {
        if let Some(source) = &self.source {
            lock(source).kept = None;
        }
    }
}

fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RequestBody {
    /// The client's body: at most `limit` bytes, and not before `gate` opens.
    pub fn new(incoming: Incoming, exchange: Arc<Exchange>, limit: Option<u64>, gate: Option<Arc<Gate>>) -> Self {
        if incoming.is_end_stream() {
            return Self::empty(exchange);
        }
        let exchange = Some(Upload::of(exchange));
        let source = Source { incoming, ended: false, turn: 0, kept: Some(Vec::new()) };
        Self { source: Some(Arc::new(Mutex::new(source))), turn: 0, again: VecDeque::new(), exchange, limit, gate }
    }

    /// No body.
    pub fn empty(exchange: Arc<Exchange>) -> Self {
        Self::none(Some(exchange))
    }

    /// No body of a request that the sidecar makes by itself.
    pub fn of_our_own() -> Self {
        Self::none(None)
    }

    fn none(exchange: Option<Arc<Exchange>>) -> Self {
        let exchange = exchange.inspect(|exchange| exchange.complete_request()).map(Upload::of);
        Self { source: None, turn: 0, again: VecDeque::new(), exchange, limit: None, gate: None }
    }

    /// The way to this body once more.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        let (source, exchange, gate) = (self.source.clone(), self.shared().cloned(), self.gate.clone());
        Recovery { source, exchange, limit: self.limit, gate }
    }

    fn shared(&self) -> Option<&Arc<Exchange>> {
        self.exchange.as_deref()
    }

    fn complete(&self) {
        if let Some(exchange) = self.shared() {
            exchange.complete_request();
        }
    }

    fn account(&self, frame: &Frame<Bytes>) -> Result<(), BodyError> {
        let Some(exchange) = self.shared() else { return Ok(()) };
        exchange.count_sent(frame.data_ref().map_or(0, Bytes::len));
        if self.limit.is_some_and(|limit| exchange.bytes().0 > limit) {
            exchange.exceed_limit();
            return Err(BodyError::TooLarge);
        }
        Ok(())
    }

    fn poll_source(&self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(source) = &self.source else { return Poll::Ready(None) };
        let mut source = lock(source);
        if source.turn != self.turn {
            return Poll::Ready(Some(Err(BodyError::NotWanted)));
        }
        source.poll_frame(context).map_err(BodyError::from)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.shared().is_some_and(|exchange| exchange.is_upload_stopped()) {
            return Poll::Ready(Some(Err(BodyError::NotWanted)));
        }
        if let Some(gate) = &self.gate {
            if ready!(gate.poll_open(context)).is_err() {
                return Poll::Ready(Some(Err(BodyError::NotWanted)));
            }
            self.gate = None;
        }
        if let Some(piece) = self.again.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Some(frame) = ready!(self.poll_source(context)) else {
            self.source = None;
            self.complete();
            return Poll::Ready(None);
        };
        let frame = frame.inspect_err(|error| {
            if let (BodyError::Peer(error), Some(exchange)) = (error, self.shared()) {
                exchange.fail_request(fault(error));
            }
        })?;
        self.account(&frame)?;
        if self.is_end_stream() {
            self.complete();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.again.is_empty() && self.source.as_ref().is_none_or(|source| lock(source).is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let Some(source) = &self.source else { return SizeHint::with_exact(0) };
        let rest = lock(source).incoming.size_hint();
        let again: u64 = self.again.iter().map(|piece| piece.len() as u64).sum();
        rest.exact().map_or_else(SizeHint::default, |rest| SizeHint::with_exact(rest + again))
    }
}

/// What a client did whose body ended in `error`: sent what is not a body, or went away.
fn fault(error: &hyper::Error) -> Code {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Code::BadRequest,
        _ => Code::ClientClosed,
    }
}
