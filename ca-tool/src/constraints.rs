//! Name constraints of a CA (RFC 5280 4.2.1.10): drawn from a policy's hosts, read from a certificate, and judged.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::{CidrSubnet, GeneralSubtree};
use thiserror::Error;
use x509_parser::extensions::{GeneralName, GeneralSubtree as ParsedSubtree, NameConstraints as Parsed};

/// The most names that constraints are made from. Clients walk the list at each handshake, and webpki gives up when
/// a chain asks it for too many comparisons.
pub const MAX_NAMES: usize = 1_000;

/// The name that a leaf is made for: a canonical DNS name (lower case, A-labels, no final dot), or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum San<'a> {
    /// A DNS name, which becomes a dNSName.
    Dns(&'a str),
    /// An address, which becomes an iPAddress.
    Address(IpAddr),
}

impl fmt::Display for San<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Why no constraints can be made from a list of hosts.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConstraintsError {
    /// There are more than [`MAX_NAMES`].
    #[error("{count} names are too many for name constraints: at most 1000; list fewer hosts, or turn the option off")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A host is no name, wildcard or address.
    #[error("{host:?} is not a host: give a name (a.example), a wildcard (*.a.example) or an IP address")]
    BadHost {
        /// The host as it was given.
        host: String,
    },
}

/// Which names a CA may sign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameConstraints {
    permitted: Vec<Subtree>,
    excluded: Vec<Subtree>,
}

impl NameConstraints {
    /// Constraints that permit the given hosts: names, wildcards `*.suffix`, and IP literals (v6 with or without
    /// brackets). What has no host listed is excluded whole: IPv4, IPv6, and all of DNS, for a constraint on one kind
    /// of name says nothing of the others.
    ///
    /// A dNSName constraint covers the name and everything below it. So `a.example` also permits `x.a.example`, and
    /// `*.a.example` also permits `a.example`: X.509 can't say less, and the policy still judges each host.
    ///
    /// # Errors
    /// [`ConstraintsError`] for more than [`MAX_NAMES`] distinct names, and for what is no host.
    pub fn for_hosts<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Result<Self, ConstraintsError> {
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for host in hosts {
            let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
            if let Ok(address) = literal.parse::<IpAddr>() {
                addresses.insert(address);
            } else {
                names.insert(dns_subtree(host)?);
            }
        }
        let count = names.len() + addresses.len();
        if count > MAX_NAMES {
            return Err(ConstraintsError::TooMany { count });
        }
        let mut excluded = Vec::new();
        if names.is_empty() {
            // The empty name is a suffix of every name.
            excluded.push(Subtree::Dns(String::new()));
        }
        if !addresses.iter().any(IpAddr::is_ipv4) {
            excluded.push(Subtree::whole_family(Ipv4Addr::UNSPECIFIED.into()));
        }
        if !addresses.iter().any(IpAddr::is_ipv6) {
            excluded.push(Subtree::whole_family(Ipv6Addr::UNSPECIFIED.into()));
        }
        let permitted = names.into_iter().map(Subtree::Dns).chain(addresses.into_iter().map(Subtree::single)).collect();
        Ok(Self { permitted, excluded })
    }

    /// Whether a certificate for `name` stays within these constraints.
    #[must_use]
    pub fn permits(&self, name: San<'_>) -> bool {
        let mut same_kind = self.permitted.iter().filter(|subtree| subtree.is_kind_of(name)).peekable();
        let permitted = same_kind.peek().is_none() || same_kind.any(|subtree| subtree.covers(name));
        permitted && !self.excluded.iter().any(|subtree| subtree.covers(name))
    }

    /// What is permitted, as text: names, and addresses with their mask.
    pub fn permitted(&self) -> impl Iterator<Item = String> + '_ {
        self.permitted.iter().map(ToString::to_string)
    }

    /// What is excluded, as text.
    pub fn excluded(&self) -> impl Iterator<Item = String> + '_ {
        self.excluded.iter().map(ToString::to_string)
    }

    pub(crate) fn from_x509(parsed: &Parsed<'_>) -> Self {
        let read = |list: &Option<Vec<ParsedSubtree<'_>>>| {
            list.iter().flatten().map(|subtree| Subtree::from_x509(&subtree.base)).collect()
        };
        Self { permitted: read(&parsed.permitted_subtrees), excluded: read(&parsed.excluded_subtrees) }
    }

    pub(crate) fn to_rcgen(&self) -> rcgen::NameConstraints {
        let write = |list: &[Subtree]| list.iter().filter_map(Subtree::to_rcgen).collect();
        rcgen::NameConstraints { permitted_subtrees: write(&self.permitted), excluded_subtrees: write(&self.excluded) }
    }

    /// Whether every part of them is of a kind that this tool writes.
    pub(crate) fn can_be_made(&self) -> bool {
        self.permitted.iter().chain(&self.excluded).all(|subtree| subtree.to_rcgen().is_some())
    }

    /// Names that are likely permitted, to try the CA with: one inside each permitted subtree.
    pub(crate) fn samples(&self) -> impl Iterator<Item = String> + '_ {
        self.permitted.iter().filter_map(|subtree| match subtree {
            Subtree::Dns(name) if name.starts_with('.') => Some(format!("self-test{name}")),
            Subtree::Dns(name) => Some(name.clone()),
            Subtree::Network(address, _) => Some(address.to_string()),
            Subtree::Other(_) => None,
        })
    }
}

/// One subtree: a DNS suffix, a network with its mask, or a kind of name that no leaf of ours has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subtree {
    Dns(String),
    Network(IpAddr, IpAddr),
    Other(String),
}

impl Subtree {
    fn single(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Network(address, Ipv4Addr::BROADCAST.into()),
            IpAddr::V6(_) => Self::Network(address, Ipv6Addr::from_bits(u128::MAX).into()),
        }
    }

    fn whole_family(unspecified: IpAddr) -> Self {
        Self::Network(unspecified, unspecified)
    }

    fn is_kind_of(&self, name: San<'_>) -> bool {
        matches!((self, name), (Self::Dns(_), San::Dns(_)) | (Self::Network(..), San::Address(_)))
    }

    fn covers(&self, name: San<'_>) -> bool {
        match (self, name) {
            (Self::Dns(suffix), San::Dns(name)) => dns_covers(&suffix.to_ascii_lowercase(), name),
            (Self::Network(IpAddr::V4(network), IpAddr::V4(mask)), San::Address(IpAddr::V4(address))) => {
                network.to_bits() & mask.to_bits() == address.to_bits() & mask.to_bits()
            }
            (Self::Network(IpAddr::V6(network), IpAddr::V6(mask)), San::Address(IpAddr::V6(address))) => {
                network.to_bits() & mask.to_bits() == address.to_bits() & mask.to_bits()
            }
            _ => false,
        }
    }

    fn from_x509(name: &GeneralName<'_>) -> Self {
        match name {
            GeneralName::DNSName(name) => Self::Dns((*name).to_owned()),
            GeneralName::IPAddress(octets) => network(octets).unwrap_or_else(|| Self::Other(name.to_string())),
            other => Self::Other(other.to_string()),
        }
    }

    fn to_rcgen(&self) -> Option<GeneralSubtree> {
        match self {
            Self::Dns(name) => Some(GeneralSubtree::DnsName(name.clone())),
            Self::Network(IpAddr::V4(network), IpAddr::V4(mask)) => {
                Some(GeneralSubtree::IpAddress(CidrSubnet::V4(network.octets(), mask.octets())))
            }
            Self::Network(IpAddr::V6(network), IpAddr::V6(mask)) => {
                Some(GeneralSubtree::IpAddress(CidrSubnet::V6(network.octets(), mask.octets())))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Subtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) if name.is_empty() => f.write_str("every DNS name"),
            Self::Dns(name) => f.write_str(name),
            Self::Network(network, IpAddr::V4(mask)) => write!(f, "{network}/{}", mask.to_bits().count_ones()),
            Self::Network(network, IpAddr::V6(mask)) => write!(f, "{network}/{}", mask.to_bits().count_ones()),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// The dNSName that covers a host of the policy.
fn dns_subtree(host: &str) -> Result<String, ConstraintsError> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if is_dns_name(&name) { Ok(name) } else { Err(ConstraintsError::BadHost { host: host.to_owned() }) }
}

/// Whether `name` is a DNS name in ASCII without a final dot (RFC 1035 2.3.4; `_` as names in use have it).
pub(crate) fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // A last label of digits only is an address in one of its odd forms (WHATWG URL), never a name.
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    name.len() <= 253 && !numeric && name.split('.').all(label)
}

/// Whether a dNSName constraint covers `name`: the suffix itself and what is below it, or with a leading dot only what
/// is below it, as OpenSSL and webpki read it.
fn dns_covers(suffix: &str, name: &str) -> bool {
    match name.strip_suffix(suffix) {
        Some(rest) if suffix.is_empty() || suffix.starts_with('.') => !rest.is_empty(),
        Some(rest) => rest.is_empty() || rest.ends_with('.'),
        None => false,
    }
}

fn network(octets: &[u8]) -> Option<Subtree> {
    let (network, mask) = octets.split_at(octets.len() / 2);
    let address = |octets: &[u8]| match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    };
    Some(Subtree::Network(address(network)?, address(mask)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(hosts: &[&str], host: &str) -> bool {
        let constraints = NameConstraints::for_hosts(hosts.iter().copied()).unwrap();
        constraints.permits(host.parse().map_or(San::Dns(host), San::Address))
    }

    #[test]
    fn a_listed_name_is_permitted_with_what_is_below_it_on_label_boundaries() {
        assert!(permits(&["a.example"], "a.example"));
        assert!(permits(&["a.example"], "x.a.example"));
        assert!(!permits(&["a.example"], "xa.example"));
        assert!(!permits(&["a.example"], "example"));
        assert!(permits(&["*.a.example"], "x.a.example"));
    }

    #[test]
    fn an_address_family_with_none_listed_is_excluded_whole() {
        assert!(!permits(&["a.example"], "192.0.2.1"));
        assert!(!permits(&["a.example"], "2001:db8::1"));
        assert!(permits(&["192.0.2.1"], "192.0.2.1"));
        assert!(!permits(&["192.0.2.1"], "192.0.2.2"));
        assert!(!permits(&["192.0.2.1"], "2001:db8::1"));
        assert!(permits(&["[2001:db8::1]"], "2001:db8::1"));
    }

    #[test]
    fn with_only_addresses_listed_no_name_is_permitted() {
        assert!(!permits(&["192.0.2.1"], "a.example"));
        assert!(!permits(&[], "a.example"));
    }

    #[test]
    fn a_thousand_distinct_names_fit_and_one_more_is_an_error_that_says_so() {
        let hosts: Vec<String> = (0..=MAX_NAMES).map(|number| format!("h{number}.example")).collect();
        let twice = hosts[..MAX_NAMES].iter().chain(&hosts[..MAX_NAMES]);
        assert!(NameConstraints::for_hosts(twice.map(String::as_str)).is_ok());
        let error = NameConstraints::for_hosts(hosts.iter().map(String::as_str)).unwrap_err();
        assert_eq!(error, ConstraintsError::TooMany { count: 1_001 });
        assert!(error.to_string().contains("1001 names"), "{error}");
    }

    #[test]
    fn what_is_no_host_is_refused_by_name() {
        for host in ["", "*", "a..b", "a b", "exämple.de", "-a.example", "300.1.1.1", "a.*.b", ".a"] {
            let error = NameConstraints::for_hosts([host]).unwrap_err();
            assert_eq!(error, ConstraintsError::BadHost { host: host.to_owned() });
        }
    }
}
