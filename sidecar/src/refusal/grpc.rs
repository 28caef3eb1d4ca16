//! A refusal as a gRPC client reads one. Of any other HTTP status than 200 such a client shows the number alone.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

use super::Refusal;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Makes of a refusal's response one of trailers alone: `Trailers-Only` of the gRPC protocol over HTTP/2.
pub(super) fn trailers_only(refusal: &Refusal, mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    *response.body_mut() = Full::default();
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    headers.insert(GRPC_STATUS, status(refusal.code.status()).into());
    if let Ok(message) = HeaderValue::try_from(message(refusal)) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

/// What clients make of an HTTP status that has no `grpc-status` beside it (gRPC's http-grpc-status-mapping.md), so that
/// they try again where they would have without it.
fn status(status: StatusCode) -> u16 {
    const UNKNOWN: u16 = 2;
    const PERMISSION_DENIED: u16 = 7;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    match status.as_u16() {
        400 => INTERNAL,
        403 => PERMISSION_DENIED,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// All that the JSON says in one line, percent-encoded as `grpc-message` is.
fn message(refusal: &Refusal) -> String {
    let mut text = format!("{} ({})", refusal.message, refusal.code);
    if let Some(rule) = &refusal.rule {
        let _ = write!(text, "; rule: {rule}");
    }
    if let Some(addition) = &refusal.addition {
        let _ = write!(text, "; to allow it, add to {}: {}", addition.place(), addition.yaml());
    }
    let mut message = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | ..=0x1f | 0x7f.. => drop(write!(message, "%{byte:02X}")),
            _ => message.push(char::from(byte)),
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Method;
    use http_body::Body as _;
    use sandgate_policy::destination::{Destination, Host, Scheme};
    use sandgate_policy::{Code, Policy};

    use super::super::Form;
    use super::*;

    fn to() -> Destination {
        Destination { scheme: Scheme::Https, host: Host::parse("a.test").unwrap(), port: 443 }
    }

    #[test]
    fn the_status_is_what_clients_make_of_the_http_status() {
        for (code, expected) in [
            (Code::RequestDenied, "7"),
            (Code::BadPath, "13"),
            (Code::RateLimited, "14"),
            (Code::GrpcNeedsHttp2, "14"),
            (Code::ConnectTimeout, "14"),
            (Code::BodyTooLarge, "2"),
        ] {
            let refusal = Refusal::new(code, &to());
            let response = refusal.response_as(Form::Grpc);
            assert_eq!(
                (response.status().as_u16(), &response.headers()["grpc-status"]),
                (200, &expected.parse().unwrap())
            );
            assert!(response.body().is_end_stream() && !response.headers().contains_key("content-length"));
        }
    }

    #[test]
    fn the_message_has_the_sentence_the_code_the_rule_and_what_to_add() {
        let text = "version: 1\ndestinations:\n  - {id: a, host: a.test, allow: [{paths: [/x]}]}\n";
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let verdict = policy.judge_request(&to(), &Method::POST, "/s.S/%41");
        let addition = policy.addition_for_request(&to(), &Method::POST, "/s.S/%41", &verdict).map(Arc::new);
        let refusal = Refusal::denied(Code::RequestNotAllowed, &to(), &policy, addition).with_rule("a");
        let response = refusal.response_as(Form::Grpc);
        let expected = "this method and path are not allowed on a.test; use one that the rule lists, or ask whoever runs this \
                        sandbox to add this one (request_not_allowed); rule: a; to allow it, add to a.allow: - {methods: \
                        [POST], paths: [\"/s.S/%2541\"]}";
        assert_eq!(response.headers()["grpc-message"], expected);
        let refusal = Refusal::new(Code::ConnectionFailed, &to()).with_detail("na\u{ef}ve\n");
        assert_eq!(message(&refusal), "a.test:443 cannot be reached; na%C3%AFve%0A (connection_failed)");
    }
}
