//! What decides, until it is there.

use crate::admission::Request;
use crate::config::Config;
use crate::decision::{Decision, Refusal};
use crate::namespace::Namespace;
use crate::reason::Reason;
use crate::situation::Situation;

pub(super) fn mutate(_: &Situation<'_>, _: &Request) -> Decision {
    Refusal::new(Reason::Malformed, "not there yet").into()
}

pub(super) fn template(_: &Situation<'_>, _: &serde_json::Value) -> Decision {
    Refusal::new(Reason::Malformed, "not there yet").into()
}

pub(super) fn validate_policy(_: &Namespace, _: &Config, _: &Request) -> Decision {
    Refusal::new(Reason::Malformed, "not there yet").into()
}
