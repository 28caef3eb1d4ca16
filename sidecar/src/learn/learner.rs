//! From observations to what a policy has to allow: each request is counted once, when it ended, and under what became of
//! it. Never takes what was refused for an address, or what failed, for something to allow.

use std::collections::{BTreeMap, HashMap};

use http::Method;
use sandgate_policy::address;
use sandgate_policy::destination::{Destination, Host, Scheme};
use sandgate_policy::{Outcome, Policy};

use super::lacking::lacks;
use super::observation::{Observation, Source};
use super::seen::{Place, Seen};
use crate::audit::{Kind, Verdict};
use crate::refusal::Code;
use crate::summary::Advice;

/// The most requests whose end is waited for. Without an end they are learnt too: a stream may be open still.
const MAX_PENDING: usize = 4_096;
/// The most reasons and hosts that are told apart.
const MAX_NOTES: usize = 1_000;
/// The most private addresses of one host for which something was refused.
const MAX_REMEDIES: usize = 8;
/// The code of a host to which there were tunnels, and no request in them.
pub(super) const NO_REQUEST: &str = "no_request";
/// The code of a request whose end did not come, to a host of which nothing else is known: it may not have been reached.
pub(super) const NOT_ENDED: &str = "not_ended";
/// The code of a method or target that no entry can name: `*`.
pub(super) const UNNAMED: &str = "no_entry_can_name_it";
/// The code of a request of audit mode whose end hides what the policy would have said, and whose decision is not there.
pub(super) const DECISION_MISSING: &str = "decision_missing";
/// The code of a passthrough to a host that is intercepted too.
pub(super) const ALSO_PASSTHROUGH: &str = "also_passthrough";

/// What a policy says of a request that it does not allow.
const OF_POLICY: [Code; 5] =
    [Code::HostNotAllowed, Code::PortNotAllowed, Code::RequestNotAllowed, Code::RequestDenied, Code::BadPath];

/// Collects what was asked for, beside what a policy allows already.
#[derive(Debug)]
pub(super) struct Learner {
    base: Policy,
    /// What is to be allowed.
    pub(super) seen: Seen,
    /// What a policy refused, and this one would too.
    pub(super) refused: Seen,
    /// How often something came to nothing: by `host:port` and code.
    pub(super) notes: BTreeMap<(Box<str>, &'static str), u64>,
    /// What would admit the private addresses for which something was refused, by `host:port`.
    pub(super) remedies: BTreeMap<Box<str>, Vec<Advice>>,
    /// `host:port` of tunnels, under no code, and how often anything was seen in one of them.
    tunnels: BTreeMap<(Box<str>, &'static str), u64>,
    pending: HashMap<(Source, u64), Observation>,
}

impl Learner {
    /// Begins with what `base` allows already.
    pub(super) fn new(base: Policy) -> Self {
        Self {
            base,
            seen: Seen::default(),
            refused: Seen::default(),
            notes: BTreeMap::new(),
            remedies: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            pending: HashMap::new(),
        }
    }

    /// Whether `base` is the policy that was judged by while it was learnt.
    pub(super) fn knows(&self, base: &Policy) -> bool {
        self.base.digest() == base.digest()
    }

    /// Takes one observation in. `source` tells the requests of one sidecar from those of another.
    pub(super) fn add(&mut self, source: &str, observation: Observation) {
        let is_connect = observation.method == Some(Method::CONNECT) && observation.request.is_none();
        if is_connect && observation.verdict != Verdict::Denied {
            self.tunnel(&observation, false);
            return;
        }
        self.tunnel(&observation, true);
        match (observation.kind, observation.request) {
            (_, None) if observation.verdict == Verdict::Denied => self.refuse(&observation),
            (_, None) => self.pass_through(&observation),
            (Kind::Decision, _) if observation.verdict == Verdict::Denied => self.refuse(&observation),
            (Kind::Decision, Some(request)) => self.wait_for(source, request, observation),
            (Kind::Request | Kind::TunnelEnd, Some(request)) => {
                let decided = self.pending.remove(&(source.into(), request)).and_then(|decision| decision.code);
                self.settle(&observation, decided);
            }
        }
    }

    /// Learns what has not ended.
    pub(super) fn finish(&mut self) {
        for decision in std::mem::take(&mut self.pending).into_values() {
            self.settle_unended(&decision);
        }
        for ((authority, _), used) in std::mem::take(&mut self.tunnels) {
            if used == 0 {
                self.note(authority, NO_REQUEST);
            }
        }
    }

    fn wait_for(&mut self, source: &str, request: u64, decision: Observation) {
        if self.pending.len() < MAX_PENDING {
            // The same number again is that of a sidecar that was started again, and whose old requests never ended.
            let lost = self.pending.insert((source.into(), request), decision);
            if let Some(lost) = lost {
                self.settle_unended(&lost);
            }
        } else {
            self.seen.left_out += 1;
        }
    }

    /// Nobody knows whether it was sent; but it was asked of a host that others reached, or that the policy lists.
    fn settle_unended(&mut self, decision: &Observation) {
        let is_known = decision.destination().is_some_and(|destination| {
            self.seen.places.contains_key(&Place::from(&destination))
                || self.base.judge_request(&destination, &Method::GET, "/").rule.is_some()
        });
        if is_known {
            self.settle_as(decision, decision.code, true);
        } else {
            self.note(authority_of(decision), NOT_ENDED);
        }
    }

    /// Notes a tunnel, or what was seen in one.
    fn tunnel(&mut self, observation: &Observation, was_used: bool) {
        let (Some(host), Some(port)) = (&observation.host, observation.port) else { return };
        if !self.allows_tunnel(host, port) {
            count(&mut self.tunnels, (authority_of(observation), ""), u64::from(was_used));
        }
    }

    fn allows_tunnel(&self, host: &Host, port: u16) -> bool {
        self.base.judge_connect(host, port).outcome == Outcome::Allow
    }

    /// A request ended. `decided` is what its decision said that the policy would have refused it with.
    fn settle(&mut self, observation: &Observation, decided: Option<Code>) {
        // Whoever goes away has asked all the same: so does every reader of an endless stream.
        let was_sent = observation.code == Some(Code::ClientClosed) && observation.was_dialled;
        let worked = observation.verdict != Verdict::Denied && (observation.answered || was_sent);
        let is_of_policy = |code: Code| OF_POLICY.contains(&code);
        if worked && observation.verdict == Verdict::Audited && !decided.or(observation.code).is_some_and(is_of_policy)
        {
            return self.note(authority_of(observation), DECISION_MISSING);
        }
        self.settle_as(observation, decided.or(observation.code), worked);
    }

    fn settle_as(&mut self, observation: &Observation, code: Option<Code>, worked: bool) {
        let mut path = observation.path.clone();
        if code == Some(Code::BadPath) {
            // A line does not show all of a path; the policy saw it.
            path.template = None;
        }
        if !worked {
            self.remedy(observation);
            let code = observation.code.or(code).map_or("unknown", Code::as_str);
            return self.note(authority_of(observation), code);
        }
        // Whoever wrote a deny list meant it.
        if code == Some(Code::RequestDenied) {
            return self.note(authority_of(observation), Code::RequestDenied.as_str());
        }
        let Some(destination) = observation.destination() else { return };
        if !can_be_named(observation) {
            return self.note(authority_of(observation), UNNAMED);
        }
        match lacks(&self.base, &destination, observation.method.as_ref(), &path) {
            Some(Code::RequestDenied) => self.note(authority_of(observation), Code::RequestDenied.as_str()),
            Some(_) => {
                self.seen.add(Place::from(&destination), observation.method.as_ref(), &path, &observation.origin);
            }
            // It is allowed as long as no list of paths joins those of its destination.
            None => {
                self.reach(&destination, observation);
                if path.template.is_none()
                    && path.text != "*"
                    && let Some(asked) = self.seen.at(Place::from(&destination))
                {
                    asked.unjudged = true;
                }
            }
        }
    }

    /// What is allowed may still lack the range of the address that it led to.
    fn reach(&mut self, destination: &Destination, observation: &Observation) {
        let rule = self.base.judge_connect(&destination.host, destination.port);
        let rule = if destination.scheme == Scheme::Http { rule.http } else { rule.https };
        let listed = rule.as_ref().map_or(&[][..], |rule| &rule.private_cidrs);
        if observation.origin.iter().any(|origin| address::judge(*origin, listed).is_err())
            && let Some(asked) = self.seen.at(Place::from(destination))
        {
            asked.reached_at(&observation.origin);
        }
    }

    fn pass_through(&mut self, observation: &Observation) {
        // Without TLS there is none: no sidecar writes such a line.
        let destination = observation.destination().filter(|destination| destination.scheme == Scheme::Https);
        let Some(destination) = destination else { return };
        if !observation.was_dialled {
            return self.note(authority_of(observation), observation.code.map_or("unknown", Code::as_str));
        }
        let known = self.base.judge_connect(&destination.host, destination.port).https;
        match known.map(|rule| rule.tls) {
            None => {
                if let Some(asked) = self.seen.at(Place::from(&destination)) {
                    asked.tunnels += 1;
                    asked.reached_at(&observation.origin);
                }
            }
            Some(sandgate_policy::Tls::Intercept) => self.note(authority_of(observation), ALSO_PASSTHROUGH),
            Some(sandgate_policy::Tls::Passthrough { .. }) => self.reach(&destination, observation),
        }
    }

    /// Something was refused: by a policy that may be changed, or for another reason.
    fn refuse(&mut self, observation: &Observation) {
        let by_absence = [Code::HostNotAllowed, Code::PortNotAllowed, Code::RequestNotAllowed];
        let code = observation.code.filter(|code| by_absence.contains(code));
        let (Some(_), Some(host), Some(port)) = (code, &observation.host, observation.port) else {
            self.remedy(observation);
            let code = observation.code.map_or("unknown", Code::as_str);
            return self.note(authority_of(observation), code);
        };
        let Some(destination) = observation.destination() else {
            // A CONNECT does not say what comes in its tunnel.
            let scheme = if port == Scheme::Http.default_port() { Scheme::Http } else { Scheme::Https };
            if !self.allows_tunnel(host, port)
                && let Some(asked) = self.refused.at(Place::new(host, port, scheme))
            {
                asked.tunnels += 1;
            }
            return;
        };
        if !can_be_named(observation) {
            return self.note(authority_of(observation), UNNAMED);
        }
        match lacks(&self.base, &destination, observation.method.as_ref(), &observation.path) {
            None => {}
            Some(Code::RequestDenied) => self.note(authority_of(observation), Code::RequestDenied.as_str()),
            Some(_) => {
                self.refused.add(Place::from(&destination), observation.method.as_ref(), &observation.path, &[]);
            }
        }
    }

    /// Notes what would have admitted the address of a refused request.
    fn remedy(&mut self, observation: &Observation) {
        let Some(remedy) = &observation.remedy else { return };
        let authority = authority_of(observation);
        if self.remedies.len() < MAX_NOTES || self.remedies.contains_key(&authority) {
            let remedies = self.remedies.entry(authority).or_default();
            if remedies.len() < MAX_REMEDIES && !remedies.contains(remedy) {
                remedies.push(remedy.clone());
            }
        }
    }

    fn note(&mut self, authority: Box<str>, code: &'static str) {
        if !count(&mut self.notes, (authority, code), 1) {
            self.seen.left_out += 1;
        }
    }
}

/// Whether an entry can be written for it: a policy has no way to write a method `*`, and `*` in place of a path goes with
/// OPTIONS alone (RFC 9112 3.2.4).
fn can_be_named(observation: &Observation) -> bool {
    let is = |known: &str| observation.method.as_ref().is_some_and(|method| method.as_str() == known);
    !is("*") && (observation.path.text != "*" || is(Method::OPTIONS.as_str()))
}

/// Counts under a key, unless there are too many; `false` then.
fn count(counts: &mut BTreeMap<(Box<str>, &'static str), u64>, key: (Box<str>, &'static str), more: u64) -> bool {
    let is_room = counts.len() < MAX_NOTES || counts.contains_key(&key);
    if is_room {
        *counts.entry(key).or_default() += more;
    }
    is_room
}

/// `host:port`, as far as it is known.
fn authority_of(observation: &Observation) -> Box<str> {
    let host = observation.host.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
    match observation.port {
        Some(port) => format!("{host}:{port}").into(),
        None => host.into(),
    }
}
