//! How the sidecar says no: the one response that a refused client sees, whatever the code. Nothing else builds a
//! refusal. Nothing from a request gets into one but its host and, in what could be added to the policy, its method and
//! the part of its path that the audit log would have.

mod grpc;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode, Version};
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
pub use sandgate_policy::Code;
use sandgate_policy::destination::Destination;
use sandgate_policy::{Addition, Policy};
use serde::Serialize;

use crate::fields;

/// The longest reason phrase, in bytes: several clients print it, and cut off what is longer.
const MAX_REASON_BYTES: usize = 120;
/// The name of this proxy in `Proxy-Status` (RFC 9209 2).
const PROXY_NAME: &str = "sandgate";
/// What `Retry-After` says, in seconds, where a 429 or 503 knows nothing better.
const DEFAULT_RETRY_AFTER: u64 = 1;
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// How a client reads a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By the status and the JSON below it.
    Json,
    /// By the status and the message of a gRPC call.
    Grpc,
}

impl Form {
    /// What the client of a request reads. gRPC is a call only over HTTP/2.
    #[must_use]
    pub fn of(head: &Parts) -> Self {
        if head.version == Version::HTTP_2 && fields::is_grpc(&head.headers) { Self::Grpc } else { Self::Json }
    }
}

/// A refusal: the code, what it is about, and one sentence that a person or an agent can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// The host and port that were asked for, as canonical as they could be made; empty when nothing was readable.
    pub host: String,
    /// The `id` of the policy's destination that decided, if one did.
    pub rule: Option<Arc<str>>,
    /// One sentence, ASCII, without secrets, paths of the sidecar or anything from a request but its host.
    pub message: String,
    /// What would allow it, where the policy refused it and something could be added.
    pub addition: Option<Arc<Addition>>,
    /// Seconds after which a retry makes sense (`Retry-After`), for 429 and 503.
    pub retry_after: Option<u64>,
}

impl Refusal {
    /// A refusal of a request for `destination`, with the code's own sentence.
    #[must_use]
    pub fn new(code: Code, destination: &Destination) -> Self {
        Self::for_host(code, format!("{}:{}", destination.host, destination.port))
    }

    /// A refusal by this policy, and what could be added to it. Where there is none, or no policy at all, it says so.
    #[must_use]
    pub fn denied(code: Code, destination: &Destination, policy: &Policy, addition: Option<Arc<Addition>>) -> Self {
        let refusal = Self::new(code, destination);
        let why_none = match code {
            _ if policy.is_absent() => {
                "there is no valid policy, so everything is refused: ask whoever runs this sandbox"
            }
            Code::HostNotAllowed | Code::PortNotAllowed => {
                "no policy can allow it: the address is reserved, a metadata service or one of this pod"
            }
            Code::RequestNotAllowed => {
                "no entry is suggested: another reading of the path is denied, or it or the method is too odd to be listed"
            }
            _ => return refusal,
        };
        if addition.is_none() { refusal.with_detail(why_none) } else { refusal.with_addition(addition) }
    }

    /// A refusal of a request whose destination could not be read. What the client sent in its place is not repeated:
    /// it may hold a password (`user:password@host`).
    #[must_use]
    pub fn unreadable(code: Code) -> Self {
        Self::for_host(code, String::new())
    }

    fn for_host(code: Code, host: String) -> Self {
        let message = format!("{}; {}", fill(code.summary(), &host), code.advice());
        Self { code, host, rule: None, message, addition: None, retry_after: None }
    }

    /// Names the policy's destination that decided, by its `id`.
    #[must_use]
    pub fn with_rule(mut self, rule: impl Into<Arc<str>>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// Says what could be added to the policy.
    #[must_use]
    pub fn with_addition(mut self, addition: Option<Arc<Addition>>) -> Self {
        self.addition = addition;
        self
    }

    /// Says more exactly than the code's own sentence what is wrong: a clause that follows the summary in place of the
    /// code's advice, such as `the limit is 10485760 bytes`.
    #[must_use]
    pub fn with_detail(mut self, detail: &str) -> Self {
        self.message = format!("{}; {detail}", fill(self.code.summary(), &self.host));
        self
    }

    /// The message, where it says what became of the way through the upstream proxy.
    #[must_use]
    pub fn of_the_way(&self) -> Option<Arc<str>> {
        self.code.as_str().starts_with("upstream_proxy_").then(|| self.message.as_str().into())
    }

    /// Sets `Retry-After`, in seconds. Only 429 and 503 send it.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The response that the client sees: to a CONNECT, to a plain request and inside a tunnel alike. The reason
    /// phrase goes out over HTTP/1 only; HTTP/2 has none.
    #[must_use]
    pub fn response(&self) -> Response<Full<Bytes>> {
        let body = self.body();
        let mut response = Response::new(Full::new(body.clone()));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(value) = HeaderValue::try_from(self.proxy_status()) {
            headers.insert(PROXY_STATUS, value);
        }
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.code.status() == StatusCode::METHOD_NOT_ALLOWED {
            // RFC 9110 15.5.6: a 405 names the methods that work. Any but CONNECT does.
            let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            headers.insert(header::ALLOW, methods);
        }
        if let Ok(reason) = ReasonPhrase::try_from(self.reason_phrase().into_bytes()) {
            response.extensions_mut().insert(reason);
        }
        response
    }

    /// The response in the form that the client of a request reads.
    #[must_use]
    pub fn response_as(&self, form: Form) -> Response<Full<Bytes>> {
        match form {
            Form::Json => self.response(),
            Form::Grpc => grpc::trailers_only(self, self.response()),
        }
    }

    /// The value of `Proxy-Status` (RFC 9209 2), here and in the trailers of a response that broke off.
    #[must_use]
    pub fn proxy_status(&self) -> String {
        format!("{PROXY_NAME}; error={}; details=\"{}\"", self.code.proxy_status(), self.code)
    }

    /// What HTTP/1 sends after the status: `Forbidden: HOST is not in the policy (host_not_allowed)`. Printable ASCII,
    /// at most 120 bytes; of a long host the end is kept, which says whose it is.
    #[must_use]
    pub fn reason_phrase(&self) -> String {
        let status = self.code.status();
        let status = status.canonical_reason().unwrap_or("Refused");
        let phrase = |host: &str| format!("{status}: {} ({})", fill(self.code.summary(), host), self.code);
        let host = printable(&self.host);
        let excess = phrase(&host).len().saturating_sub(MAX_REASON_BYTES);
        if excess == 0 {
            return phrase(&host);
        }
        let cut = (excess + "...".len()).min(host.len());
        phrase(&format!("...{}", &host[cut..]))
    }

    fn body(&self) -> Bytes {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'static str,
            host: Option<&'a str>,
            rule: Option<&'a str>,
            message: &'a str,
            allow: Option<Allow>,
        }
        #[derive(Serialize)]
        struct Allow {
            add: String,
            to: String,
        }
        let host = (!self.host.is_empty()).then_some(self.host.as_str());
        let allow = self.addition.as_ref().map(|addition| Allow { add: addition.yaml(), to: addition.place() });
        let body = Body { error: self.code.as_str(), host, rule: self.rule.as_deref(), message: &self.message, allow };
        let mut json = serde_json::to_vec(&body).expect("strings always serialise");
        json.push(b'\n');
        json.into()
    }

    fn retry_after_seconds(&self) -> Option<u64> {
        let status = self.code.status();
        let retriable = status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE;
        retriable.then(|| self.retry_after.unwrap_or(DEFAULT_RETRY_AFTER))
    }
}

/// Puts the host, and the host with its port, into a sentence of the table.
fn fill(sentence: &str, authority: &str) -> String {
    if authority.is_empty() {
        return sentence.replace("{host}", "the destination").replace("{authority}", "the destination");
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    };
    sentence.replace("{host}", host).replace("{authority}", authority)
}

/// The text with every byte that a reason phrase should not have replaced.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_ascii_graphic() { char } else { '?' }).collect()
}

#[cfg(test)]
mod tests;
