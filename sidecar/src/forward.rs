//! The request path. Every request, plain or from a tunnel, over HTTP/1 or HTTP/2, passes through [`forward`], and through
//! each of its checks in the same order.

use std::sync::Arc;

use http::header::{CONNECTION, EXPECT, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use sandgate_policy::destination::Destination;
use sandgate_policy::{Outcome, Rule};
use tokio::time::Instant;

use crate::body::{Relayed, RequestBody, ResponseBody};
use crate::enforcement::{Grant, Lease, Snapshot};
use crate::engine::{Engine, Inbound};
use crate::exchange::{Exchange, IdleTimer};
use crate::expect::Gate;
use crate::fields;
use crate::ledger::Ledger;
use crate::limits::Permit;
use crate::refusal::{Code, Form, Refusal};
use crate::send::{self, Outgoing};
use crate::target;
use crate::upstream::Failure;
use crate::websocket;

/// Answers one request: with the origin's response, or with a refusal.
pub async fn forward(engine: Arc<Engine>, inbound: Inbound, request: Request<Incoming>) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    let (version, form) = (head.version, Form::of(&head));
    let mut ledger = Ledger::open(&engine, &inbound, &head);
    match answer(&engine, &inbound, head, body, &mut ledger).await {
        Ok(response) => response,
        Err(refusal) => {
            ledger.refuse(&refusal);
            inbound.link.refuse();
            let mut response = refused(&refusal, form);
            if refusal.code == Code::BadRequest && version < Version::HTTP_2 {
                // Where the next request begins is in doubt after one that is not valid (RFC 9112 6.3).
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// A refusal as a response of this proxy.
#[must_use]
pub fn refused(refusal: &Refusal, form: Form) -> Response<ResponseBody> {
    refusal.response_as(form).map(ResponseBody::Local)
}

async fn answer(
    engine: &Arc<Engine>,
    inbound: &Inbound,
    mut head: Parts,
    body: Incoming,
    ledger: &mut Ledger,
) -> Result<Response<ResponseBody>, Refusal> {
    let destination = destination(inbound, &head)?;
    ledger.goes_to(&destination);
    check_head(engine, &destination, &head)?;
    let handshake = websocket::Handshake::of(&head);
    fields::remove_hop_by_hop(&mut head.headers, &destination)?;
    let admitted = admit(engine, inbound, &destination, &head, ledger)?;
    match handshake {
        Some(handshake) => Box::pin(websocket::answer(engine, &destination, head, admitted, handshake, ledger)).await,
        None => exchange(engine, &destination, head, body, admitted, ledger).await,
    }
}

/// Where the request goes: where its tunnel does, and all its names must agree; or where its absolute form says.
fn destination(inbound: &Inbound, head: &Parts) -> Result<Destination, Refusal> {
    let destination = match &inbound.tunnel {
        Some(destination) => destination.clone(),
        None => target::of_absolute_form(head)?,
    };
    if head.method == Method::CONNECT {
        return Err(Refusal::new(Code::ConnectInTunnel, &destination));
    }
    Ok(destination)
}

fn check_head(engine: &Engine, destination: &Destination, head: &Parts) -> Result<(), Refusal> {
    if head.headers.len() > engine.settings.max_head_fields {
        return Err(Refusal::new(Code::HeadTooLarge, destination));
    }
    // RFC 9112 3.2.4: no path, and only OPTIONS may have none. A policy could say nothing of it.
    if head.uri.path() == "*" && head.method != Method::OPTIONS {
        return Err(Refusal::new(Code::BadRequest, destination).with_detail("only OPTIONS has * as its target"));
    }
    target::check(destination, head)
}

/// What a request needs to go on: the policy's consent, and a place within its limits.
pub struct Admitted {
    /// The policy that admitted it.
    pub snapshot: Arc<Snapshot>,
    /// The rule that did, but in audit mode.
    pub rule: Option<Arc<Rule>>,
    /// Ends when a later policy would not.
    pub lease: Lease,
    /// Counts it as running.
    pub permit: Permit,
}

/// Judges the request, under the policy in force when its lease begins.
fn admit(
    engine: &Arc<Engine>,
    inbound: &Inbound,
    destination: &Destination,
    head: &Parts,
    ledger: &mut Ledger,
) -> Result<Admitted, Refusal> {
    loop {
        let snapshot = engine.enforcement.current();
        let verdict = snapshot.policy.judge_request(destination, &head.method, head.uri.path());
        let id = verdict.rule.as_ref().map(|rule| Arc::clone(&rule.id));
        let addition = || {
            let path = head.uri.path();
            let addition = snapshot.policy.addition_for_request(destination, &head.method, path, &verdict);
            engine.helpful(addition, destination)
        };
        let (audited, addition) = match verdict.outcome {
            Outcome::Allow => (None, None),
            Outcome::Audit(code) => (Some(code), addition()),
            Outcome::Deny(code) => {
                ledger.ruled_by(id.clone());
                return Err(ruled(Refusal::denied(code, destination, &snapshot.policy, addition()), id));
            }
        };
        let grant = Grant::Request {
            destination: destination.clone(),
            method: head.method.clone(),
            path: head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
        };
        let granted = engine.enforcement.grant(snapshot.generation, grant, &inbound.link);
        let Ok(lease) = granted else { continue };
        ledger.ruled_by(id.clone());
        let permit = within_limits(engine, verdict.rule.as_deref(), destination, head)?;
        ledger.admit(id, audited, addition);
        return Ok(Admitted { snapshot, rule: verdict.rule, lease, permit });
    }
}

fn ruled(refusal: Refusal, rule: Option<Arc<str>>) -> Refusal {
    match rule {
        Some(rule) => refusal.with_rule(rule),
        None => refusal,
    }
}

fn within_limits(
    engine: &Engine,
    rule: Option<&Rule>,
    destination: &Destination,
    head: &Parts,
) -> Result<Permit, Refusal> {
    let Some(rule) = rule else { return Ok(Permit::unlimited()) };
    let id = Arc::clone(&rule.id);
    if let Some(limit) = rule.limits.body_bytes
        && fields::content_length(&head.headers).is_some_and(|length| length > limit)
    {
        let refusal = Refusal::new(Code::BodyTooLarge, destination).with_rule(id);
        return Err(refusal.with_detail(&format!("the limit is {limit} bytes")));
    }
    engine.limiter.admit(rule, Instant::now()).map_err(|exceeded| {
        Refusal::new(exceeded.code, destination).with_rule(id).with_retry_after(exceeded.retry_after)
    })
}

async fn exchange(
    engine: &Arc<Engine>,
    destination: &Destination,
    head: Parts,
    body: Incoming,
    admitted: Admitted,
    ledger: &mut Ledger,
) -> Result<Response<ResponseBody>, Refusal> {
    let Admitted { snapshot, rule, lease, permit } = admitted;
    let rule = rule.as_deref();
    let exchange = Arc::new(Exchange::new(lease, ledger.started()));
    let gate = gate(engine, &head);
    let limit = rule.and_then(|rule| rule.limits.body_bytes);
    let authority = fields::authority_as_sent(&head.uri, &head.headers, destination);
    let mut request = Request::from_parts(head, RequestBody::new(body, Arc::clone(&exchange), limit, gate.clone()));
    open_on_continue(&mut request, gate.as_ref());
    let profile = snapshot.profile(rule.map(|rule| &*rule.id));
    let outgoing = Outgoing { destination, profile: &profile, authority, request, exchange: Arc::clone(&exchange) };
    let sent = tokio::select! {
        sent = send::send(engine, outgoing, ledger) => sent,
        () = exchange.lease.revoked() => Err(Failure::new(Code::PolicyChanged, "the policy changed meanwhile")),
        () = silence(engine, &exchange) => Err(Failure::new(Code::ResponseTimeout, "no response in time")),
    };
    let (response, channel) = sent.map_err(|failure| unanswered(&failure, destination, rule, &snapshot))?;
    if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        let failure = Failure::new(Code::BadUpgrade, "the origin switched protocols without being asked");
        return Err(unanswered(&failure, destination, rule, &snapshot));
    }
    if let Some(gate) = &gate {
        gate.hold();
    }
    let idle = rule.and_then(|rule| rule.limits.idle).unwrap_or(engine.settings.idle_body_timeout);
    Ok(respond(response, ledger, |incoming, ledger| {
        Relayed::new(incoming, exchange, channel, idle, ledger, permit).behind(gate)
    }))
}

/// `Expect` has a meaning only with a body (RFC 9110 10.1.1).
fn gate(engine: &Engine, head: &Parts) -> Option<Arc<Gate>> {
    let expected = head.headers.get(EXPECT).is_some_and(|expect| fields::lists(expect, "100-continue"));
    expected.then(|| Arc::new(Gate::new(engine.settings.continue_wait)))
}

fn open_on_continue(request: &mut Request<RequestBody>, gate: Option<&Arc<Gate>>) {
    let Some(gate) = gate.cloned() else { return };
    hyper::ext::on_informational(request, move |response| {
        if response.status() == http::StatusCode::CONTINUE {
            gate.open();
        }
    });
}

/// Ends when the origin has sent no response head for too long, and the request's body is not moving either.
async fn silence(engine: &Engine, exchange: &Exchange) {
    IdleTimer::new(engine.settings.first_byte_timeout).expired(exchange).await;
}

/// The refusal that a failed exchange means.
pub fn unanswered(
    failure: &Failure,
    destination: &Destination,
    rule: Option<&Rule>,
    Snapshot { policy, .. }: &Snapshot,
) -> Refusal {
    let addition = failure.addition(policy, destination, rule);
    let refusal = match (failure.code, &addition) {
        (Code::AddressNotAllowed, None) => Refusal::new(failure.code, destination)
            .with_detail(&format!("{}, which is never dialled, whatever a policy lists", failure.detail)),
        _ => Refusal::new(failure.code, destination).with_detail(&failure.detail),
    };
    ruled(refusal.with_addition(addition.map(Arc::new)), rule.map(|rule| Arc::clone(&rule.id)))
}

/// Turns the origin's response into the client's.
pub fn respond(
    response: Response<Incoming>,
    ledger: &mut Ledger,
    relayed: impl FnOnce(Incoming, Ledger) -> Relayed,
) -> Response<ResponseBody> {
    let (mut head, incoming) = response.into_parts();
    ledger.answered(head.status);
    fields::clean_response(&mut head.headers);
    head.version = Version::HTTP_11;
    let body = relayed(incoming, ledger.hand_over());
    Response::from_parts(head, ResponseBody::Relayed(Box::new(body)))
}
