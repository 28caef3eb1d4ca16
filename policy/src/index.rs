//! Finds the one rule that answers for a host, port and scheme. The cost depends on the labels of the host, not on
//! the number of rules, and nothing is allocated.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::destination::{Host, Scheme};
use crate::pattern::{HostPattern, suffixes};
use crate::rule::Rule;

/// Rules by host. Exact hosts and wildcards are apart, so that neither is mistaken for the other.
#[derive(Debug, Default)]
pub(crate) struct Index {
    exact: HashMap<Host, Slots>,
    below: HashMap<Arc<str>, Slots>,
    ids: HashSet<Arc<str>>,
}

/// The rules of one pattern, by port and scheme; sorted once all are in.
#[derive(Debug, Default)]
struct Slots(Vec<((u16, Scheme), Arc<Rule>)>);

impl Slots {
    fn find(&self, port: u16, scheme: Scheme) -> Option<&Arc<Rule>> {
        let wanted = slot_key(port, scheme);
        let found = self.0.binary_search_by_key(&wanted, |((port, scheme), _)| slot_key(*port, *scheme)).ok()?;
        Some(&self.0[found].1)
    }
}

fn slot_key(port: u16, scheme: Scheme) -> (u16, &'static str) {
    (port, scheme.as_str())
}

impl Index {
    /// Indexes rules of which no two have the same pattern, scheme and a common port.
    pub(crate) fn new(rules: &[Arc<Rule>]) -> Self {
        let mut index = Self::default();
        for rule in rules {
            index.ids.insert(Arc::clone(&rule.id));
            let slots = match &rule.pattern {
                HostPattern::Exact(host) => index.exact.entry(host.clone()).or_default(),
                HostPattern::Below(suffix) => index.below.entry(suffix.clone()).or_default(),
            };
            slots.0.extend(rule.ports.iter().map(|port| ((*port, rule.scheme), Arc::clone(rule))));
        }
        for slots in index.exact.values_mut().chain(index.below.values_mut()) {
            slots.0.sort_unstable_by_key(|((port, scheme), _)| slot_key(*port, *scheme));
        }
        index
    }

    /// The rule that answers: of all whose pattern, port and scheme match, the exact one, else the longest suffix.
    pub(crate) fn find(&self, host: &Host, port: u16, scheme: Scheme) -> Option<&Arc<Rule>> {
        self.candidates(host).find_map(|slots| slots.find(port, scheme))
    }

    /// Whether any pattern matches this host, on whatever port.
    pub(crate) fn knows(&self, host: &Host) -> bool {
        self.candidates(host).next().is_some()
    }

    /// Whether a rule has this id.
    pub(crate) fn has_id(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// The wildcard rules for the same scheme and port that a pattern takes hosts away from, longest suffix first.
    pub(crate) fn overridden<'a>(&'a self, rule: &'a Rule) -> impl Iterator<Item = &'a Arc<Rule>> {
        let name = match &rule.pattern {
            HostPattern::Exact(host) => host.name().unwrap_or_default(),
            HostPattern::Below(suffix) => suffix,
        };
        let slots = suffixes(name).filter_map(|suffix| self.below.get(suffix));
        slots.flat_map(|slots| rule.ports.iter().filter_map(|port| slots.find(*port, rule.scheme)))
    }

    /// What could match, best first: one look-up for the host and one for each of its suffixes.
    fn candidates<'a, 'h>(&'a self, host: &'h Host) -> impl Iterator<Item = &'a Slots> + use<'a, 'h> {
        let below = host.name().filter(|_| !self.below.is_empty()).into_iter().flat_map(suffixes);
        self.exact.get(host).into_iter().chain(below.filter_map(|suffix| self.below.get(suffix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;

    fn rules(count: usize) -> Vec<Arc<Rule>> {
        let list = |index| format!("host-{index}.example.com,*.below-{index}.example.com");
        let list: Vec<_> = (0..count).map(list).collect();
        Policy::from_allowed_domains(&list.join(",")).unwrap().rules().to_vec()
    }

    #[test]
    fn what_is_looked_at_does_not_grow_with_the_number_of_rules() {
        for count in [10, 10_000] {
            let index = Index::new(&rules(count));
            let looked_at = |host: &str| {
                let host = Host::parse(host).unwrap();
                index.candidates(&host).map(|slots| slots.0.len()).collect::<Vec<_>>()
            };
            assert_eq!(looked_at("host-7.example.com"), [1], "of {count}");
            assert_eq!(looked_at("a.b.below-3.example.com"), [1], "of {count}");
            assert!(looked_at("unknown.example.com").is_empty(), "of {count}");
        }
    }

    #[test]
    fn many_ports_of_one_host_are_found_by_port() {
        let list: Vec<_> = (1..=5_000).map(|port| format!("a.test:{port}")).collect();
        let policy = Policy::from_allowed_domains(&list.join(",")).unwrap();
        let index = Index::new(policy.rules());
        let host = Host::parse("a.test").unwrap();
        let found = |port, scheme| index.find(&host, port, scheme).map(|rule| rule.ports.clone());
        assert_eq!(found(4_711, Scheme::Https), Some(vec![4_711]));
        assert_eq!(found(5_001, Scheme::Https), None);
        assert_eq!(found(4_711, Scheme::Http), None);
    }
}
