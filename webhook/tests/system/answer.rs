//! What the API server answers: the object or the refusal, and the warnings.

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    pub(crate) async fn read(response: Response<Body>) -> Self {
        let status = response.status().as_u16();
        let warnings = warnings(response.headers());
        let body: Bytes = response.into_body().collect().await.unwrap().to_bytes();
        Self { status, body: serde_json::from_slice(&body).unwrap_or_default(), warnings }
    }

    pub(crate) fn is_accepted(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The object as it is stored.
    #[track_caller]
    pub(crate) fn accepted(&self) -> &Value {
        assert!(self.is_accepted(), "{} {}", self.status, self.message());
        &self.body
    }

    /// The refusal in the API server's words.
    #[track_caller]
    pub(crate) fn refused(&self) -> &str {
        assert!(!self.is_accepted(), "it was accepted: {}", self.body);
        self.message()
    }

    /// The refusal, which has these parts.
    #[track_caller]
    pub(crate) fn refused_with(&self, parts: &[&str]) {
        contains(self.refused(), parts);
    }

    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// All warnings, a line each.
    pub(crate) fn warned(&self) -> String {
        self.warnings.join("\n")
    }
}

#[track_caller]
pub(crate) fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// The texts of `Warning: 299 - "TEXT"` (RFC 7234, 5.5).
fn warnings(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all("warning").iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let text = |value: std::borrow::Cow<'_, str>| {
        let quoted = value.split_once('"').and_then(|(_, rest)| rest.strip_suffix('"')).unwrap_or(&value);
        quoted.replace("\\\"", "\"").replace("\\\\", "\\")
    };
    values.map(text).collect()
}
