//! The policy that `--allow` and `--private-cidr` of `run` make, as text, and its warnings in terms of these flags.

use std::fmt::{self, Write};

use ipnet::IpNet;
use sandgate_policy::destination::Scheme;
use sandgate_policy::pattern::HostPattern;
use sandgate_policy::{Policy, Problem};

/// One `--allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    scheme: Scheme,
    pattern: HostPattern,
    port: u16,
}

/// As it may be given.
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, pattern, port } = self;
        let scheme_text = if *scheme == Scheme::Http { "http://" } else { "" };
        write!(f, "{scheme_text}{pattern}")?;
        if *port == scheme.default_port() { Ok(()) } else { write!(f, ":{port}") }
    }
}

impl Allowed {
    /// Parses `HOST[:PORT]`, with `http://` before it for plain HTTP.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(value: &str) -> Result<Self, String> {
        let (scheme, rest) = match value.split_once("://") {
            None => (Scheme::Https, value),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            Some((other, _)) => return Err(format!("{value:?}: {other}:// is not known; use https:// or http://")),
        };
        if rest.contains('/') {
            return Err(format!("{value:?} has a path: paths need a policy file (--policy)"));
        }
        let (pattern, port) = HostPattern::parse_with_port(rest)?;
        Ok(Self { scheme, pattern, port: port.unwrap_or(scheme.default_port()) })
    }
}

/// A policy as a user would write it, so that everything which reads it is the same as for a file.
pub(super) fn policy_text(destinations: &[Allowed], ranges: &[IpNet]) -> String {
    let mut policy = "version: 1\ndestinations:\n".to_owned();
    let ranges = ranges.iter().map(|range| format!("\"{range}\"")).collect::<Vec<_>>().join(", ");
    for (index, allowed) in destinations.iter().enumerate() {
        let _ = write!(
            policy,
            "  - id: allow-{}\n    host: \"{}\"\n    scheme: {}\n    ports: [{}]\n",
            index + 1,
            allowed.pattern,
            allowed.scheme.as_str(),
            allowed.port
        );
        if !ranges.is_empty() {
            let _ = writeln!(policy, "    private_cidrs: [{ranges}]");
        }
    }
    policy
}

/// The warnings of the text, in terms of the flags that it was made of.
pub(super) fn warnings(text: &str, destinations: &[Allowed]) -> Vec<String> {
    // A text that is no policy is an error elsewhere.
    let Ok(policy) = Policy::parse(text.as_bytes()) else { return Vec::new() };
    let of_flag = |warning: &Problem| {
        let (id, _) = warning.field.split_once('.')?;
        let index = policy.rules().iter().position(|rule| *rule.id == *id)?;
        let message = warning.message.replace("private_cidrs", "--private-cidr");
        Some(format!("--allow {}: {message}", destinations.get(index)?))
    };
    policy.warnings().iter().filter_map(of_flag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(hosts: &[&str], ranges: &[&str]) -> String {
        let hosts: Vec<_> = hosts.iter().map(|host| Allowed::parse(host).unwrap()).collect();
        policy_text(&hosts, &ranges.iter().map(|range| range.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn each_allowed_host_becomes_a_destination() {
        assert_eq!(
            policy(&["origin.test:8443", "*.Example.com"], &["127.0.0.0/8", "fd00::/8"]),
            r#"version: 1
destinations:
  - id: allow-1
    host: "origin.test"
    scheme: https
    ports: [8443]
    private_cidrs: ["127.0.0.0/8", "fd00::/8"]
  - id: allow-2
    host: "*.example.com"
    scheme: https
    ports: [443]
    private_cidrs: ["127.0.0.0/8", "fd00::/8"]
"#
        );
    }

    #[test]
    fn the_policy_is_a_valid_one() {
        let text =
            policy(&["a.test", "a.test:8443", "http://a.test", "[::1]:8443", "10.0.0.1", "*.a.test"], &["10.0.0.0/8"]);
        let policy = Policy::parse(text.as_bytes()).unwrap();
        assert_eq!(policy.rules().len(), 6);
        assert!(policy.rules().iter().all(|rule| rule.private_cidrs == ["10.0.0.0/8".parse().unwrap()]));
    }

    #[test]
    fn what_is_warned_of_names_the_flag_and_no_line() {
        let hosts = ["a.test", "http://a.test", "http://b.test:18080", "10.0.0.5:8443"];
        let hosts = hosts.map(|host| Allowed::parse(host).unwrap());
        let plain = "http is neither encrypted nor authenticated on its way to the origin";
        assert_eq!(
            warnings(&policy_text(&hosts, &[]), &hosts),
            [
                format!("--allow http://a.test: {plain}"),
                format!("--allow http://b.test:18080: {plain}"),
                "--allow 10.0.0.5:8443: 10.0.0.5 is not globally reachable, so it is refused until --private-cidr lists it"
                    .to_owned(),
            ]
        );
    }

    #[test]
    fn plain_http_has_its_own_port() {
        let allowed = Allowed::parse("http://a.test").unwrap();
        assert_eq!((allowed.scheme, allowed.port), (Scheme::Http, 80));
        assert_eq!(Allowed::parse("https://a.test").unwrap(), Allowed::parse("a.test:443").unwrap());
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in
            ["", "*", "*.", "a.test/path", "ftp://a.test", "a.test:0", "user@a.test", "*.127.0.0.1", "a\"b", "*.*.a"]
        {
            assert!(Allowed::parse(text).is_err(), "{text}");
        }
    }
}
