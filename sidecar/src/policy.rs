//! The policy: an immutable snapshot that says where a program may go, and the only place that says so.
//!
//! It reads text and answers questions. It opens no file, resolves no name and keeps no state between requests.

pub mod access;
mod compile;
mod document;
mod fields;
pub mod glob;
mod index;
mod lists;
pub mod path;
pub mod pattern;
pub mod problem;
pub mod quantity;
pub mod rule;
mod short;
mod upstream;
mod warnings;
pub mod yaml;

use std::sync::Arc;

use aws_lc_rs::digest;
use http::Method;
use ipnet::IpNet;

use self::access::Finding;
use self::document::Document;
use self::index::Index;
use self::problem::Problems;
pub use self::problem::{PolicyErrors, Problem};
pub use self::rule::Rule;
pub use self::short::ForAll;
use crate::address;
use crate::destination::{Destination, Host, Scheme};
use crate::refusal::Code;

/// What becomes of a request that the policy refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    Enforce,
    /// It is let through and logged. Checks of addresses and authorities hold all the same.
    Audit,
}

/// A whole policy. Cheap to ask, dear to make: share it in an [`Arc`] and swap it as a whole.
#[derive(Debug)]
pub struct Policy {
    mode: Mode,
    digest: String,
    rules: Vec<Arc<Rule>>,
    index: Index,
    warnings: Vec<Problem>,
}

impl Policy {
    /// Reads a policy file. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// Every problem of the file, with its line.
    pub fn parse(text: &[u8]) -> Result<Self, PolicyErrors> {
        let mut problems = Problems::default();
        let document = document::read(text, &mut problems);
        Self::compile(document, digest_of(&[text]), problems)
    }

    /// The short form: `a.com,*.b.com:8443`, https on port 443 where none is named. An empty list denies everything.
    ///
    /// # Errors
    /// Every item that is no host.
    pub fn from_allowed_domains(list: &str) -> Result<Self, PolicyErrors> {
        Self::from_allowed(list, &ForAll::default())
    }

    /// As [`Self::from_allowed_domains`], with options that hold for every host of the list.
    ///
    /// # Errors
    /// Every item that is no host.
    pub fn from_allowed(list: &str, for_all: &ForAll) -> Result<Self, PolicyErrors> {
        let mut problems = Problems::default();
        let document = short::read(list, for_all, &mut problems);
        let options = format!("{for_all:?}");
        Self::compile(document, digest_of(&[list.as_bytes(), b"\n", options.as_bytes()]), problems)
    }

    /// The policy that holds where there is none: nothing is allowed.
    #[must_use]
    pub fn deny_all() -> Self {
        let mode = Mode::Enforce;
        Self { mode, digest: digest_of(&[]), rules: Vec::new(), index: Index::default(), warnings: Vec::new() }
    }

    fn compile(document: Document, digest: String, mut problems: Problems) -> Result<Self, PolicyErrors> {
        let rules = compile::rules(document.destinations, &mut problems);
        let problems = problems.into_sorted();
        if !problems.is_empty() {
            return Err(PolicyErrors(problems));
        }
        let index = Index::new(&rules);
        let warnings = warnings::of(document.mode, &rules, &index);
        Ok(Self { mode: document.mode, digest, rules, index, warnings })
    }

    /// Whether refusals are enforced.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The SHA-256 of the source, as 64 hexadecimal digits: the name of this policy in logs and metrics.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The rules in the order of the source.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// What the policy does that its author may not have meant, for `validate` and the log.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Judges a CONNECT, where only host and port are known. What comes inside is judged by [`Self::judge_request`].
    #[must_use]
    pub fn judge_connect(&self, host: &Host, port: u16) -> ConnectVerdict {
        let find = |scheme| self.index.find(host, port, scheme).cloned();
        let (https, http) = (find(Scheme::Https), find(Scheme::Http));
        let outcome = if https.is_some() || http.is_some() { Outcome::Allow } else { self.refuse(self.absence(host)) };
        ConnectVerdict { outcome, https, http }
    }

    /// Judges one request. `path` is the request's path in origin form, as it came, without its query.
    #[must_use]
    pub fn judge_request(&self, destination: &Destination, method: &Method, path: &str) -> Verdict {
        let Destination { scheme, host, port } = destination;
        let Some(rule) = self.index.find(host, *port, *scheme) else {
            let code = self.absence(host);
            let reason = if code == Code::PortNotAllowed { Reason::NoPort } else { Reason::NoHost };
            return Verdict { outcome: self.refuse(code), rule: None, reason };
        };
        let finding = rule.access.judge(method, path);
        let outcome = finding.code().map_or(Outcome::Allow, |code| self.refuse(code));
        Verdict { outcome, rule: Some(Arc::clone(rule)), reason: Reason::Lists(finding) }
    }

    /// Why no rule answers for this host.
    fn absence(&self, host: &Host) -> Code {
        if self.index.knows(host) { Code::PortNotAllowed } else { Code::HostNotAllowed }
    }

    fn refuse(&self, code: Code) -> Outcome {
        match self.mode {
            Mode::Enforce => Outcome::Deny(code),
            Mode::Audit => Outcome::Audit(code),
        }
    }
}

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

/// Reads one range of `private_cidrs`.
///
/// # Errors
/// What is wrong and what to write instead, as a sentence: no CIDR, host bits set, or a range that is never dialled.
pub fn private_cidr(text: &str) -> Result<IpNet, String> {
    let invalid = || format!("{text:?} is not a range; write an address and a prefix length, as in 10.0.0.0/8");
    let range: IpNet = text.parse().map_err(|_| invalid())?;
    if range.trunc() != range {
        return Err(format!("{range} has bits set behind its prefix; write {} or a longer prefix", range.trunc()));
    }
    if address::is_never_admitted(&range) {
        return Err(format!(
            "{range} is never dialled, whatever is listed (metadata services, multicast, unspecified and embedding \
             addresses); remove it"
        ));
    }
    Ok(range)
}

fn digest_of(parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
