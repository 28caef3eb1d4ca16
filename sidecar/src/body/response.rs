//! A response's body on its way to the client. With its end, however it comes, the origin's connection goes back to the
//! pool or is dropped, and the account of the request is closed: at once, or when the rest of an upload has ended.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::runtime::Handle;

use super::BodyError;
use crate::exchange::{Exchange, IdleTimer};
use crate::expect::Gate;
use crate::ledger::Ledger;
use crate::limits::Permit;
use crate::refusal::Code;
use crate::upstream::{Channel, Http2Stream};

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
    whole: bool,
    ended: Option<Code>,
    ledger: Ledger,
    permit: Permit,
}

impl Relayed {
    /// The body of a response that comes over `channel`, which goes back to the pool if the body ends well. It is ended
    /// when nothing moves for `idle`, or the exchange's lease is revoked. The ledger is closed and the permit given
    /// back when both directions have ended.
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
        Self { incoming, exchange, channel, gate: None, idle, whole: false, ended: None, ledger, permit }
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
                // Nothing follows trailers, and nobody asks.
                self.whole |= frame.is_trailers();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => {
                self.whole = true;
                Poll::Ready(None)
            }
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
        // A chunked body shows its end only to whoever asks.
        let at_end = self.whole || self.incoming.is_end_stream() || self.incoming.size_hint().exact() == Some(0);
        let whole = self.ended.is_none() && at_end;
        let stream = match self.channel.take() {
            // What is left of the request would stand in front of the next one.
            Some(Channel::Http1(lease)) if whole && self.exchange.is_request_complete() => {
                lease.recycle();
                None
            }
            Some(Channel::Http2(stream)) => Some(stream),
            _ => None,
        };
        if let Some(gate) = self.gate.take() {
            gate.abandon();
        }
        let ledger = self.ledger.hand_over();
        if !whole {
            self.exchange.stop_upload();
            return ledger.close(&self.exchange, Some(self.ended.unwrap_or_else(|| self.broken_off())));
        }
        match Handle::try_current() {
            Ok(runtime) if !self.exchange.is_request_complete() => {
                let (exchange, idle) = (Arc::clone(&self.exchange), self.idle.again());
                runtime.spawn(finish_upload(exchange, idle, ledger, self.permit.hand_over(), stream));
            }
            _ => ledger.close(&self.exchange, None),
        }
    }
}

/// Keeps the account of a request open whose whole response came before its body's end: the client may send on. Until then
/// the stream to the origin is one of those that are open.
async fn finish_upload(
    exchange: Arc<Exchange>,
    mut idle: IdleTimer,
    ledger: Ledger,
    permit: Permit,
    stream: Option<Http2Stream>,
) {
    let code = tokio::select! {
        biased;
        () = exchange.lease.revoked() => Some(Code::PolicyChanged),
        () = exchange.upload_ended() => exchange.is_too_large().then_some(Code::BodyTooLarge),
        () = idle.expired(&exchange) => Some(Code::IdleTimeout),
    };
    exchange.stop_upload();
    drop(stream);
    // The place is free before the line says that the request is over.
    drop(permit);
    ledger.close(&exchange, code);
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
