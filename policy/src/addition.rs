//! The smallest addition to a policy that would allow what it refused: YAML to copy, and the place where it belongs. What
//! the policy refuses on purpose has none. Whoever was refused may read it, so it says nothing of other rules, and of a
//! request no more than the audit log would.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use ipnet::IpNet;

use crate::access::{Access, Finding};
use crate::destination::{Destination, Host, Scheme};
use crate::rule::Rule;
use crate::verdict::{Reason, Verdict};
use crate::{Policy, address, path};

/// The longest id of a destination, in bytes.
const MAX_ID_BYTES: usize = 63;
/// The longest method that is repeated, in bytes: clients may invent methods of any length.
const MAX_METHOD_BYTES: usize = 24;
/// A longer segment of a path is likely a token or an identifier, and becomes `*`, as in the audit log.
const MAX_SEGMENT_BYTES: usize = 24;
/// The longest glob before its end becomes `/**`, in bytes.
const MAX_GLOB_BYTES: usize = 200;
/// The most `*` before the end becomes `/**`: a glob has at most 16.
const MAX_WILDCARDS: usize = 14;
/// How many segments, none of them empty or with a `*`, stand before `/**`: a path that is odd enough to need it sooner
/// is not worth a rule that wide.
const MIN_SEGMENTS: usize = 4;

/// What to add to a policy, so that it allows one request or CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addition {
    /// A destination.
    Destination {
        /// An id that is free.
        id: String,
        /// Its host, port and scheme.
        destination: Destination,
        /// The address of its host that needs listing, as a range.
        range: Option<IpNet>,
    },
    /// An item of a rule's `allow`.
    Allow {
        /// The id of the rule.
        rule: Arc<str>,
        /// The method.
        method: Method,
        /// The glob for the path; `None` where no glob matches it, or the path is not judged.
        path: Option<String>,
    },
    /// An item of a rule's `private_cidrs`.
    Range {
        /// The id of the rule.
        rule: Arc<str>,
        /// One address, as a range.
        range: IpNet,
    },
    /// `ech: allow` in a rule that passes TLS through.
    Ech {
        /// The id of the rule.
        rule: Arc<str>,
    },
}

impl Addition {
    /// Where it belongs: `destinations`, or a field of the rule with this id, as in `github.allow`. A list that is not
    /// there yet is to be made.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Destination { .. } => "destinations".to_owned(),
            Self::Allow { rule, .. } => format!("{rule}.allow"),
            Self::Range { rule, .. } => format!("{rule}.private_cidrs"),
            Self::Ech { rule } => rule.to_string(),
        }
    }

    /// What to write there: one line of YAML, in ASCII, of at most 600 bytes.
    #[must_use]
    pub fn yaml(&self) -> String {
        match self {
            Self::Destination { id, destination, range } => destination_yaml(id, destination, *range),
            Self::Allow { method, path: Some(path), .. } => {
                format!("- {{methods: [{}], paths: [\"{path}\"]}}", scalar(method.as_str()))
            }
            Self::Allow { method, path: None, .. } => format!("- {{methods: [{}]}}", scalar(method.as_str())),
            Self::Range { range, .. } => format!("- {}", scalar(&range.to_string())),
            Self::Ech { .. } => "ech: allow".to_owned(),
        }
    }
}

impl Policy {
    /// What would allow a CONNECT that no rule answers for. Port 80 is for plain HTTP, which some clients tunnel too.
    #[must_use]
    pub fn addition_for_connect(&self, host: &Host, port: u16) -> Option<Addition> {
        let scheme = if port == Scheme::Http.default_port() { Scheme::Http } else { Scheme::Https };
        self.new_destination(&Destination { scheme, host: host.clone(), port }, host.address())
    }

    /// What would allow a request that was refused with `verdict`. `path` is as in [`Self::judge_request`]. `None` where
    /// the policy denies it on purpose, and where its method or path can't be repeated in a policy.
    #[must_use]
    pub fn addition_for_request(
        &self,
        destination: &Destination,
        method: &Method,
        path: &str,
        verdict: &Verdict,
    ) -> Option<Addition> {
        match (verdict.reason, &verdict.rule) {
            (Reason::NoHost | Reason::NoPort, _) => self.new_destination(destination, destination.host.address()),
            (Reason::Lists(Finding::NoAllowEntry), Some(rule)) => allow_entry(rule, method, path),
            (Reason::Lists(_), _) => None,
        }
    }

    /// What would admit an address of a host that is allowed otherwise, by `rule` or, in audit mode, by none. `None` for
    /// metadata services and for what is never dialled. A rule of the short form stands in no file and can list nothing:
    /// a policy file would need the whole destination.
    #[must_use]
    pub fn addition_for_address(
        &self,
        destination: &Destination,
        rule: Option<&Rule>,
        address: IpAddr,
    ) -> Option<Addition> {
        match rule {
            Some(rule) if rule.line > 0 => {
                Some(Addition::Range { rule: Arc::clone(&rule.id), range: range_of(address)? })
            }
            _ => self.new_destination(destination, Some(address)),
        }
    }

    /// A destination for exactly this. It clashes with no other: one with its host, port and scheme would have answered.
    fn new_destination(&self, destination: &Destination, address: Option<IpAddr>) -> Option<Addition> {
        let refused = address.filter(|address| address::judge(*address, &[]).is_err());
        let range = match refused {
            Some(address) => Some(range_of(address)?),
            None => None,
        };
        let addition = || Addition::Destination {
            id: self.free_id(destination, &|_| false),
            destination: destination.clone(),
            range,
        };
        (!self.is_absent()).then(addition)
    }

    /// An id that no rule has, and that is not taken otherwise: the host with what tells its destinations apart; the end of
    /// a long one.
    #[must_use]
    pub fn free_id(&self, destination: &Destination, is_taken: &dyn Fn(&str) -> bool) -> String {
        let Destination { scheme, host, port } = destination;
        let is_free = |id: &str| !self.index.has_id(id) && !is_taken(id);
        let allowed = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
        let host: String = host.to_string().trim_matches(['[', ']']).replace(|char| !allowed(char), "-");
        let mut suffix = if *scheme == Scheme::Http { "-http".to_owned() } else { String::new() };
        if *port != scheme.default_port() {
            let _ = write!(suffix, "-{port}");
        }
        let id =
            |suffix: &str| format!("{}{suffix}", &host[(host.len() + suffix.len()).saturating_sub(MAX_ID_BYTES)..]);
        let numbered = (2..).map(|number: usize| id(&format!("{suffix}-{number}")));
        std::iter::once(id(&suffix)).chain(numbered).find(|id| is_free(id)).unwrap_or_default()
    }
}

fn allow_entry(rule: &Rule, method: &Method, path: &str) -> Option<Addition> {
    let name = method.as_str();
    // A policy can't name the method `*`, and one reading of a path may be denied where another is only not allowed.
    if name.len() > MAX_METHOD_BYTES || name == "*" || rule.access.denies(method, path) {
        return None;
    }
    let path = if has_glob(&rule.access, path) { Some(glob(path)?) } else { None };
    Some(Addition::Allow { rule: Arc::clone(&rule.id), method: method.clone(), path })
}

/// Whether a glob can stand for the path: not for `*`, nor for one that is judged by its method alone as it is ambiguous.
fn has_glob(access: &Access, path: &str) -> bool {
    path != "*" && (access.judges_paths() || path::read(path).is_ok())
}

/// A glob for the path and, but for what may be secret or has no end, nothing else. Its characters need no escapes in
/// YAML's double quotes.
fn glob(path: &str) -> Option<String> {
    if path.is_empty() {
        return Some("/".to_owned());
    }
    let mut glob = String::new();
    for segment in path.split('/').skip(1) {
        let written = written(segment);
        let wildcards = glob.matches('*').count() + written.matches('*').count();
        if glob.len() + written.len() > MAX_GLOB_BYTES || wildcards > MAX_WILDCARDS {
            let named = glob.split('/').filter(|segment| !segment.is_empty() && !segment.contains('*')).count();
            glob.push_str("/**");
            return (named >= MIN_SEGMENTS).then_some(glob);
        }
        glob.push('/');
        glob.push_str(&written);
    }
    Some(glob)
}

/// A segment as a glob has it. Of a long one only the encoded slashes are left, which `*` does not match.
fn written(segment: &str) -> String {
    let mut written = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~%@!$&'()+,;=:".contains(&byte) {
            written.push(char::from(byte));
        } else {
            let _ = write!(written, "%{byte:02X}");
        }
    }
    if written.len() <= MAX_SEGMENT_BYTES {
        return written;
    }
    let slashes = written.matches("%2F").count() + written.matches("%2f").count();
    format!("*{}", "%2F*".repeat(slashes))
}

/// The address alone as a range, where a rule may list it.
fn range_of(address: IpAddr) -> Option<IpNet> {
    let may_be_listed = address::is_private(address) && !address::is_metadata(address);
    may_be_listed.then(|| address::plain(address).into())
}

fn destination_yaml(id: &str, destination: &Destination, range: Option<IpNet>) -> String {
    let Destination { scheme, host, port } = destination;
    let mut yaml = format!("- {{id: {}, host: {}", scalar(id), scalar(&host.to_string()));
    if *scheme == Scheme::Http {
        yaml.push_str(", scheme: http");
    }
    if *port != scheme.default_port() {
        let _ = write!(yaml, ", ports: [{port}]");
    }
    if let Some(range) = range {
        let _ = write!(yaml, ", private_cidrs: [{}]", scalar(&range.to_string()));
    }
    yaml.push('}');
    yaml
}

/// A text of an id, a host, a method or a range, none of which has a quote or a backslash, in quotes where YAML could take
/// it for something else.
#[must_use]
pub fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || "-_./".contains(char))
        && !text.eq_ignore_ascii_case("null");
    if is_plain { text.to_owned() } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "\
version: 1
destinations:
  - {id: api, host: api.test, allow: [{methods: [GET], paths: [/zen]}], deny: [{paths: ['/secret/**']}]}
  - {id: methods, host: methods.test, allow: [{methods: [GET]}]}
  - {id: taken.test, host: other.test}
  - {id: inner, host: inner.test}
";

    fn policy() -> Policy {
        Policy::parse(POLICY.as_bytes()).unwrap()
    }

    fn addition(url: &str, method: &str, path: &str) -> Option<(String, String)> {
        let (scheme, authority) = url.split_once("://").unwrap();
        let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
        let authority = crate::destination::Authority::parse(authority).unwrap();
        let port = authority.port.unwrap_or(scheme.default_port());
        let (destination, method) = (Destination { scheme, host: authority.host, port }, method.parse().unwrap());
        let policy = policy();
        let verdict = policy.judge_request(&destination, &method, path);
        assert!(verdict.outcome.denied().is_some(), "{url}");
        let addition = policy.addition_for_request(&destination, &method, path, &verdict);
        addition.map(|addition| (addition.place(), addition.yaml()))
    }

    #[test]
    fn a_host_that_is_not_listed_becomes_a_destination() {
        for (url, yaml) in [
            ("https://new.test", "- {id: new.test, host: new.test}"),
            ("https://new.test:8443", "- {id: new.test-8443, host: new.test, ports: [8443]}"),
            ("http://new.test", "- {id: new.test-http, host: new.test, scheme: http}"),
            ("http://new.test:81", "- {id: new.test-http-81, host: new.test, scheme: http, ports: [81]}"),
            ("https://api.test:444", "- {id: api.test-444, host: api.test, ports: [444]}"),
            ("https://taken.test", "- {id: taken.test-2, host: taken.test}"),
            ("https://null", "- {id: \"null\", host: \"null\"}"),
            ("https://_dns.test", "- {id: \"_dns.test\", host: \"_dns.test\"}"),
            ("https://192.0.9.1", "- {id: 192.0.9.1, host: 192.0.9.1}"),
            ("https://10.0.0.5", "- {id: 10.0.0.5, host: 10.0.0.5, private_cidrs: [10.0.0.5/32]}"),
            ("https://[fd00::5]", "- {id: fd00--5, host: \"[fd00::5]\", private_cidrs: [\"fd00::5/128\"]}"),
        ] {
            assert_eq!(addition(url, "GET", "/").unwrap(), ("destinations".to_owned(), yaml.to_owned()), "{url}");
        }
        let long = format!("{0}.{0}.{0}.example", "a".repeat(63));
        let (_, yaml) = addition(&format!("http://{long}:8080"), "GET", "/").unwrap();
        assert!(yaml.starts_with("- {id: aaa") && yaml.contains(".example-http-8080, host: aaa"), "{yaml}");
    }

    #[test]
    fn a_request_that_a_rule_does_not_list_becomes_an_item_of_its_allow_list() {
        let cut = format!("/{}", ["segment"; 30].join("/"));
        for (method, path, yaml) in [
            ("POST", "/v1/items", "- {methods: [POST], paths: [\"/v1/items\"]}"),
            ("GET", "", "- {methods: [GET], paths: [\"/\"]}"),
            ("GET", "/a*b/{c}//", "- {methods: [GET], paths: [\"/a%2Ab/%7Bc%7D//\"]}"),
            ("null", "/caf\u{e9}", "- {methods: [\"null\"], paths: [\"/caf%C3%A9\"]}"),
            ("!", "/@scope%2fname", "- {methods: [\"!\"], paths: [\"/@scope%2fname\"]}"),
            ("OPTIONS", "*", "- {methods: [OPTIONS]}"),
            ("GET", &format!("/a/{}/b", "s".repeat(25)), "- {methods: [GET], paths: [\"/a/*/b\"]}"),
            ("GET", "/hidden%2fhidden%2fhidden%2F!", "- {methods: [GET], paths: [\"/*%2F*%2F*%2F*\"]}"),
            ("GET", &cut, &format!("- {{methods: [GET], paths: [\"{}/**\"]}}", &cut[..200])),
        ] {
            let (place, found) = addition("https://api.test", method, path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!((place.as_str(), found.as_str()), ("api.allow", yaml));
        }
        let (place, yaml) = addition("https://methods.test", "POST", "/a/../b").unwrap();
        assert_eq!((place.as_str(), yaml.as_str()), ("methods.allow", "- {methods: [POST]}"));
    }

    #[test]
    fn an_address_of_the_short_form_needs_a_whole_destination() {
        let policy = Policy::from_allowed_domains("api.test:8443").unwrap();
        let host = Host::parse("api.test").unwrap();
        let to = Destination { scheme: Scheme::Https, host, port: 8443 };
        let verdict = policy.judge_request(&to, &Method::GET, "/");
        let addition =
            |address: &str| policy.addition_for_address(&to, verdict.rule.as_deref(), address.parse().unwrap());
        let found = addition("10.1.2.3").unwrap();
        let yaml = "- {id: api.test-8443, host: api.test, ports: [8443], private_cidrs: [10.1.2.3/32]}";
        assert_eq!((found.place().as_str(), found.yaml().as_str()), ("destinations", yaml));
        assert_eq!(addition("169.254.169.254"), None);
    }

    #[test]
    fn what_is_refused_on_purpose_or_cannot_be_written_has_none() {
        let no_end = format!("/{}", "a%2F".repeat(100));
        let (secret, slashes) = (format!("/{}", "a".repeat(25)).repeat(4), "%2F".repeat(70));
        let (unnamed, empty) = (format!("{secret}/{slashes}"), format!("/////{slashes}"));
        for (method, path) in [
            ("GET", "/secret/x"),
            ("GET", "/secret%2Fx"),
            ("GET", "/../x"),
            ("*", "/x"),
            ("METHODS-HAVE-24-BYTES-AT-MOST", "/x"),
            ("GET", &no_end),
            ("GET", &unnamed),
            ("GET", &empty),
        ] {
            assert_eq!(addition("https://api.test", method, path), None, "{method} {path}");
        }
        for host in ["169.254.169.254", "[::ffff:169.254.169.254]", "224.0.0.1", "0.0.0.0"] {
            assert_eq!(addition(&format!("https://{host}"), "GET", "/"), None, "{host}");
        }
        assert_eq!(Policy::deny_all().addition_for_connect(&Host::parse("a.test").unwrap(), 443), None);
    }

    #[test]
    fn a_private_address_becomes_an_item_of_the_rules_private_cidrs() {
        let policy = policy();
        let to = |host: &str| Destination { scheme: Scheme::Https, host: Host::parse(host).unwrap(), port: 443 };
        let written = |addition: Addition| (addition.place(), addition.yaml());
        let inner = policy.judge_connect(&to("inner.test").host, 443).https.unwrap();
        for (address, yaml) in
            [("10.1.2.3", "- 10.1.2.3/32"), ("::ffff:10.1.2.3", "- 10.1.2.3/32"), ("fd00::1", "- \"fd00::1/128\"")]
        {
            let addition = policy.addition_for_address(&to("inner.test"), Some(&inner), address.parse().unwrap());
            assert_eq!(written(addition.unwrap()), ("inner.private_cidrs".to_owned(), yaml.to_owned()));
        }
        let addition = policy.addition_for_address(&to("new.test"), None, "10.1.2.3".parse().unwrap()).unwrap();
        assert_eq!(addition.yaml(), "- {id: new.test, host: new.test, private_cidrs: [10.1.2.3/32]}");
        for address in ["169.254.169.254", "255.255.255.255"] {
            let address = address.parse().unwrap();
            assert_eq!(policy.addition_for_address(&to("inner.test"), Some(&inner), address), None);
        }
    }

    #[test]
    fn a_connect_to_port_80_is_for_plain_http() {
        let host = Host::parse("new.test").unwrap();
        let yaml = |port| policy().addition_for_connect(&host, port).unwrap().yaml();
        assert_eq!(yaml(80), "- {id: new.test-http, host: new.test, scheme: http}");
        assert_eq!(yaml(443), "- {id: new.test, host: new.test}");
    }
}
