//! WebSocket over HTTP/1.1 (RFC 6455), the only upgrade that goes through. The origin's 101 is checked before a byte is
//! relayed.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use sandgate_policy::destination::Destination;
use tokio::time::{Instant, timeout};

use crate::body::{Relayed, RequestBody, ResponseBody};
use crate::engine::Engine;
use crate::exchange::Exchange;
use crate::fields;
use crate::forward::{Admitted, respond, unanswered};
use crate::ledger::Ledger;
use crate::limits::Permit;
use crate::metrics::{Open, TunnelKind};
use crate::refusal::{Code, Refusal};
use crate::relay::relay;
use crate::send;
use crate::target::announces_body;
use crate::upstream::profile::Profile;
use crate::upstream::{Channel, Failure, Want};

/// Appended to the client's key before it is hashed (RFC 6455 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// A client's opening handshake.
pub struct Handshake {
    accept: String,
}

impl Handshake {
    /// The handshake in a request, if it is one (RFC 6455 4.2.1). Any other upgrade is not, and its fields end here; nor is
    /// one with a body, whose length the origin would take from the frames.
    #[must_use]
    pub fn of(head: &Parts) -> Option<Self> {
        let has = |name, token| head.headers.get_all(name).iter().any(|value| fields::lists(value, token));
        let asks = head.method == Method::GET && head.version == Version::HTTP_11 && !announces_body(&head.headers);
        let key = head.headers.get(SEC_WEBSOCKET_KEY)?.to_str().ok()?;
        (asks && has(UPGRADE, "websocket") && has(CONNECTION, "upgrade")).then(|| Self { accept: accept(key) })
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let has = |name, token| headers.get_all(name).iter().any(|value| fields::lists(value, token));
        if !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") {
            return Err(Failure::new(Code::BadUpgrade, "the origin's 101 is not for a WebSocket"));
        }
        if headers.get(SEC_WEBSOCKET_ACCEPT).is_none_or(|value| value != self.accept.as_str()) {
            return Err(Failure::new(Code::BadUpgrade, "the origin's 101 has a wrong Sec-WebSocket-Accept"));
        }
        Ok(())
    }
}

fn accept(key: &str) -> String {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    BASE64_STANDARD.encode(hash)
}

/// Opens a WebSocket to the origin and, when its 101 is right, relays in a task of its own.
///
/// # Errors
/// The refusal of a connection that failed, or of a wrong 101. Any other status is the origin's answer, and passed on.
pub async fn answer(
    engine: &Arc<Engine>,
    destination: &Destination,
    mut head: Parts,
    admitted: Admitted,
    handshake: Handshake,
    ledger: &mut Ledger,
) -> Result<Response<ResponseBody>, Refusal> {
    let rule = admitted.rule.clone();
    let client = head.extensions.remove::<OnUpgrade>();
    let exchange = Arc::new(Exchange::new(admitted.lease, ledger.started()));
    let profile = admitted.snapshot.profile(rule.as_ref().map(|rule| &*rule.id));
    let opened = tokio::select! {
        opened = open(engine, destination, head, &profile, &exchange, ledger) => opened,
        () = exchange.lease.revoked() => Err(Failure::new(Code::PolicyChanged, "the policy changed meanwhile")),
    };
    let opened = opened.and_then(|(response, channel)| match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => handshake.check(response.headers()).map(|()| (response, channel)),
        _ => Ok((response, channel)),
    });
    let (mut response, channel) =
        opened.map_err(|failure| unanswered(&failure, destination, rule.as_deref(), &admitted.snapshot))?;
    let idle = rule.as_ref().and_then(|rule| rule.limits.idle);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let idle = idle.unwrap_or(engine.settings.idle_body_timeout);
        return Ok(respond(response, ledger, |incoming, ledger| {
            Relayed::new(incoming, exchange, channel, idle, ledger, admitted.permit)
        }));
    }
    ledger.answered(response.status());
    let sides = Sides { client, origin: hyper::upgrade::on(&mut response), _permit: admitted.permit };
    tokio::spawn(sides.relay(exchange, idle, ledger.hand_over(), engine.metrics.tunnel(TunnelKind::Upgraded)));
    Ok(switched(response))
}

/// Sends the handshake over a connection of its own and waits for the head of the answer.
async fn open(
    engine: &Engine,
    destination: &Destination,
    head: Parts,
    profile: &Profile,
    exchange: &Arc<Exchange>,
    ledger: &mut Ledger,
) -> Result<(Response<Incoming>, Channel), Failure> {
    let waiting = Instant::now();
    let mut channel = engine.upstream.channel(destination, profile, Want::Upgrade).await?;
    ledger.sent_over(&channel, waiting.elapsed());
    exchange.lease.leads_to(channel.peer());
    if exchange.lease.is_revoked() {
        return Err(Failure::new(Code::PolicyChanged, "the policy changed meanwhile"));
    }
    let authority = fields::authority_as_sent(&head.uri, &head.headers, destination);
    let mut request = Request::from_parts(head, RequestBody::empty(Arc::clone(exchange)));
    fields::to_http1(&mut request, &authority);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    request.headers_mut().insert(UPGRADE, WEBSOCKET);
    let Channel::Http1(lease) = &mut channel else {
        return Err(Failure::new(Code::BadUpgrade, "the origin speaks HTTP/2 although it was not offered"));
    };
    match timeout(engine.settings.first_byte_timeout, lease.connection.sender.send_request(request)).await {
        Ok(Ok(response)) => Ok((response, channel)),
        Ok(Err(error)) => Err(send::failure(&error, &channel, exchange)),
        Err(_) => Err(Failure::new(Code::ResponseTimeout, "no response in time")),
    }
}

/// The 101 for the client: the origin's, with the fields of this connection.
fn switched(response: Response<Incoming>) -> Response<ResponseBody> {
    let (mut head, _) = response.into_parts();
    head.extensions.remove::<OnUpgrade>();
    fields::clean_response(&mut head.headers);
    head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    head.headers.insert(UPGRADE, WEBSOCKET);
    Response::from_parts(head, ResponseBody::Local(Full::default()))
}

/// The two streams of a WebSocket, before they are there.
struct Sides {
    client: Option<OnUpgrade>,
    origin: OnUpgrade,
    _permit: Permit,
}

impl Sides {
    async fn relay(self, exchange: Arc<Exchange>, idle: Option<Duration>, ledger: Ledger, _open: Open) {
        let Some(client) = self.client else { return };
        let (Ok(client), Ok(origin)) = (client.await, self.origin.await) else { return };
        ledger.close_relay(relay(TokioIo::new(client), TokioIo::new(origin), &exchange.lease, idle).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_that_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
