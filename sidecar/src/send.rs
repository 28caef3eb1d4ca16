//! Sends one request to its origin, and again only where the origin can't have acted on it.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use sandgate_policy::destination::Destination;
use tokio::time::Instant;

use crate::body::{Recovery, RequestBody};
use crate::engine::Engine;
use crate::exchange::Exchange;
use crate::fields;
use crate::ledger::Ledger;
use crate::refusal::Code;
use crate::upstream::profile::Profile;
use crate::upstream::{Channel, Failure, Want};

/// How often a request is handed to another connection because the one it had was gone before a byte was written, or
/// refused the stream unseen.
const MAX_UNSEEN: usize = 5;

/// A request that is ready to go: its head in the form of neither HTTP version in particular.
pub struct Outgoing<'a> {
    /// Where it goes.
    pub destination: &'a Destination,
    /// How its origin is reached.
    pub profile: &'a Profile,
    /// `Host` or `:authority` as the client sent it.
    pub authority: HeaderValue,
    /// The request.
    pub request: Request<RequestBody>,
    /// What both directions share.
    pub exchange: Arc<Exchange>,
}

/// Sends the request and returns the head of the response with the channel that its body comes over.
///
/// # Errors
/// [`Failure`] of the connection or of the exchange on it.
pub async fn send(
    engine: &Engine,
    outgoing: Outgoing<'_>,
    ledger: &mut Ledger,
) -> Result<(Response<Incoming>, Channel), Failure> {
    let Outgoing { destination, profile, authority, mut request, exchange } = outgoing;
    let replay = Replay::of(&request);
    let mut replayed = false;
    let mut unseen = 0;
    loop {
        let waiting = Instant::now();
        let mut channel = engine.upstream.channel(destination, profile, Want::Any).await?;
        ledger.sent_over(&channel, waiting.elapsed());
        exchange.lease.leads_to(channel.peer());
        if exchange.lease.is_revoked() {
            return Err(Failure::new(Code::PolicyChanged, "the policy changed meanwhile"));
        }
        if matches!(channel, Channel::Http1(_)) && fields::is_grpc(request.headers()) {
            return Err(Failure::new(Code::GrpcNeedsHttp2, "gRPC needs HTTP/2, and the origin offers HTTP/1.1 only"));
        }
        if matches!(channel, Channel::Http1(_)) {
            // Only HTTP/2 can refuse a request unseen.
            replay.body.give_up();
        }
        let mut error = match on(&mut channel, request, destination, &authority).await {
            Ok(response) => {
                replay.body.give_up();
                return Ok((response, channel));
            }
            Err(error) => error,
        };
        let (unsent, error) = (error.take_message(), error.into_error());
        let again = if let Some(unsent) = unsent {
            (unseen < MAX_UNSEEN).then_some(unsent)
        } else if was_refused(&error) {
            (unseen < MAX_UNSEEN).then(|| replay.request()).flatten()
        } else if !replayed && replay.is_harmless && (is_going_away(&error) || went_stale(&channel)) {
            replayed = true;
            replay.request()
        } else {
            None
        };
        let Some(again) = again else { return Err(failure(&error, &channel, &exchange)) };
        request = again;
        unseen += 1;
    }
}

async fn on(
    channel: &mut Channel,
    mut request: Request<RequestBody>,
    destination: &Destination,
    authority: &HeaderValue,
) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
    match channel {
        Channel::Http1(lease) => {
            fields::to_http1(&mut request, authority);
            frame_body(&mut request);
            lease.connection.sender.try_send_request(request).await
        }
        Channel::Http2(stream) => {
            fields::to_http2(&mut request, destination, authority);
            stream.connection.sender().try_send_request(request).await
        }
    }
}

/// A body of unknown length is chunked, whatever the method: left to itself, hyper sends a GET without its body.
fn frame_body(request: &mut Request<RequestBody>) {
    let unknown = !http_body::Body::is_end_stream(request.body()) && !request.headers().contains_key(CONTENT_LENGTH);
    if unknown {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// A request to send a second time.
struct Replay {
    head: Parts,
    body: Recovery,
    /// Whether it does nothing to send it twice: its method is idempotent (RFC 9110 9.2.2), and it has no body.
    is_harmless: bool,
}

impl Replay {
    fn of(request: &Request<RequestBody>) -> Self {
        let mut copy = Request::new(());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.version_mut() = request.version();
        *copy.headers_mut() = request.headers().clone();
        *copy.extensions_mut() = request.extensions().clone();
        let is_harmless = request.method().is_idempotent() && http_body::Body::is_end_stream(request.body());
        Self { head: copy.into_parts().0, body: request.body().recovery(), is_harmless }
    }

    fn request(&self) -> Option<Request<RequestBody>> {
        Some(Request::from_parts(self.head.clone(), self.body.body()?))
    }
}

/// A connection that was used before and closed without a byte of this response (RFC 9112 9.3.1).
fn went_stale(channel: &Channel) -> bool {
    matches!(channel, Channel::Http1(lease) if lease.is_stale())
}

/// REFUSED_STREAM: the origin has not processed the request, whatever it is (RFC 9113 8.7).
fn was_refused(error: &hyper::Error) -> bool {
    http2_error(error).is_some_and(|error| error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// The origin ended the connection in order. Requests above GOAWAY's stream number were not processed (RFC 9113 6.8), but
/// those below it end in the same error if the connection closes before their answer: so this says too little.
fn is_going_away(error: &hyper::Error) -> bool {
    let in_order =
        |error: &h2::Error| error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
    http2_error(error).is_some_and(in_order)
}

fn http2_error(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// What a failed exchange is called.
pub fn failure(error: &hyper::Error, channel: &Channel, exchange: &Exchange) -> Failure {
    let code = if exchange.is_too_large() {
        Code::BodyTooLarge
    } else if let Some(fault) = exchange.request_fault() {
        fault
    } else if error.is_parse() || http2_error(error).is_some_and(|error| error.is_reset() || error.is_go_away()) {
        Code::UpstreamProtocol
    } else {
        Code::UpstreamClosed
    };
    let mut failure = Failure::new(code, describe(error));
    failure.address = Some(channel.peer().address);
    failure
}

/// The error with its cause, which hyper leaves out of its own text.
fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
