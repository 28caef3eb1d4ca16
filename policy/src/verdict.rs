//! What the policy answers: whether something goes through, by which rule, and why.

use std::sync::Arc;

use crate::Code;
use crate::access::Finding;
use crate::rule::Rule;

/// Whether something goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes through.
    Allow,
    /// It is refused.
    Deny(Code),
    /// It goes through, and the log says with which code it would have been refused.
    Audit(Code),
}

impl Outcome {
    /// The code of the refusal, if this is one that is enforced.
    #[must_use]
    pub fn denied(self) -> Option<Code> {
        if let Self::Deny(code) = self { Some(code) } else { None }
    }
}

/// What the policy says of a CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectVerdict {
    /// Allowed where at least one of the rules is there.
    pub outcome: Outcome,
    /// The rule for TLS in the tunnel. Without one, TLS there is refused, or in audit mode intercepted.
    pub https: Option<Arc<Rule>>,
    /// The rule for plain HTTP in the tunnel.
    pub http: Option<Arc<Rule>>,
}

/// What the policy says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it goes through.
    pub outcome: Outcome,
    /// The destination that answered, also where it refused; `None` where there is none.
    pub rule: Option<Arc<Rule>>,
    /// What the outcome rests on, the same in both modes.
    pub reason: Reason,
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No destination has the host.
    NoHost,
    /// A destination has the host, but none this port and scheme.
    NoPort,
    /// What the lists of the rule said.
    Lists(Finding),
}
