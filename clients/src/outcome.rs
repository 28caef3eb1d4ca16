//! What became of a client's attempt, and how that is told.

use std::fmt;

use crate::client::Scenario;
use crate::stage::Attempt;

/// What became of it. The order is from best to worst, and a later one is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It went through the proxy, trusted its CA, and got what it asked for.
    Works,
    /// It used the proxy, which refused it.
    Refused,
    /// It used the proxy or nothing at all, and got no further: it did not trust the CA, say.
    GaveUp,
    /// A packet or a question for a name left it by another way.
    IgnoresProxy,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Works, Self::Refused, Self::GaveUp, Self::IgnoresProxy];

    /// What became of an attempt.
    pub(crate) fn of(scenario: Scenario, attempt: &Attempt) -> Self {
        if attempt.strays.any() {
            return Self::IgnoresProxy;
        }
        if attempt.success && attempt.stdout.contains(scenario.expected()) {
            return Self::Works;
        }
        if attempt.refused { Self::Refused } else { Self::GaveUp }
    }

    /// The outcome that the table writes so.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.to_string() == text)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Works => "works",
            Self::Refused => "refused",
            Self::GaveUp => "gave up",
            Self::IgnoresProxy => "**ignores the proxy**",
        })
    }
}
