//! The policy: an immutable snapshot that says where a program may go, and the only place that says so.
//!
//! It reads text and answers questions. It opens no file, resolves no name and keeps no state between requests, so that
//! whoever only validates a policy runs the code that judges by it, without the proxy.

pub mod access;
mod addition;
pub mod address;
mod code;
mod compile;
pub mod destination;
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
pub mod verdict;
mod warnings;
pub mod yaml;

use std::sync::Arc;

use aws_lc_rs::digest;
use http::Method;
use ipnet::IpNet;

pub use self::addition::{Addition, scalar};
pub use self::code::Code;
use self::destination::{Destination, Host, Scheme};
use self::document::Document;
use self::index::Index;
use self::problem::Problems;
pub use self::problem::{PolicyErrors, Problem};
pub use self::rule::{ClientCert, Ech, Limits, Rule, Tls, UpstreamHttp, UpstreamOptions};
pub use self::short::ForAll;
pub use self::verdict::{ConnectVerdict, Outcome, Reason, Verdict};

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
    absent: bool,
    mode: Mode,
    digest: String,
    rules: Vec<Arc<Rule>>,
    index: Index,
    warnings: Vec<Problem>,
}

impl Policy {
    /// Reads a policy file. Never panics, whatever the bytes.
    ///
    /// ```yaml
    /// version: 1
    /// mode: enforce               # or audit
    /// destinations:               # an empty list denies everything
    ///   - id: github              # unique; the name in logs and refusals
    ///     host: api.github.com    # or "*.github.com", or an IP literal
    ///     ports: [443]            # 443 for https and 80 for http, if left out
    ///     scheme: https           # or http
    ///     tls: intercept          # or passthrough, then without allow, deny, upstream and body_bytes
    ///     allow: [{methods: [GET, HEAD], paths: ["/repos/**"]}]
    ///     deny: [{methods: [DELETE]}, {paths: ["/repos/secret", "/repos/secret/**"]}]
    ///     private_cidrs: ["10.0.0.0/8"]
    ///     upstream: {ca: [/etc/extra.pem], client_cert: {certificate: /c.pem, key: /k.pem}, http: auto}
    ///     limits: {requests_per_second: 10, burst: 20, concurrent_requests: 5, body_bytes: 10MiB, idle: 30s}
    /// ```
    ///
    /// Left out, `mode` is `enforce`, `scheme` https, `tls` intercept, `ech` (beside a passthrough) `refuse`, and
    /// `upstream.http` auto (else "1.1" or "2"). One destination answers a request: of all with its host, port and
    /// scheme, the one with the exact host, else the one with the longest suffix. In it, deny comes before allow.
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
        let (digest, rules, index, warnings) = (digest_of(&[]), Vec::new(), Index::default(), Vec::new());
        Self { absent: true, mode, digest, rules, index, warnings }
    }

    /// Whether this is [`Self::deny_all`]: nothing was decided about any host, for there is no policy.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.absent
    }

    fn compile(document: Document, digest: String, mut problems: Problems) -> Result<Self, PolicyErrors> {
        let rules = compile::rules(document.destinations, &mut problems);
        let problems = problems.into_sorted();
        if !problems.is_empty() {
            return Err(PolicyErrors(problems));
        }
        let index = Index::new(&rules);
        let warnings = warnings::of(document.mode, &rules, &index);
        Ok(Self { absent: false, mode: document.mode, digest, rules, index, warnings })
    }

    /// Whether refusals are enforced.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The same rules in [`Mode::Audit`], whatever the source says: for whoever only watches what a program asks for.
    #[must_use]
    pub fn audited(self) -> Self {
        Self { mode: Mode::Audit, ..self }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(destinations: &str) -> Policy {
        let text = format!("version: 1\ndestinations:\n{destinations}");
        Policy::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn request(policy: &Policy, url: (Scheme, &str, u16), method: &str, path: &str) -> (Outcome, String) {
        let (scheme, host, port) = url;
        let destination = Destination { scheme, host: Host::parse(host).unwrap(), port };
        let verdict = policy.judge_request(&destination, &method.parse().unwrap(), path);
        (verdict.outcome, verdict.rule.map_or_else(String::new, |rule| rule.id.to_string()))
    }

    fn connect(policy: &Policy, host: &str, port: u16) -> Outcome {
        policy.judge_connect(&Host::parse(host).unwrap(), port).outcome
    }

    const CHOICE: &str = "\
- {id: all, host: '*.example.com', deny: [{methods: [DELETE]}]}
- {id: deep, host: '*.eu.example.com'}
- {id: api, host: api.example.com, allow: [{methods: [GET]}]}
- {id: api-alt, host: api.example.com, ports: [8443, 9443]}
- {id: api-plain, host: api.example.com, scheme: http}
- {id: odd, host: '*.example.com', ports: [8443]}
- {id: literal, host: '::1', ports: [443]}
";

    #[test]
    fn exactly_one_destination_answers_exact_before_wildcard_and_long_before_short() {
        use Scheme::{Http, Https};
        let policy = policy(CHOICE);
        for (url, rule) in [
            ((Https, "api.example.com", 443), "api"),
            ((Https, "API.example.com.", 8443), "api-alt"),
            ((Http, "api.example.com", 80), "api-plain"),
            ((Https, "a.example.com", 443), "all"),
            ((Https, "a.b.example.com", 443), "all"),
            ((Https, "a.eu.example.com", 443), "deep"),
            ((Https, "eu.example.com", 443), "all"),
            ((Https, "a.eu.example.com", 8443), "odd"),
            ((Https, "[::1]", 443), "literal"),
        ] {
            assert_eq!(request(&policy, url, "GET", "/").1, rule, "{url:?}");
        }
    }

    #[test]
    fn the_destination_that_answers_answers_alone() {
        let policy = policy(CHOICE);
        let url = (Scheme::Https, "api.example.com", 443);
        assert_eq!(request(&policy, url, "POST", "/"), (Outcome::Deny(Code::RequestNotAllowed), "api".into()));
        let url = (Scheme::Https, "api.example.com", 8443);
        assert_eq!(request(&policy, url, "DELETE", "/"), (Outcome::Allow, "api-alt".into()));
        let url = (Scheme::Https, "a.example.com", 443);
        assert_eq!(request(&policy, url, "DELETE", "/"), (Outcome::Deny(Code::RequestDenied), "all".into()));
    }

    #[test]
    fn hosts_and_ports_that_no_destination_has_are_denied() {
        let policy = policy(CHOICE);
        for host in
            ["example.com", "evilexample.com", "example.com.evil.com", "127.1", "2130706433", "0x7f.1", "[::2]", "com"]
        {
            assert_eq!(connect(&policy, host, 443), Outcome::Deny(Code::HostNotAllowed), "{host}");
        }
        for port in [22, 25, 444] {
            assert_eq!(connect(&policy, "api.example.com", port), Outcome::Deny(Code::PortNotAllowed), "{port}");
        }
        let url = (Scheme::Http, "a.example.com", 443);
        assert_eq!(request(&policy, url, "GET", "/").0, Outcome::Deny(Code::PortNotAllowed));
    }

    #[test]
    fn a_connect_finds_the_rules_of_both_schemes() {
        let policy = policy("- {id: s, host: a.test, ports: [80, 443]}\n- {id: p, host: a.test, scheme: http}\n");
        let verdict = |port| policy.judge_connect(&Host::parse("a.test").unwrap(), port);
        let ids =
            |verdict: ConnectVerdict| [verdict.https, verdict.http].map(|rule| rule.map(|rule| rule.id.to_string()));
        assert_eq!(ids(verdict(80)), [Some("s".into()), Some("p".into())]);
        assert_eq!(ids(verdict(443)), [Some("s".into()), None]);
        assert_eq!(verdict(8080).outcome, Outcome::Deny(Code::PortNotAllowed));
    }

    #[test]
    fn audit_lets_through_what_it_would_refuse_and_says_why() {
        let text = "version: 1\nmode: audit\ndestinations:\n- {id: a, host: a.test, allow: [{paths: [/x]}]}\n";
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let url = (Scheme::Https, "a.test", 443);
        assert_eq!(request(&policy, url, "GET", "/x").0, Outcome::Allow);
        assert_eq!(request(&policy, url, "GET", "/y").0, Outcome::Audit(Code::RequestNotAllowed));
        assert_eq!(request(&policy, url, "GET", "/../x").0, Outcome::Audit(Code::BadPath));
        assert_eq!(connect(&policy, "b.test", 443), Outcome::Audit(Code::HostNotAllowed));
        let enforced = text.replace("mode: audit\n", "");
        let policy = Policy::parse(enforced.as_bytes()).unwrap().audited();
        assert_eq!(request(&policy, url, "GET", "/y").0, Outcome::Audit(Code::RequestNotAllowed));
    }

    #[test]
    fn an_empty_list_denies_everything() {
        for policy in [
            Policy::deny_all(),
            Policy::from_allowed_domains(" , ").unwrap(),
            Policy::parse(b"version: 1\ndestinations: []\n").unwrap(),
        ] {
            assert_eq!(connect(&policy, "a.test", 443), Outcome::Deny(Code::HostNotAllowed));
        }
        assert!(Policy::deny_all().is_absent());
        assert!(!Policy::parse(b"version: 1\ndestinations: []\n").unwrap().is_absent());
        assert!(!Policy::from_allowed_domains("").unwrap().is_absent());
    }

    #[test]
    fn international_names_have_one_verdict() {
        let policy = policy("- {id: b, host: Bücher.example}\n");
        for host in ["xn--bcher-kva.example", "BÜCHER.example.", "bücher\u{ff0e}example"] {
            assert_eq!(connect(&policy, host, 443), Outcome::Allow, "{host}");
        }
    }

    #[test]
    fn the_digest_names_the_source() {
        let digest = |text: &str| Policy::parse(text.as_bytes()).unwrap().digest().to_owned();
        let (one, two) = (digest("version: 1\ndestinations: []\n"), digest("version: 1\ndestinations: [] \n"));
        assert_ne!(one, two);
        assert_eq!(Policy::deny_all().digest(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn ranges_that_mean_nothing_are_refused() {
        for (text, expected) in [
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("10.0.0.0", "as in 10.0.0.0/8"),
            ("10.0.0.0/33", "is not a range"),
            ("169.254.169.254/32", "never dialled"),
            ("fd00:ec2::254/128", "never dialled"),
            ("224.0.0.0/4", "never dialled"),
            ("::ffff:10.0.0.0/104", "never dialled"),
        ] {
            let message = private_cidr(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
        for text in ["10.0.0.0/8", "169.254.0.0/16", "::1/128", "fd00::/8", "0.0.0.0/0"] {
            assert_eq!(private_cidr(text).map(|range| range.to_string()), Ok(text.to_owned()));
        }
    }

    /// The lines of a CONNECT head as a client writes them, through the authority to the verdict.
    #[test]
    fn every_way_to_write_a_host_has_one_verdict() {
        let policy = policy(
            "- {id: a, host: allowed.com}\n- {id: w, host: '*.allowed.com'}\n- {id: i, host: bücher.example}\n\
             - {id: l, host: 10.0.0.1}\n",
        );
        let invalid = |text: &str| destination::Authority::parse(text).is_err();
        for text in [
            "user@allowed.com:443",
            "allowed.com@evil.com",
            "allowed.com:0",
            "allowed.com:65536",
            "allowed.com:-1",
            "allowed.com:",
            "allowed.com:443x",
            "evil.com%2e.allowed.com",
            "a%2eallowed.com",
            "evil.com\0.allowed.com",
            "a..allowed.com",
            ".allowed.com",
            "*.allowed.com",
            "allowed.com/",
            "allowed.com evil.com",
            "",
        ] {
            assert!(invalid(text), "{text:?} has to be 400");
        }
        let verdict = |text: &str| {
            let authority = destination::Authority::parse(text).unwrap();
            policy.judge_connect(&authority.host, authority.port.unwrap()).outcome
        };
        for text in [
            "evilallowed.com:443",
            "allowed.com.evil.com:443",
            "allowed.co:443",
            "0x7f.1:443",
            "2130706433:443",
            "127.1:443",
            "[::1]:443",
            "[::ffff:10.0.0.1]:443",
            "com:443",
        ] {
            assert_eq!(verdict(text), Outcome::Deny(Code::HostNotAllowed), "{text}");
        }
        for text in ["allowed.com:22", "allowed.com:25", "x.allowed.com:80", "10.0.0.1:80"] {
            assert_eq!(verdict(text), Outcome::Deny(Code::PortNotAllowed), "{text}");
        }
        for text in [
            "ALLOWED.com:443",
            "allowed.com.:443",
            "x.y.allowed.com:443",
            "BÜCHER.example:443",
            "0xa.1:443",
            "xn--bcher-kva.example.:443",
            "bücher\u{3002}example:443",
        ] {
            assert_eq!(verdict(text), Outcome::Allow, "{text}");
        }
    }

    #[test]
    fn the_file_may_come_from_any_editor() {
        for text in [
            "\u{feff}version: 1\ndestinations: []\n",
            "version: 1\r\ndestinations: []\r\n",
            "---\n{version: 1, destinations: []}",
        ] {
            Policy::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{text:?}: {errors}"));
        }
    }

    #[test]
    fn ten_thousand_destinations_are_read() {
        let destination = |n| format!("- {{id: d{n}, host: '*.h{n}.example.com', deny: [{{paths: [/a/**, /a]}}]}}\n");
        let list: String = (0..10_000).map(destination).collect();
        let policy = policy(&list);
        assert_eq!(policy.rules().len(), 10_000);
        assert_eq!(connect(&policy, "x.h9999.example.com", 443), Outcome::Allow);
    }

    /// A short run of what the fuzz target does at length.
    #[test]
    fn no_bytes_make_the_reader_panic() {
        let seed = format!("version: 1\nmode: audit\ndestinations:\n{CHOICE}").into_bytes();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        for _ in 0..3_000 {
            let mut text = seed.clone();
            for _ in 0..=random(4) {
                let at = random(text.len());
                match random(3) {
                    0 => text[at] = b"\n\t :-[]{}*&!|>'\"%@#?,\0\x80\xff9a"[random(26)],
                    1 => drop(text.drain(at..(at + random(40)).min(text.len()))),
                    _ => text.extend_from_within(at..),
                }
                if text.is_empty() {
                    break;
                }
            }
            let _ = Policy::parse(&text);
            let from = random(text.len() + 1);
            let piece = &text[from..(from + random(24)).min(text.len())];
            let _ = destination::Authority::parse(&String::from_utf8_lossy(piece));
        }
    }
}
