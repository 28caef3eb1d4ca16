//! HTTP requests that get an error instead of an answered review: status, sentence and, sparingly, a line in the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{self, HeaderValue};

use crate::admission::RETRY_AFTER_SECONDS;
use crate::metrics::Rejected;

/// Lines in a [`PERIOD`]: enough to see what goes on. What comes from anywhere must not fill the log.
const LINES: u32 = 20;
const PERIOD: Duration = Duration::from_secs(1);

/// Why a request is no review that can be answered.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) reason: Rejected,
    pub(crate) message: String,
}

impl Rejection {
    pub(crate) fn new(reason: Rejected, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl Rejected {
    /// The status of the response.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::BadReview | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Panic => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The response, with the sentence as its body.
pub(crate) fn response(reason: Rejected, message: &str) -> Response {
    let mut response = Response::new(Body::from(format!("{message}\n")));
    *response.status_mut() = reason.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if reason == Rejected::Busy {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    response
}

/// Bounds the lines of one kind in the log.
#[derive(Debug, Default)]
pub(crate) struct Sparing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    lines: u32,
    unsaid: u64,
}

impl Sparing {
    /// Calls `line` with the number of lines that were left out before it, or leaves this one out too.
    pub(crate) fn say(&self, line: impl FnOnce(u64)) {
        if let Some(unsaid) = self.due(Instant::now()) {
            line(unsaid);
        }
    }

    fn due(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none_or(|since| now.duration_since(since) >= PERIOD) {
            (state.since, state.lines) = (Some(now), 0);
        }
        state.lines += 1;
        if state.lines > LINES {
            state.lines = LINES;
            state.unsaid += 1;
            return None;
        }
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_used_sparingly_and_says_what_it_left_out() {
        let (sparing, now) = (Sparing::default(), Instant::now());
        let said = (0..100).filter(|_| sparing.due(now).is_some()).count();
        assert_eq!(said, LINES as usize);
        assert_eq!(sparing.due(now + PERIOD), Some(100 - u64::from(LINES)));
        assert_eq!(sparing.due(now + PERIOD), Some(0));
    }
}
