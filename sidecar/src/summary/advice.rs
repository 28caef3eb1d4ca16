//! What to change so that `run` allows what was refused, in the terms of where its policy came from.

use ipnet::IpNet;
use sandgate_policy::Addition;
use sandgate_policy::destination::Scheme;
use serde::Serialize;

use crate::settings::PolicySource;

/// Where the policy of `run` came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Its own flags.
    #[default]
    Flags,
    /// The short form, `--allowed-domains`.
    Domains,
    /// A policy file.
    File,
    /// What is being learnt: nothing is refused but addresses.
    Learning,
}

impl From<&PolicySource> for Source {
    fn from(source: &PolicySource) -> Self {
        match source {
            PolicySource::Text(_) | PolicySource::None => Self::Flags,
            PolicySource::AllowedDomains(_) => Self::Domains,
            PolicySource::File(_) => Self::File,
            PolicySource::Learning { .. } => Self::Learning,
        }
    }
}

/// What to add, and to what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Advice {
    /// Flags of `run`, a host of the short form, or YAML of a policy.
    pub add: String,
    /// `run`, `allowed-domains`, the place in the policy, or [`OWN_FILE`].
    pub to: String,
}

impl Advice {
    /// The advice that an addition comes to; `None` where flags can't say it.
    #[must_use]
    pub(crate) fn of(addition: &Addition, source: Source) -> Option<Self> {
        let (add, to) = match source {
            Source::Flags => (flags(addition)?, "run".to_owned()),
            Source::Domains => domains(addition)?,
            Source::File => (addition.yaml(), addition.place()),
            // What the file says of its own destinations holds while learning too.
            Source::Learning => match addition {
                Addition::Destination { range, .. } => (private_cidr((*range)?), "run".to_owned()),
                Addition::Range { .. } => (addition.yaml(), addition.place()),
                Addition::Allow { .. } | Addition::Ech { .. } => return None,
            },
        };
        Some(Self { add, to })
    }
}

fn flags(addition: &Addition) -> Option<String> {
    match addition {
        Addition::Destination { destination, range, .. } => {
            let scheme = if destination.scheme == Scheme::Http { "http://" } else { "" };
            let range = range.map_or_else(String::new, |range| [" ", &private_cidr(range)].concat());
            Some(format!("--allow {}{range}", shell_word(&format!("{scheme}{destination}"))))
        }
        Addition::Range { range, .. } => Some(private_cidr(*range)),
        Addition::Allow { .. } | Addition::Ech { .. } => None,
    }
}

/// The flag of `run` that admits a private address.
fn private_cidr(range: IpNet) -> String {
    format!("--private-cidr {range}")
}

/// Where the short form can't say it.
const OWN_FILE: &str = "destinations of a policy file (--policy) in place of allowed-domains";

/// The short form knows HTTPS to public addresses alone; anything else needs a policy file.
fn domains(addition: &Addition) -> Option<(String, String)> {
    match addition {
        Addition::Destination { destination, range: None, .. } if destination.scheme == Scheme::Https => {
            Some((destination.to_string(), "allowed-domains".to_owned()))
        }
        Addition::Destination { .. } => Some((addition.yaml(), OWN_FILE.to_owned())),
        _ => None,
    }
}

/// Brackets of an IPv6 address are a pattern to a shell; nothing else in a destination means anything there.
fn shell_word(text: &str) -> String {
    if text.contains('[') { format!("'{text}'") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use sandgate_policy::destination::{Destination, Host};

    use super::*;

    fn destination(scheme: Scheme, host: &str, port: u16, range: Option<&str>) -> Addition {
        let destination = Destination { scheme, host: Host::parse(host).unwrap(), port };
        Addition::Destination { id: "new".to_owned(), destination, range: range.map(|range| range.parse().unwrap()) }
    }

    #[test]
    fn what_is_learnt_lacks_nothing_but_ranges() {
        let advice = |addition| Advice::of(&addition, Source::Learning).map(|it| (it.add, it.to));
        let range = Some(("--private-cidr fd00::1/128".to_owned(), "run".to_owned()));
        assert_eq!(advice(destination(Scheme::Https, "[fd00::1]", 443, Some("fd00::1/128"))), range);
        let of_the_file = Some(("- \"fd00::1/128\"".to_owned(), "a.private_cidrs".to_owned()));
        assert_eq!(advice(Addition::Range { rule: "a".into(), range: "fd00::1/128".parse().unwrap() }), of_the_file);
        assert_eq!(advice(destination(Scheme::Https, "a.test", 443, None)), None);
    }

    fn advice(addition: &Addition) -> [Option<String>; 3] {
        [Source::Flags, Source::Domains, Source::File].map(|source| Advice::of(addition, source).map(|it| it.add))
    }

    #[test]
    fn each_source_has_its_own_words_or_none() {
        let some = |text: &str| Some(text.to_owned());
        for (addition, expected) in [
            (
                destination(Scheme::Https, "a.test", 443, None),
                [some("--allow a.test"), some("a.test"), some("- {id: new, host: a.test}")],
            ),
            (
                destination(Scheme::Https, "a.test", 8443, None),
                [some("--allow a.test:8443"), some("a.test:8443"), some("- {id: new, host: a.test, ports: [8443]}")],
            ),
            (
                destination(Scheme::Http, "a.test", 80, None),
                [
                    some("--allow http://a.test"),
                    some("- {id: new, host: a.test, scheme: http}"),
                    some("- {id: new, host: a.test, scheme: http}"),
                ],
            ),
            (
                destination(Scheme::Https, "[fd00::1]", 8443, Some("fd00::1/128")),
                [
                    some("--allow '[fd00::1]:8443' --private-cidr fd00::1/128"),
                    some("- {id: new, host: \"[fd00::1]\", ports: [8443], private_cidrs: [\"fd00::1/128\"]}"),
                    some("- {id: new, host: \"[fd00::1]\", ports: [8443], private_cidrs: [\"fd00::1/128\"]}"),
                ],
            ),
            (
                Addition::Range { rule: "a".into(), range: "10.0.0.1/32".parse().unwrap() },
                [some("--private-cidr 10.0.0.1/32"), None, some("- 10.0.0.1/32")],
            ),
            (Addition::Ech { rule: "a".into() }, [None, None, some("ech: allow")]),
        ] {
            assert_eq!(advice(&addition), expected);
        }
        let to = |scheme| Advice::of(&destination(scheme, "a.test", 443, None), Source::Domains).map(|it| it.to);
        assert_eq!(to(Scheme::Https).as_deref(), Some("allowed-domains"));
        assert!(to(Scheme::Http).unwrap().contains("a policy file (--policy) in place of"));
    }
}
