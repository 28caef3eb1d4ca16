//! From single destinations to the rules of one policy: what only shows when destinations stand side by side.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::destination::Scheme;
use crate::document::Placed;
use crate::pattern::HostPattern;
use crate::problem::Problems;
use crate::rule::Rule;

/// Shares the rules, and reports ids that stand twice and destinations of which no one could say which answers.
pub(crate) fn rules(destinations: Vec<Placed>, problems: &mut Problems) -> Vec<Arc<Rule>> {
    refuse_repeated_ids(&destinations, problems);
    refuse_overlaps(&destinations, problems);
    destinations.into_iter().map(|placed| Arc::new(placed.rule)).collect()
}

fn refuse_repeated_ids(destinations: &[Placed], problems: &mut Problems) {
    let mut lines = HashMap::new();
    for placed in destinations {
        match lines.entry(&placed.rule.id) {
            Entry::Vacant(vacant) => drop(vacant.insert(placed.id_line)),
            Entry::Occupied(first) => {
                let message = format!("the id {} is taken on line {}; write another", placed.rule.id, first.get());
                problems.add(placed.id_line, format!("{}.id", placed.path), message);
            }
        }
    }
}

fn refuse_overlaps(destinations: &[Placed], problems: &mut Problems) {
    let mut owners: HashMap<(&HostPattern, Scheme, u16), &Placed> = HashMap::new();
    for placed in destinations {
        let rule = &placed.rule;
        let mut clash = None;
        for port in &rule.ports {
            let owner = owners.entry((&rule.pattern, rule.scheme, *port)).or_insert(placed);
            if !std::ptr::eq(*owner, placed) {
                clash = clash.or(Some((*owner, *port)));
            }
        }
        if let Some((owner, port)) = clash {
            let message = format!(
                "{}://{}:{port} is also the destination {} on line {}; exactly one may answer, so join the two",
                rule.scheme.as_str(),
                rule.pattern,
                owner.rule.id,
                owner.host_line
            );
            problems.add(placed.host_line, format!("{}.host", placed.path), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Policy;

    fn errors_of(destinations: &str) -> String {
        let text = format!("version: 1\ndestinations:\n{destinations}");
        Policy::parse(text.as_bytes()).map_or_else(|errors| errors.to_string(), |_| String::new())
    }

    #[test]
    fn an_id_stands_once() {
        let errors = errors_of("- {id: a, host: a.test}\n- {id: a, host: b.test}\n");
        assert_eq!(errors, "line 4: destinations[1].id: the id a is taken on line 3; write another");
    }

    #[test]
    fn two_destinations_with_a_common_host_port_and_scheme_are_refused() {
        for (one, two) in [
            ("host: a.test", "host: A.test."),
            ("host: '*.a.test'", "host: '*.a.test'"),
            ("host: a.test, ports: [443, 8443]", "host: a.test, ports: [8443, 9443]"),
            ("host: '::1'", "host: '[0::1]'"),
            ("host: 127.0.0.1", "host: 127.1"),
        ] {
            let errors = errors_of(&format!("- {{id: one, {one}}}\n- {{id: two, {two}}}\n"));
            assert!(errors.starts_with("line 4: destinations[1].host: https://"), "{one} and {two}: {errors}");
            assert!(errors.contains("the destination one on line 3"), "{errors}");
        }
    }

    #[test]
    fn destinations_that_differ_in_host_port_or_scheme_stand_side_by_side() {
        for (one, two) in [
            ("host: a.test", "host: '*.a.test'"),
            ("host: '*.a.test'", "host: '*.b.a.test'"),
            ("host: a.test", "host: a.test, ports: [8443]"),
            ("host: a.test, ports: [80]", "host: a.test, scheme: http"),
        ] {
            assert_eq!(errors_of(&format!("- {{id: one, {one}}}\n- {{id: two, {two}}}\n")), "", "{one} and {two}");
        }
    }
}
