//! What is reached without the proxy on the way to origins, as `NO_PROXY` lists it. Resolves no name.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use sandgate_policy::address;
use sandgate_policy::destination::{Authority, Destination, Host};

/// Destinations that are reached without the proxy, as `NO_PROXY` names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direct {
    hosts: DirectHosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum DirectHosts {
    All,
    /// This name and every name below it.
    Name(Arc<str>),
    /// Every name below this one.
    Below(Arc<str>),
    /// IP literals. A name is never looked up for this.
    Addresses(IpNet),
}

impl Direct {
    /// As [`Self::of_variable`], but a range with bits set behind its prefix is likely a slip, and refused.
    ///
    /// # Errors
    /// What was expected.
    pub fn of_setting(text: &str) -> Result<Self, String> {
        match text.parse::<IpNet>() {
            Ok(range) if range != range.trunc() => {
                Err(format!("{range} has bits set behind its prefix; write {} or a longer prefix", range.trunc()))
            }
            _ => Self::of_variable(text),
        }
    }

    /// Parses `name`, `.suffix`, `*.suffix`, an address, a range of addresses, or `*` for everything; with `:port`
    /// behind a name or address for that port alone.
    ///
    /// # Errors
    /// What was expected.
    pub fn of_variable(text: &str) -> Result<Self, String> {
        let whole = |hosts| Ok(Self { hosts, port: None });
        if text == "*" {
            return whole(DirectHosts::All);
        }
        if let Ok(range) = text.parse::<IpNet>() {
            return whole(DirectHosts::Addresses(range.trunc()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return whole(DirectHosts::Addresses(address::plain(address).into()));
        }
        // A URL's host may leave numbers of an address out; here it is more likely a range that lacks its prefix.
        if text.contains('.') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(format!(
                "\"{text}\" is no whole address; write all four numbers, or a range such as 10.0.0.0/8"
            ));
        }
        let suffix = text.strip_prefix("*.").or_else(|| text.strip_prefix('.'));
        let hosts_and_port = Authority::parse(suffix.unwrap_or(text)).ok().and_then(|authority| {
            let hosts = match (authority.host, suffix) {
                (Host::Name(name), None) => DirectHosts::Name(name),
                (Host::Name(name), Some(_)) => DirectHosts::Below(name),
                (Host::Address(address), None) => DirectHosts::Addresses(address::plain(address).into()),
                (Host::Address(_), Some(_)) => return None,
            };
            Some(Self { hosts, port: authority.port })
        });
        let expected = "a name, .suffix, address or range such as 10.0.0.0/8; :port behind a name or address is that port \
                        alone";
        hosts_and_port.ok_or_else(|| format!("\"{text}\" is not {expected}"))
    }

    /// Whether the destination is one of these.
    #[must_use]
    pub fn has(&self, destination: &Destination) -> bool {
        let below = |name: &str, suffix: &str| name.strip_suffix(suffix).is_some_and(|labels| labels.ends_with('.'));
        let is_host = match (&self.hosts, &destination.host) {
            (DirectHosts::All, _) => true,
            (DirectHosts::Name(own), Host::Name(name)) => own == name || below(name, own),
            (DirectHosts::Below(suffix), Host::Name(name)) => below(name, suffix),
            (DirectHosts::Addresses(range), Host::Address(address)) => range.contains(&address::plain(*address)),
            _ => false,
        };
        is_host && self.port.is_none_or(|port| port == destination.port)
    }
}

#[cfg(test)]
mod tests {
    use sandgate_policy::destination::Scheme;

    use super::*;

    fn direct(entry: &str, host: &str, port: u16) -> bool {
        let destination = Destination { scheme: Scheme::Https, host: Host::parse(host).unwrap(), port };
        Direct::of_variable(entry).unwrap().has(&destination)
    }

    #[test]
    fn a_name_is_itself_and_what_is_below_it_and_a_suffix_only_the_latter() {
        for (entry, host, expected) in [
            ("corp.test", "corp.test", true),
            ("Corp.Test.", "a.b.corp.test", true),
            ("corp.test", "evilcorp.test", false),
            (".corp.test", "a.corp.test", true),
            ("*.corp.test", "a.corp.test", true),
            (".corp.test", "corp.test", false),
            (".corp.test", "evilcorp.test", false),
            ("localhost", "localhost", true),
            ("*", "any.test", true),
            ("*", "10.0.0.1", true),
        ] {
            assert_eq!(direct(entry, host, 443), expected, "{entry} {host}");
        }
    }

    #[test]
    fn addresses_and_ranges_are_those_of_literals() {
        for (entry, host, expected) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "[::ffff:10.0.0.1]", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("::1", "[::1]", true),
            ("fd00::/8", "[fd00::1]", true),
            ("[fd00::1]:443", "[fd00::1]", true),
            ("10.0.0.0/8", "ten.test", false),
        ] {
            assert_eq!(direct(entry, host, 443), expected, "{entry} {host}");
        }
    }

    #[test]
    fn what_is_nearly_an_address_or_a_range_is_refused_with_what_to_write() {
        for text in ["10.0.0", "10.", "10.0.0.0.0", "10.0.0.256", ".10"] {
            let error = Direct::of_setting(text).unwrap_err();
            assert!(error.contains(text) && error.contains("all four numbers"), "{error}");
        }
        let error = Direct::of_setting("10.0.0.1/8").unwrap_err();
        assert!(error.contains("10.0.0.1/8 has bits set") && error.contains("write 10.0.0.0/8"), "{error}");
        assert!(Direct::of_setting("10.0.0.0/8").is_ok() && Direct::of_setting("10.test").is_ok());
    }

    #[test]
    fn a_port_is_that_port_alone() {
        assert!(direct("corp.test:8443", "corp.test", 8443) && direct("10.0.0.1:8443", "10.0.0.1", 8443));
        assert!(!direct("corp.test:8443", "corp.test", 443) && !direct("10.0.0.1:8443", "10.0.0.1", 443));
        for text in
            ["corp.test:0", "10.0.0.0/33", "10.0.0.0/8:80", "http://corp.test", "a b", "", ".", ".10.0.0.1", "<local>"]
        {
            assert!(Direct::of_variable(text).is_err(), "{text}");
        }
    }
}
