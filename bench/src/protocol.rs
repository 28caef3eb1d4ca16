//! The versions of HTTP that are measured, each with an origin of its own that speaks no other.

use std::fmt;
use std::net::Ipv4Addr;

use crate::names::DOMAIN;

/// A version of HTTP, the same between client and proxy and between proxy and origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    pub(crate) const ALL: [Self; 2] = [Self::Http1, Self::Http2];

    /// Its name in ALPN (RFC 7301).
    pub(crate) fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }

    /// What names of its origin begin with.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Http1 => "h1",
            Self::Http2 => "h2",
        }
    }

    /// That of the origin with such a host.
    pub(crate) fn of(host: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| host.starts_with(protocol.prefix()))
    }

    /// Where its origin listens.
    pub(crate) fn origin(self) -> Ipv4Addr {
        match self {
            Self::Http1 => Ipv4Addr::new(127, 0, 0, 1),
            Self::Http2 => Ipv4Addr::new(127, 0, 0, 2),
        }
    }

    /// The host that is asked again and again.
    pub(crate) fn host(self) -> String {
        format!("{}.{DOMAIN}", self.prefix())
    }

    /// A host of its own; the same label is the same host.
    pub(crate) fn host_labelled(self, label: &str) -> String {
        format!("{}-{label}.{DOMAIN}", self.prefix())
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
    }
}
