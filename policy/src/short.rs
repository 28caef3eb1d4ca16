//! The short form of a policy: `a.com,*.b.com:8443`, for an environment variable or the command line. It says what a
//! file with those hosts would say, and no more.

use std::collections::HashSet;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::Mode;
use crate::access::Access;
use crate::destination::Scheme;
use crate::document::{Document, Placed};
use crate::pattern::HostPattern;
use crate::problem::Problems;
use crate::rule::{Limits, Rule, Tls, UpstreamOptions};

/// What holds for every destination of a short form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForAll {
    /// Ranges that may be dialled although they are not globally reachable.
    pub private_cidrs: Vec<IpNet>,
    /// Absolute paths of PEM files whose certificates are trusted beside the public roots.
    pub upstream_ca: Vec<PathBuf>,
}

/// Reads the list. Blanks around an item, empty items and repeated ones are ignored: none of them allows more.
pub(crate) fn read(list: &str, for_all: &ForAll, problems: &mut Problems) -> Document {
    let mut seen = HashSet::new();
    let mut destinations = Vec::new();
    for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match HostPattern::parse_with_port(item) {
            Ok((pattern, port)) => {
                let port = port.unwrap_or(Scheme::Https.default_port());
                if seen.insert((pattern.clone(), port)) {
                    destinations.push(placed(destinations.len() + 1, pattern, port, for_all));
                }
            }
            Err(message) => problems.add(0, "allowed domains", message),
        }
    }
    Document { mode: Mode::Enforce, destinations }
}

fn placed(number: usize, pattern: HostPattern, port: u16, for_all: &ForAll) -> Placed {
    let rule = Rule {
        id: format!("allowed-{number}").into(),
        line: 0,
        pattern,
        ports: vec![port],
        scheme: Scheme::Https,
        tls: Tls::Intercept,
        access: Access::default(),
        private_cidrs: for_all.private_cidrs.clone(),
        upstream: UpstreamOptions { ca: for_all.upstream_ca.clone(), ..UpstreamOptions::default() },
        limits: Limits::default(),
    };
    Placed { rule, path: format!("allowed[{}]", number - 1), id_line: 0, host_line: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;

    #[test]
    fn a_list_says_what_a_file_would() {
        let policy = Policy::from_allowed_domains("a.com, *.b.com:8443,,A.com.,[::1]:443").unwrap();
        let rules: Vec<_> = policy
            .rules()
            .iter()
            .map(|rule| (rule.id.to_string(), rule.pattern.to_string(), rule.ports.clone(), rule.tls))
            .collect();
        let expected = [("allowed-1", "a.com", 443), ("allowed-2", "*.b.com", 8443), ("allowed-3", "[::1]", 443)];
        let expected = expected.map(|(id, host, port)| (id.to_owned(), host.to_owned(), vec![port], Tls::Intercept));
        assert_eq!(rules, expected);
    }

    #[test]
    fn every_item_that_is_no_host_is_reported() {
        let errors = Policy::from_allowed_domains("*,*.com,a.com:0,ok.com,u@a.com").unwrap_err().to_string();
        assert_eq!(errors.lines().count(), 4, "{errors}");
        assert!(errors.starts_with("allowed domains: a bare *"), "{errors}");
    }

    #[test]
    fn options_hold_for_every_host() {
        let for_all =
            ForAll { private_cidrs: vec!["127.0.0.0/8".parse().unwrap()], upstream_ca: vec!["/ca.pem".into()] };
        let policy = Policy::from_allowed("a.test,b.test", &for_all).unwrap();
        for rule in policy.rules() {
            assert_eq!((&rule.private_cidrs, &rule.upstream.ca), (&for_all.private_cidrs, &for_all.upstream_ca));
        }
        assert_ne!(policy.digest(), Policy::from_allowed_domains("a.test,b.test").unwrap().digest());
    }
}
