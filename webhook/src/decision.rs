//! What the webhook says about an object. Pure data: how it becomes a response is `admission`'s.

use json_patch::PatchOperation;

use crate::reason::{Outcome, Reason};

/// What everybody is told who relies on the sidecar being required. The documentation has the same sentence.
pub const EGRESS_ADVISORY: &str =
    "egress is advisory: a program that ignores the proxy variables can still reach the network directly";

/// How many refusals one message tells.
const MAX_TOLD: usize = 32;

/// Why an object is refused, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub reason: Reason,
    /// What is wrong, where, and what to do; one sentence or two, without the program's name in front.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// What the webhook says about an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Why, and through it what.
    pub reason: Reason,
    /// For people: all refusals, or why it was skipped.
    pub message: String,
    /// What people see in kubectl (`Warning: ...`), each at most 120 characters where possible.
    pub warnings: Vec<String>,
    /// What changes (RFC 6902). Empty unless injected.
    pub patch: Vec<PatchOperation>,
}

impl Decision {
    /// An object that gets in as it is, without a word.
    #[must_use]
    pub fn pass(reason: Reason) -> Self {
        Self { reason, message: reason.meaning().trim().to_owned(), warnings: Vec::new(), patch: Vec::new() }
    }

    /// A refusal for all of `refusals`, under the first one's code. A pod can be refused for thousands of mounts; the
    /// message tells the first of them, and how many more there are.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn refuse(refusals: &[Refusal]) -> Self {
        let reason = refusals.first().expect("a refusal has a reason").reason;
        let mut messages: Vec<&str> = refusals.iter().map(|refusal| refusal.message.as_str()).take(MAX_TOLD).collect();
        let more = refusals.len() - messages.len();
        let more = (more > 0).then(|| format!("and {more} more"));
        messages.extend(more.as_deref());
        Self { reason, message: messages.join("; "), warnings: Vec::new(), patch: Vec::new() }
    }

    /// Whether it gets in.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.reason.outcome() != Outcome::Refused
    }
}

impl From<Refusal> for Decision {
    fn from(refusal: Refusal) -> Self {
        Self::refuse(&[refusal])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_the_first_reasons_and_how_many_more_there_are() {
        let refusals: Vec<Refusal> = (0..40).map(|n| Refusal::new(Reason::Baseline, format!("fault {n}"))).collect();
        assert_eq!(Decision::refuse(&refusals[..2]).message, "fault 0; fault 1");
        assert!(Decision::refuse(&refusals[..32]).message.ends_with("; fault 31"));
        assert!(Decision::refuse(&refusals).message.ends_with("; fault 31; and 8 more"));
    }
}
