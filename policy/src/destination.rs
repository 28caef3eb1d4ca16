//! The canonical form of where a request goes: scheme, host, port.
//!
//! Every name is parsed here once. What the policy judges is what is dialled, so the raw text of an authority
//! never leaves this module.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use thiserror::Error;

/// The longest name that DNS can carry, in bytes, without the final dot (RFC 1035 3.1).
const MAX_NAME_BYTES: usize = 253;
/// The longest label of a name, in bytes (RFC 1035 3.1).
const MAX_LABEL_BYTES: usize = 63;

/// A host in canonical form: lower case, A-labels, no trailing dot; or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A DNS name: labels of `a-z`, `0-9`, `-` and `_`, at most 253 bytes.
    Name(Arc<str>),
    /// An IP literal, v4 in dotted form or v6 without brackets and zone.
    Address(IpAddr),
}

impl Host {
    /// Parses a host as a URI carries it: a name (U-labels or A-labels, any case, one trailing dot at most), an IPv4
    /// address in any of the forms that the WHATWG URL standard reads, or an IPv6 address in brackets.
    ///
    /// # Errors
    /// [`InvalidAuthority`] for anything that is none of these. Percent-encoding is not decoded but refused.
    pub fn parse(text: &str) -> Result<Self, InvalidAuthority> {
        if text.contains('%') {
            return Err(InvalidAuthority::Host);
        }
        match url::Host::parse(text).map_err(|_| InvalidAuthority::Host)? {
            url::Host::Ipv4(address) => Ok(Self::from(address)),
            url::Host::Ipv6(address) => Ok(Self::from(address)),
            url::Host::Domain(name) => Self::from_canonical_name(&name),
        }
    }

    fn from_canonical_name(name: &str) -> Result<Self, InvalidAuthority> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let fits = name.len() <= MAX_NAME_BYTES && name.split('.').all(is_label);
        fits.then(|| Self::Name(name.into())).ok_or(InvalidAuthority::Host)
    }

    /// The DNS name, if this is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(_) => None,
        }
    }

    /// The IP literal, if this is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::Address(address) => Some(*address),
        }
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= MAX_LABEL_BYTES
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_')
}

impl From<Ipv4Addr> for Host {
    fn from(address: Ipv4Addr) -> Self {
        Self::Address(address.into())
    }
}

impl From<Ipv6Addr> for Host {
    fn from(address: Ipv6Addr) -> Self {
        Self::Address(address.into())
    }
}

/// As a URI writes it: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// How the origin is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP over TLS.
    Https,
    /// HTTP in the clear.
    Http,
}

impl Scheme {
    /// The port that a URI of this scheme means when it names none.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }

    /// As a URI writes it, without the colon.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

/// A host and, where it was written, a port: the authority of RFC 9110 4.2 without userinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The canonical host.
    pub host: Host,
    /// The port as written, never 0; `None` where the text named none.
    pub port: Option<u16>,
}

impl Authority {
    /// Parses `host`, `host:port`, `[v6]` or `[v6]:port`.
    ///
    /// # Errors
    /// [`InvalidAuthority`] where there is userinfo, a port outside 1 to 65535 or with anything but digits, or no
    /// valid host.
    pub fn parse(text: &str) -> Result<Self, InvalidAuthority> {
        if text.contains('@') {
            return Err(InvalidAuthority::Userinfo);
        }
        let host_end = if text.starts_with('[') { text.find(']').map_or(text.len(), |end| end + 1) } else { 0 };
        let (host, port) = match text[host_end..].find(':') {
            Some(colon) => (&text[..host_end + colon], Some(parse_port(&text[host_end + colon + 1..])?)),
            None => (text, None),
        };
        Ok(Self { host: Host::parse(host)?, port })
    }

    /// Whether this names `destination`; a missing port means the default of the destination's scheme.
    #[must_use]
    pub fn names(&self, destination: &Destination) -> bool {
        self.host == destination.host && self.port.unwrap_or(destination.scheme.default_port()) == destination.port
    }
}

fn parse_port(text: &str) -> Result<u16, InvalidAuthority> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidAuthority::Port);
    }
    text.parse().ok().filter(|port| *port != 0).ok_or(InvalidAuthority::Port)
}

/// Why a text is not an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidAuthority {
    /// The host is neither a DNS name nor an address.
    #[error("the host is neither a DNS name nor an IP address")]
    Host,
    /// The port is missing where one is needed, or is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// There is a `user@` part, which an authority of HTTP must not have (RFC 9110 4.2.4).
    #[error("user information before the host is not allowed")]
    Userinfo,
}

/// Where a request goes. The only thing that a front door makes; all checks and the dialling start from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// How the origin is spoken to.
    pub scheme: Scheme,
    /// The canonical host.
    pub host: Host,
    /// The port, 1 to 65535.
    pub port: u16,
}

/// `host:port`, and without the port where it is the scheme's own: what a `Host` field carries.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.port == self.scheme.default_port() {
            self.host.fmt(f)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Option<String> {
        Host::parse(text).ok().map(|host| host.to_string())
    }

    #[test]
    fn one_name_has_one_form() {
        for text in ["Bücher.example", "xn--bcher-kva.example", "BÜCHER.example.", "bücher\u{ff0e}example"] {
            assert_eq!(host(text).as_deref(), Some("xn--bcher-kva.example"), "{text}");
        }
    }

    #[test]
    fn legacy_ipv4_forms_become_the_address_that_they_mean() {
        for text in ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1"] {
            assert_eq!(host(text).as_deref(), Some("127.0.0.1"), "{text}");
        }
    }

    #[test]
    fn names_that_are_not_names_are_refused() {
        for text in
            ["", ".", "a..b", "a%2eb", "a\0b", "a b", "a/b", "a,b", "*.a", "a..", "::1", "[::1", "[fe80::1%eth0]"]
        {
            assert_eq!(host(text), None, "{text:?}");
        }
        assert_eq!(host(&"a".repeat(64)), None);
        assert_eq!(host(&vec!["a".repeat(63); 4].join(".")), None);
    }

    #[test]
    fn underscores_are_part_of_names() {
        assert_eq!(host("_acme.Example.com").as_deref(), Some("_acme.example.com"));
    }

    #[test]
    fn ports_are_plain_numbers() {
        for text in ["a:0", "a:65536", "a:-1", "a:", "a:443x", "a:+443", "a:1:2", "[::1]443", "[::1]x:443"] {
            assert!(Authority::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Authority::parse("[::1]:8443").map(|a| (a.host.to_string(), a.port)),
            Ok(("[::1]".into(), Some(8443)))
        );
        assert_eq!(Authority::parse("a.test").map(|a| a.port), Ok(None));
    }

    #[test]
    fn user_information_is_refused() {
        for text in ["user@allowed.com:443", "allowed.com@evil.com"] {
            assert_eq!(Authority::parse(text), Err(InvalidAuthority::Userinfo), "{text}");
        }
    }
}
