//! The host of a destination: one host, or everything below a name. Matching is by whole labels, never by text.

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::destination::{Authority, Host};

/// Which hosts a destination is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host alone.
    Exact(Host),
    /// Every name below this one, at any depth, and not the name itself. Never an address.
    Below(Arc<str>),
}

impl HostPattern {
    /// Parses `host`, `*.suffix` or an IP literal (IPv6 with or without brackets) into canonical form.
    ///
    /// # Errors
    /// What is wrong and what to write instead, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self::Exact(address.into()));
        }
        match Self::parse_with_port(text)? {
            (pattern, None) => Ok(pattern),
            (_, Some(port)) => Err(format!("a host has no port; write ports: [{port}] beside it")),
        }
    }

    /// Parses `HOST[:PORT]`, where `HOST` is as [`Self::parse`] reads it, but for IPv6, which needs its brackets.
    ///
    /// # Errors
    /// What is wrong and what to write instead, as a sentence.
    pub fn parse_with_port(text: &str) -> Result<(Self, Option<u16>), String> {
        let suffix = text.strip_prefix("*.");
        refuse_mistakes(text, suffix.unwrap_or(text))?;
        let authority = Authority::parse(suffix.unwrap_or(text)).map_err(|error| format!("{text:?}: {error}"))?;
        let pattern = match (suffix, authority.host) {
            (None, host) => Self::Exact(host),
            (Some(_), Host::Name(suffix)) => below(suffix)?,
            (Some(_), Host::Address(_)) => return Err(format!("{text:?}: a wildcard cannot stand before an address")),
        };
        Ok((pattern, authority.port))
    }

    /// Whether a host is meant.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match self {
            Self::Exact(exact) => exact == host,
            Self::Below(suffix) => host.name().is_some_and(|name| suffixes(name).any(|below| below == &**suffix)),
        }
    }
}

/// The names above a name, nearest first: `b.c` and `c` for `a.b.c`.
pub(crate) fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(dot, _)| &name[dot + 1..])
}

fn refuse_mistakes(text: &str, host: &str) -> Result<(), String> {
    if text == "*" || text == "*." {
        return Err("a bare * would allow every host; list the hosts, or write \"*.example.com\"".to_owned());
    }
    if host.contains('*') {
        return Err(format!("{text:?}: * stands only as the whole first label, as in \"*.example.com\""));
    }
    if text.contains("://") || text.contains('/') {
        return Err(format!("{text:?} is not a host; write the host alone, without scheme and path"));
    }
    Ok(())
}

fn below(suffix: Arc<str>) -> Result<HostPattern, String> {
    if is_public_suffix(&suffix) {
        return Err(format!(
            "*.{suffix} spans the sites of many owners, as {suffix} is a public suffix; write a name below it, as in \
             \"*.example.{suffix}\""
        ));
    }
    Ok(HostPattern::Below(suffix))
}

/// Whether names right below belong to different owners, by both sections of the public-suffix list
/// (publicsuffix.org/list). A top-level name that is not on the list counts as one, as the list's algorithm has it; so
/// does a name below which the list has a wildcard of its own, such as `kobe.jp`.
fn is_public_suffix(name: &str) -> bool {
    let any_child = format!("sandgate-probe.{name}");
    psl::suffix_str(name) == Some(name) || psl::suffix_str(&any_child) == Some(&any_child)
}

/// As the policy writes it.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(f),
            Self::Below(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap_or_else(|message| panic!("{text}: {message}"))
    }

    #[test]
    fn patterns_take_the_canonical_form_of_hosts() {
        for (text, canonical) in [
            ("API.GitHub.com.", "api.github.com"),
            ("*.Bücher.example", "*.xn--bcher-kva.example"),
            ("::1", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("127.1", "127.0.0.1"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(pattern(text).to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn a_wildcard_matches_whole_labels_below_its_suffix() {
        let pattern = pattern("*.allowed.com");
        for (host, expected) in [
            ("a.allowed.com", true),
            ("b.a.ALLOWED.com.", true),
            ("allowed.com", false),
            ("evilallowed.com", false),
            ("allowed.com.evil.com", false),
            ("com", false),
        ] {
            assert_eq!(pattern.matches(&Host::parse(host).unwrap()), expected, "{host}");
        }
    }

    #[test]
    fn wildcards_over_public_suffixes_are_refused_in_both_sections_of_the_list() {
        for text in [
            "*.com",
            "*.co.uk",
            "*.github.io",
            "*.kobe.jp",
            "*.x.kobe.jp",
            "*.test",
            "*.xn--p1ai",
            "*.公司.cn",
            "*.s3.amazonaws.com",
        ] {
            assert!(HostPattern::parse(text).is_err_and(|message| message.contains("public suffix")), "{text}");
        }
        for text in ["*.example.github.io", "*.example.co.uk", "*.city.kobe.jp", "*.example.test", "*.github.com"] {
            let _ = pattern(text);
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("*", "bare *"),
            ("*.", "bare *"),
            ("a.*.com", "whole first label"),
            ("*a.com", "whole first label"),
            ("*.*.com", "whole first label"),
            ("*.127.0.0.1", "before an address"),
            ("a.com:8443", "ports: [8443]"),
            ("https://a.com", "without scheme"),
            ("user@a.com", "user information"),
            ("", "neither"),
            ("a..b", "neither"),
            ("a%2eb", "neither"),
        ] {
            let message = HostPattern::parse(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn the_short_form_has_a_port() {
        for (text, host, port) in
            [("a.com", "a.com", None), ("*.b.com:8443", "*.b.com", Some(8443)), ("[::1]:80", "[::1]", Some(80))]
        {
            let (pattern, found) = HostPattern::parse_with_port(text).unwrap();
            assert_eq!((pattern.to_string().as_str(), found), (host, port));
        }
        assert!(HostPattern::parse_with_port("a.com:0").is_err());
    }
}
