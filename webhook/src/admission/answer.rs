//! The answer to a review: the verdict, the patch, and words for people. Whatever a pod's author wrote and a message
//! repeats is bounded in length and cannot steer a terminal.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{API_VERSION, BadReview, KIND};
use crate::decision::Decision;
use crate::reason::{Outcome, Reason};

/// The most bytes of a warning: the API server may cut longer ones.
const LONGEST_WARNING: usize = 256;
/// The most warnings: the API server takes 4,096 bytes of all webhooks together.
const MOST_WARNINGS: usize = 12;
/// The most bytes of a refusal's message.
const LONGEST_MESSAGE: usize = 8 * 1024;
/// The most bytes of a message in the audit log.
const LONGEST_AUDIT: usize = 1024;
/// When a client should try again what was refused for a moment only. Clients on client-go do so by themselves, since
/// the API server makes a `Retry-After` header of it.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// An answer: the decision, and what goes with it.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// The review's identifier.
    pub uid: &'a str,
    /// The decision.
    pub decision: &'a Decision,
    /// Audit annotations; the API server puts the webhook's name before each key.
    pub audit: BTreeMap<&'static str, String>,
}

impl<'a> Answer<'a> {
    /// The answer of a decision, made in `mode` (none for policies) under the configuration with this hash.
    #[must_use]
    pub fn new(uid: &'a str, decision: &'a Decision, mode: Option<&str>, configuration: &str) -> Self {
        let (reason, outcome) = (decision.reason, decision.reason.outcome());
        let mut audit = BTreeMap::from([
            ("decision", outcome.name().to_owned()),
            ("reason", reason.code().to_owned()),
            ("configuration", configuration.to_owned()),
        ]);
        if let Some(mode) = mode {
            audit.insert("mode", mode.to_owned());
        }
        if outcome != Outcome::Injected {
            audit.insert("message", printable(&decision.message, LONGEST_AUDIT));
        }
        Self { uid, decision, audit }
    }

    /// The AdmissionReview to send.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut response = Map::new();
        response.insert("uid".to_owned(), self.uid.into());
        response.insert("allowed".to_owned(), self.decision.allowed().into());
        if !self.decision.allowed() {
            response.insert("status".to_owned(), status(self.decision.reason, &self.decision.message));
        } else if !self.decision.patch.is_empty() {
            let patch = serde_json::to_vec(&self.decision.patch).expect("a patch has texts for keys");
            response.insert("patchType".to_owned(), "JSONPatch".into());
            response.insert("patch".to_owned(), STANDARD.encode(patch).into());
        }
        let warnings = warnings(&self.decision.warnings);
        if !warnings.is_empty() {
            response.insert("warnings".to_owned(), warnings.into());
        }
        if !self.audit.is_empty() {
            response.insert("auditAnnotations".to_owned(), json!(self.audit));
        }
        review(response)
    }
}

impl BadReview {
    /// The denial under the review's identifier, where there is one.
    #[must_use]
    pub fn denial(&self) -> Option<Value> {
        let decision = Decision {
            reason: Reason::NotOurs,
            message: self.message.clone(),
            warnings: Vec::new(),
            patch: Vec::new(),
        };
        let uid = self.uid.as_deref()?;
        Some(Answer { uid, decision: &decision, audit: BTreeMap::new() }.to_json())
    }
}

fn review(response: Map<String, Value>) -> Value {
    json!({"apiVersion": API_VERSION, "kind": KIND, "response": response})
}

/// A `metav1.Status`. kubectl writes `admission webhook "NAME" denied the request: ` before the message.
fn status(reason: Reason, message: &str) -> Value {
    let (code, name) = match reason {
        Reason::NamespaceUnknown => (503, "ServiceUnavailable"),
        Reason::NotOurs | Reason::Malformed => (400, "BadRequest"),
        Reason::PolicyInvalid => (422, "Invalid"),
        _ => (403, "Forbidden"),
    };
    let mut status = json!({
        "status": "Failure",
        "code": code,
        "reason": name,
        "message": printable(message, LONGEST_MESSAGE),
    });
    if code == 503 {
        status["details"] = json!({"retryAfterSeconds": RETRY_AFTER_SECONDS});
    }
    status
}

fn warnings(warnings: &[String]) -> Vec<String> {
    let line = |text: &String| printable(text, LONGEST_WARNING).replace('\n', " ");
    if warnings.len() <= MOST_WARNINGS {
        return warnings.iter().map(line).collect();
    }
    let shown = MOST_WARNINGS - 1;
    let rest = format!("and {} more warnings of Sandgate", warnings.len() - shown);
    warnings.iter().take(shown).map(line).chain([rest]).collect()
}

/// `text` in at most `most` bytes, with control characters other than the end of a line replaced: what it repeats of an
/// object must not move a terminal's cursor.
#[must_use]
pub fn printable(text: &str, most: usize) -> String {
    let clean = |character| if steers(character) { char::REPLACEMENT_CHARACTER } else { character };
    // One more shows that something is missing; the rest may be a megabyte.
    let start: String = text.chars().take(most + 1).map(clean).collect();
    shortened(&start, most)
}

/// Control characters, and those that change the direction of what follows.
fn steers(character: char) -> bool {
    (character.is_control() && character != '\n')
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// The start of `text`, in at most `most` bytes, with an ellipsis where something is missing.
pub(super) fn shortened(text: &str, most: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most.saturating_sub(ELLIPSIS.len()));
    format!("{}{ELLIPSIS}", &text[..end])
}
