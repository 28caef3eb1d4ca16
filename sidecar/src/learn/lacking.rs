//! Whether a policy lacks what was asked for; also one that somebody changed while it was learnt for: what it allows or
//! denies by now is not added to it.

use http::Method;
use sandgate_policy::destination::Destination;
use sandgate_policy::{Outcome, Policy};

use super::observation::AskedPath;
use super::seen::{Asked, OfMethod, Place};
use crate::refusal::Code;

/// A path that no list of paths can allow stands for all of them.
const UNJUDGED: &str = "/..";

/// Of what was asked of `place` what `base` does not allow or deny, and how many requests it denies.
pub(super) fn left(base: &Policy, place: &Place, asked: &Asked) -> (Asked, u64) {
    let (mut left, mut denied) = (asked.clone(), 0);
    let Some(destination) = place.destination() else { return (left, denied) };
    for (method, of) in &mut left.methods {
        // The empty one stands for any.
        let method = Method::from_bytes(method.as_bytes()).ok();
        denied += keep(base, &destination, method.as_ref(), of);
    }
    left.methods.retain(|_, of| of.requests() > 0);
    (left, denied)
}

/// Keeps what is left of one method, and returns how many requests are denied.
fn keep(base: &Policy, destination: &Destination, method: Option<&Method>, of: &mut OfMethod) -> u64 {
    let mut denied = 0;
    of.paths.retain(|template, count| {
        let path = AskedPath { text: template.to_string(), is_whole: false, template: Some(template.clone()) };
        let code = lacks(base, destination, method, &path);
        denied += if code == Some(Code::RequestDenied) { count.requests } else { 0 };
        code.is_some_and(|code| code != Code::RequestDenied)
    });
    let text = if method == Some(&Method::OPTIONS) { "*" } else { UNJUDGED };
    let path = AskedPath { text: text.to_owned(), is_whole: true, template: None };
    if lacks(base, destination, method, &path) == Some(Code::RequestDenied) {
        denied += std::mem::take(&mut of.pathless);
    }
    denied
}

/// Why `policy` does not allow a request; `None` where it does, whatever a path that is not whole may have been.
pub(super) fn lacks(
    policy: &Policy,
    destination: &Destination,
    method: Option<&Method>,
    path: &AskedPath,
) -> Option<Code> {
    let any = Method::from_bytes(b"SANDGATE-LEARN-PROBE").unwrap_or_default();
    let method = method.unwrap_or(&any);
    let judge = |path: &str| match policy.judge_request(destination, method, path).outcome {
        Outcome::Allow => None,
        Outcome::Deny(code) | Outcome::Audit(code) => Some(code),
    };
    match &path.template {
        Some(template) if !path.is_whole => template.probes().iter().find_map(|path| judge(path)),
        _ => judge(&path.text),
    }
}
