//! The bytes of a policy file: every problem has its line, and no host is allowed that a plain reading of the rules does
//! not allow. What is refused has an addition that would allow it.

use std::cmp::Reverse;

use http::Method;
use sandgate_policy::destination::{Destination, Host, Scheme};
use sandgate_policy::pattern::HostPattern;
use sandgate_policy::{Addition, Mode, Outcome, Policy, PolicyErrors, Rule};

/// More rules than this cost time and show nothing new.
const MAX_RULES: usize = 20;
/// Asked of every policy, beside what its own hosts suggest.
const HOSTS: [&str; 6] = ["allowed.com", "evil.test", "evilallowed.com", "127.0.0.1", "[::1]", "com"];
/// Likewise.
const PORTS: [u16; 4] = [22, 80, 443, 8443];

/// Checks one input.
pub(crate) fn check(input: &[u8]) {
    match Policy::parse(input) {
        Ok(policy) => decides_as_its_rules_say(&policy),
        Err(errors) => names_lines_of_the_file(input, &errors),
    }
}

fn names_lines_of_the_file(input: &[u8], errors: &PolicyErrors) {
    // YAML ends a line at LF, CR or both.
    let lines = 1 + input.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    assert!(!errors.0.is_empty(), "a refused policy has a problem");
    for problem in &errors.0 {
        assert!((1..=lines).contains(&problem.line), "the line is in the file: {problem}");
        assert!(!problem.message.is_empty(), "a problem says what it is");
    }
}

fn decides_as_its_rules_say(policy: &Policy) {
    for host in probes(policy) {
        let own = policy.rules().iter().take(MAX_RULES).flat_map(|rule| rule.ports.iter().take(2).copied());
        for port in own.chain(PORTS) {
            agrees(policy, &host, port);
        }
    }
}

/// Hosts that are about to match: those of the rules, and the tricks that are played with them.
fn probes(policy: &Policy) -> Vec<Host> {
    let own = policy.rules().iter().take(MAX_RULES).flat_map(|rule| {
        let name = rule.pattern.to_string();
        let name = name.trim_start_matches("*.");
        [
            name.to_owned(),
            format!("a.{name}"),
            format!("evil{name}"),
            format!("{name}.evil.test"),
            format!("a.b.{name}"),
        ]
    });
    own.chain(HOSTS.map(str::to_owned)).filter_map(|text| Host::parse(&text).ok()).collect()
}

fn agrees(policy: &Policy, host: &Host, port: u16) {
    let mut connects = false;
    for scheme in [Scheme::Https, Scheme::Http] {
        let expected = naive_rule(policy.rules().iter().map(|rule| &**rule), host, port, scheme);
        connects |= expected.is_some();
        let destination = Destination { scheme, host: host.clone(), port };
        let verdict = policy.judge_request(&destination, &Method::GET, "/");
        assert_eq!(verdict.rule.as_deref().map(|rule| &rule.id), expected.map(|rule| &rule.id), "{destination:?}");
        assert!(expected.is_some() || refused(policy, verdict.outcome), "{destination:?} has no rule");
        if expected.is_none() && port == scheme.default_port() {
            let addition = policy.addition_for_request(&destination, &Method::GET, "/", &verdict);
            addition.inspect(|addition| helps(policy, &destination, addition));
        }
    }
    let outcome = policy.judge_connect(host, port).outcome;
    assert_eq!(outcome == Outcome::Allow, connects, "CONNECT {host}:{port}");
    assert!(connects || refused(policy, outcome), "CONNECT {host}:{port} has no rule");
}

/// Its id is free and it clashes with no other, so that it is enough to look at it alone.
fn helps(policy: &Policy, to: &Destination, addition: &Addition) {
    let text = format!("version: 1\ndestinations:\n  {}\n", addition.yaml());
    let alone = Policy::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{text}{errors}"));
    assert_eq!(alone.judge_request(to, &Method::GET, "/").outcome, Outcome::Allow, "{text}");
    let added = &alone.rules()[0];
    let clashes = |rule: &Rule| {
        let same_place = rule.pattern == added.pattern && rule.scheme == added.scheme && rule.ports.contains(&to.port);
        rule.id == added.id || same_place
    };
    assert!(!policy.rules().iter().any(|rule| clashes(rule)), "{text}");
}

fn refused(policy: &Policy, outcome: Outcome) -> bool {
    match policy.mode() {
        Mode::Enforce => matches!(outcome, Outcome::Deny(_)),
        Mode::Audit => matches!(outcome, Outcome::Audit(_)),
    }
}

/// The rule that answers, looked for in all of them: the exact host, else the longest suffix.
fn naive_rule<'a>(rules: impl Iterator<Item = &'a Rule>, host: &Host, port: u16, scheme: Scheme) -> Option<&'a Rule> {
    rules
        .filter(|rule| rule.scheme == scheme && rule.ports.contains(&port) && naive_match(&rule.pattern, host))
        .min_by_key(|rule| match &rule.pattern {
            HostPattern::Exact(_) => (0, Reverse(0)),
            HostPattern::Below(suffix) => (1, Reverse(suffix.len())),
        })
}

fn naive_match(pattern: &HostPattern, host: &Host) -> bool {
    match pattern {
        HostPattern::Exact(exact) => exact.to_string() == host.to_string(),
        HostPattern::Below(suffix) => host.name().is_some_and(|name| name.ends_with(&format!(".{suffix}"))),
    }
}
