//! Connections to origins: made once, checked, pooled and reused.
//!
//! A request gets a channel from [`Upstream::channel`]. It never sees an address or a TLS setting, and no channel is
//! shared between two profiles or two destinations.

mod attempts;
pub mod chain;
pub mod connect;
pub mod dial;
mod own_addresses;
pub mod pool;
pub mod profile;
mod proxy_auth;
pub mod socket;
pub mod tls;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use nix::errno::Errno;
use sandgate_policy::destination::Destination;
use sandgate_policy::{Addition, Policy, Rule};

use crate::refusal::Code;

pub use connect::Want;
pub use pool::{Channel, Http2Stream, Upstream};

/// Why an origin could not be reached, or not be spoken to.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The code that the client sees.
    pub code: Code,
    /// What went wrong, for the client's message: without secrets and without paths of the sidecar.
    pub detail: Arc<str>,
    /// The address, where one was dialled.
    pub address: Option<SocketAddr>,
    /// The address that must not be dialled, where that is what failed.
    pub refused: Option<IpAddr>,
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Self::new(code, "")
    }
}

/// Where a connection leads.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address that was dialled: the origin's own, or that of the upstream proxy.
    pub address: SocketAddr,
    /// The addresses that the policy has to admit for it: the one that was dialled, or all that the name has here where
    /// an upstream proxy dials.
    pub judged: Arc<[IpAddr]>,
    /// Whether an upstream proxy was dialled, and not the origin.
    pub is_proxy: bool,
}

impl Peer {
    /// The origin itself at this address.
    #[must_use]
    pub fn origin(address: SocketAddr) -> Self {
        Self { address, judged: Arc::new([address.ip()]), is_proxy: false }
    }
}

impl Failure {
    /// A failure before any address was dialled.
    pub fn new(code: Code, detail: impl Into<Arc<str>>) -> Self {
        Self { code, detail: detail.into(), address: None, refused: None }
    }

    /// An address that must not be dialled.
    #[must_use]
    pub fn address(code: Code, address: IpAddr) -> Self {
        Self { refused: Some(address), ..Self::new(code, format!("it resolves to {address}")) }
    }

    /// What could be added to the policy so that this does not fail again, if that is what it failed for.
    #[must_use]
    pub fn addition(&self, policy: &Policy, destination: &Destination, rule: Option<&Rule>) -> Option<Addition> {
        match (self.code, self.refused, rule) {
            (Code::AddressNotAllowed, Some(address), rule) => policy.addition_for_address(destination, rule, address),
            (Code::EchNotAllowed, _, Some(rule)) => Some(Addition::Ech { rule: Arc::clone(&rule.id) }),
            _ => None,
        }
    }

    /// The failure that an I/O error of a connection means.
    #[must_use]
    pub fn from_io(error: &io::Error) -> Self {
        let code = match error.kind() {
            _ if is_out_of_descriptors(error) => Code::Overloaded,
            io::ErrorKind::ConnectionRefused => Code::ConnectionRefused,
            io::ErrorKind::TimedOut => Code::ConnectTimeout,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                Code::UpstreamClosed
            }
            _ => Code::ConnectionFailed,
        };
        Self::new(code, error.to_string())
    }

    fn at(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }
}

/// Whether the process or the machine has no file descriptor left.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use sandgate_policy::destination::{Host, Scheme};
    use sandgate_policy::{Ech, Tls};

    use super::*;

    #[test]
    fn a_hidden_name_that_is_refused_can_be_allowed_in_its_rule() {
        let policy = |more: &str| {
            let text =
                format!("version: 1\ndestinations:\n  - id: pinned\n    host: a.test\n    tls: passthrough\n{more}");
            Policy::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
        };
        let to = Destination { scheme: Scheme::Https, host: Host::parse("a.test").unwrap(), port: 443 };
        let rule = |policy: &Policy| policy.judge_connect(&to.host, to.port).https.unwrap();
        let before = policy("");
        let failure = Failure::from(Code::EchNotAllowed);
        let addition = failure.addition(&before, &to, Some(&rule(&before))).unwrap();
        assert_eq!((addition.place(), addition.yaml()), ("pinned".to_owned(), "ech: allow".to_owned()));
        let after = policy(&format!("    {}\n", addition.yaml()));
        assert_eq!(rule(&after).tls, Tls::Passthrough { ech: Ech::Allow });
        assert_eq!(Failure::from(Code::SniMismatch).addition(&before, &to, Some(&rule(&before))), None);
    }
}
