//! Bodies on their way through: streamed frame by frame, counted, bounded, and ended when they may no longer run.
//!
//! Nothing is collected; what is in memory at any time is one frame and the windows of the two connections.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use thiserror::Error;

use crate::exchange::{Exchange, IdleTimer};
use crate::expect::Gate;
use crate::ledger::Ledger;
use crate::limits::Permit;
use crate::refusal::Code;
use crate::upstream::Channel;

/// Why a body ended early. The connection that carries it is closed or its stream reset, so nobody takes it for whole.
#[derive(Debug, Error)]
pub enum BodyError {
    /// The other side failed.
    #[error("{0}")]
    Peer(#[from] hyper::Error),
    /// The request's body is larger than the rule's limit.
    #[error("the request body is larger than the rule allows")]
    TooLarge,
    /// The response is over, and the rest of the request's body is not wanted.
    #[error("the response ended before the request body was sent")]
    NotWanted,
    /// The policy changed, and no longer allows the request.
    #[error("the policy no longer allows this request")]
    PolicyChanged,
    /// Nothing moved in either direction for too long.
    #[error("nothing was sent or received for too long")]
    Idle,
}

impl BodyError {
    /// The code that the audit line of the exchange carries.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Peer(_) | Self::NotWanted => Code::UpstreamClosed,
            Self::TooLarge => Code::BodyTooLarge,
            Self::PolicyChanged => Code::PolicyChanged,
            Self::Idle => Code::IdleTimeout,
        }
    }
}

/// A request's body on its way to the origin.
pub struct RequestBody {
    incoming: Option<Incoming>,
    exchange: Arc<Exchange>,
    limit: Option<u64>,
    gate: Option<Arc<Gate>>,
}

impl RequestBody {
    /// The client's body: at most `limit` bytes, and not before `gate` opens.
    pub fn new(incoming: Incoming, exchange: Arc<Exchange>, limit: Option<u64>, gate: Option<Arc<Gate>>) -> Self {
        if incoming.is_end_stream() {
            return Self::empty(exchange);
        }
        Self { incoming: Some(incoming), exchange, limit, gate }
    }

    /// No body.
    pub fn empty(exchange: Arc<Exchange>) -> Self {
        exchange.complete_request();
        Self { incoming: None, exchange, limit: None, gate: None }
    }

    fn account(&self, frame: &Frame<Bytes>) -> Result<(), BodyError> {
        self.exchange.count_sent(frame.data_ref().map_or(0, Bytes::len));
        if self.limit.is_some_and(|limit| self.exchange.bytes().0 > limit) {
            self.exchange.exceed_limit();
            return Err(BodyError::TooLarge);
        }
        Ok(())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(gate) = &self.gate {
            if ready!(gate.poll_open(context)).is_err() {
                return Poll::Ready(Some(Err(BodyError::NotWanted)));
            }
            self.gate = None;
        }
        let Some(incoming) = self.incoming.as_mut() else { return Poll::Ready(None) };
        let frame = match ready!(Pin::new(incoming).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.exchange.fail_request(fault(&error));
                return Poll::Ready(Some(Err(error.into())));
            }
            None => {
                self.incoming = None;
                self.exchange.complete_request();
                return Poll::Ready(None);
            }
        };
        self.account(&frame)?;
        if self.is_end_stream() {
            self.exchange.complete_request();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
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

/// A response's body on its way to the client.
pub enum ResponseBody {
    /// Made here: a refusal.
    Local(Full<Bytes>),
    /// From an origin.
    Relayed(Box<Relayed>),
}

/// The body of an origin's response.
pub struct Relayed {
    incoming: Incoming,
    exchange: Arc<Exchange>,
    channel: Option<Channel>,
    gate: Option<Arc<Gate>>,
    idle: IdleTimer,
    ended: Option<Code>,
    ledger: Ledger,
    _permit: Permit,
}

impl Relayed {
    /// The body of a response that comes over `channel`, which goes back to the pool if the body ends well. It is ended
    /// when nothing moves for `idle`, or the exchange's lease is revoked; the ledger is closed with it.
    #[must_use]
    pub fn new(
        incoming: Incoming,
        exchange: Arc<Exchange>,
        channel: Channel,
        idle: Duration,
        ledger: Ledger,
        permit: Permit,
    ) -> Self {
        exchange.lease.bound_idle(idle);
        let (idle, channel) = (IdleTimer::new(idle), Some(channel));
        Self { incoming, exchange, channel, gate: None, idle, ended: None, ledger, _permit: permit }
    }

    /// The request's body may still wait behind `gate`: then it is not sent once this body has ended.
    #[must_use]
    pub fn behind(mut self, gate: Option<Arc<Gate>>) -> Self {
        self.gate = gate;
        self
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.exchange.lease.poll_revoked(context).is_ready() {
            return Poll::Ready(Some(Err(BodyError::PolicyChanged)));
        }
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.exchange.count_received(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                ready!(self.idle.poll_expired(&self.exchange, context));
                Poll::Ready(Some(Err(BodyError::Idle)))
            }
        }
    }
}

impl Relayed {
    /// Why it was dropped before its end: its connection was severed, or went away.
    fn broken_off(&self) -> Code {
        let lease = &self.exchange.lease;
        match (lease.is_revoked(), lease.is_overdue()) {
            (true, _) => Code::PolicyChanged,
            (_, true) => Code::IdleTimeout,
            _ => Code::ClientClosed,
        }
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        // Over HTTP/1 nobody asks for more once the announced length is there, and HTTP/2 may end in a frame of its own.
        let at_end = self.incoming.is_end_stream() || self.incoming.size_hint().exact() == Some(0);
        let whole = self.ended.is_none() && at_end;
        match self.channel.take() {
            // What is left of the request would stand in front of the next one.
            Some(Channel::Http1(lease)) if whole && self.exchange.is_request_complete() => lease.recycle(),
            _ => {}
        }
        if let Some(gate) = self.gate.take() {
            gate.abandon();
        }
        let code = if whole { None } else { Some(self.ended.unwrap_or_else(|| self.broken_off())) };
        self.ledger.hand_over().close(&self.exchange, code);
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Local(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Relayed(relayed) => {
                let frame = ready!(relayed.poll(context));
                if let Some(Err(error)) = &frame {
                    relayed.ended = Some(error.code());
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Local(body) => body.is_end_stream(),
            Self::Relayed(relayed) => relayed.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Local(body) => body.size_hint(),
            Self::Relayed(relayed) => relayed.incoming.size_hint(),
        }
    }
}
