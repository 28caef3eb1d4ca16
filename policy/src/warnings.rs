//! What a valid policy may do that its author did not mean. Nothing here changes a verdict.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Mode;
use crate::access::Entry;
use crate::address;
use crate::destination::Scheme;
use crate::index::Index;
use crate::pattern::HostPattern;
use crate::problem::{Problem, Problems};
use crate::rule::{Ech, Rule, Tls};

/// Every warning, by line. Fields are named by the id of their rule.
pub(crate) fn of(mode: Mode, rules: &[Arc<Rule>], index: &Index) -> Vec<Problem> {
    let mut warnings = Problems::default();
    if mode == Mode::Audit {
        warnings.add(0, "mode", "audit refuses nothing by policy; it only logs what enforce would refuse");
    }
    if rules.is_empty() {
        warnings.add(0, "destinations", "the list is empty, so every host is denied");
    }
    for rule in rules {
        passthrough(rule, &mut warnings);
        plain_http(rule, &mut warnings);
        addresses(rule, &mut warnings);
        lists(rule, &mut warnings);
    }
    deny_out_of_reach(rules, index, &mut warnings);
    warnings.into_sorted()
}

fn warn(rule: &Rule, field: &str, message: impl Into<String>, warnings: &mut Problems) {
    warnings.add(rule.line, format!("{}.{field}", rule.id), message);
}

fn passthrough(rule: &Rule, warnings: &mut Problems) {
    let Tls::Passthrough { ech } = rule.tls else { return };
    let message = "passthrough leaves the origin's certificate and the names in its requests unchecked; whoever answers \
                   for this host, a shared front end among them, may lead to other hosts";
    warn(rule, "tls", message, warnings);
    if ech == Ech::Allow {
        let message = "the name that the origin sees may be hidden, and is then not the one that was judged";
        warn(rule, "ech", message, warnings);
    }
}

fn plain_http(rule: &Rule, warnings: &mut Problems) {
    if rule.scheme == Scheme::Http {
        warn(rule, "scheme", "http is neither encrypted nor authenticated on its way to the origin", warnings);
    }
}

fn addresses(rule: &Rule, warnings: &mut Problems) {
    for range in rule.private_cidrs.iter().filter(|range| range.prefix_len() == 0) {
        warn(rule, "private_cidrs", format!("{range} admits every private address; list what is needed"), warnings);
    }
    let HostPattern::Exact(host) = &rule.pattern else { return };
    let refused = host.address().filter(|address| address::judge(*address, &rule.private_cidrs).is_err());
    if let Some(address) = refused {
        let advice = if address::is_private(address) && !address::is_metadata(address) {
            "is not globally reachable, so it is refused until private_cidrs lists it"
        } else {
            "is never dialled, whatever is listed; remove this destination"
        };
        warn(rule, "host", format!("{address} {advice}"), warnings);
    }
}

fn lists(rule: &Rule, warnings: &mut Problems) {
    let deny = rule.access.deny();
    for entry in rule.access.allow().unwrap_or_default().iter().chain(deny) {
        let methods = entry.methods.iter().flatten().map(http::Method::as_str);
        for method in methods.filter(|method| method.bytes().any(|byte| byte.is_ascii_lowercase())) {
            let message = format!("{method} is not {}; methods are compared with case", method.to_ascii_uppercase());
            warnings.add(entry.line, format!("{}.methods", rule.id), message);
        }
    }
    for entry in deny {
        for parent in entry.paths.iter().flatten().filter_map(|glob| glob.as_str().strip_suffix("/**")) {
            if !parent.is_empty() && !denies(deny, entry, parent) {
                let message = format!("{parent}/** does not deny {parent} itself; list {parent} too if it should");
                warnings.add(entry.line, format!("{}.deny", rule.id), message);
            }
        }
    }
}

/// Whether some entry that denies what `entry` does, or more, has a glob that is or matches `path`.
fn denies(deny: &[Entry], entry: &Entry, path: &str) -> bool {
    let as_wide = |other: &&Entry| other.methods.is_none() || other.methods == entry.methods;
    let has_path = |other: &Entry| {
        let globs = other.paths.iter().flatten();
        other.paths.is_none() || globs.into_iter().any(|glob| glob.as_str() == path || glob.matches(path.as_bytes()))
    };
    deny.iter().filter(as_wide).any(has_path)
}

/// A deny list on a wildcard does not reach a host that another destination answers for.
fn deny_out_of_reach(rules: &[Arc<Rule>], index: &Index, warnings: &mut Problems) {
    let mut taken: HashMap<&str, (&Arc<Rule>, Vec<&Rule>)> = HashMap::new();
    for rule in rules {
        for wildcard in index.overridden(rule).filter(|wildcard| !wildcard.access.deny().is_empty()) {
            let (_, by) = taken.entry(&*wildcard.id).or_insert((wildcard, Vec::new()));
            if by.last().is_none_or(|last| last.id != rule.id) {
                by.push(rule);
            }
        }
    }
    for (wildcard, by) in taken.into_values() {
        let more = if by.len() > 1 { format!(" and {} more", by.len() - 1) } else { String::new() };
        let message = format!(
            "this list does not reach {} (destination {}){more}, which answers by itself; repeat there what has to be \
             denied",
            by[0].pattern, by[0].id
        );
        warn(wildcard, "deny", message, warnings);
    }
}

#[cfg(test)]
mod tests {
    use crate::Policy;

    fn warnings(destinations: &str) -> String {
        let text = format!("version: 1\ndestinations:\n{destinations}");
        let policy = Policy::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
        policy.warnings().iter().map(|warning| format!("{warning}\n")).collect()
    }

    #[test]
    fn a_policy_that_says_what_it_means_has_none() {
        let text = "- {id: a, host: a.test, allow: [{methods: [GET], paths: [/x/**]}]}\n\
                    - {id: w, host: '*.w.test', deny: [{paths: [/admin, /admin/**]}, {paths: [/b/**]}, {paths: [/b]}]}\n\
                    - {id: v, host: x.w.test, ports: [8443]}\n\
                    - {id: l, host: 127.0.0.1, private_cidrs: [127.0.0.0/8]}\n";
        assert_eq!(warnings(text), "");
    }

    #[test]
    fn what_may_surprise_is_named() {
        for (destinations, expected) in [
            ("  []", "every host is denied"),
            ("- {id: a, host: a.test, tls: passthrough}", "line 3: a.tls: passthrough leaves the origin's certificate"),
            ("- {id: a, host: a.test, tls: passthrough, ech: allow}", "line 3: a.ech: "),
            ("- {id: a, host: a.test, scheme: http}", "line 3: a.scheme: http is neither"),
            ("- {id: a, host: 10.0.0.1}", "line 3: a.host: 10.0.0.1 is not globally reachable"),
            ("- {id: a, host: 169.254.169.254, private_cidrs: [169.254.0.0/16]}", "169.254.169.254 is never dialled"),
            ("- {id: a, host: a.test, private_cidrs: ['::/0']}", "line 3: a.private_cidrs: ::/0 admits every"),
            ("- {id: a, host: a.test, deny: [{methods: [delete]}]}", "line 3: a.methods: delete is not DELETE"),
            ("- {id: a, host: a.test, deny: [{paths: [/admin/**]}]}", "/admin/** does not deny /admin itself"),
        ] {
            let warnings = warnings(destinations);
            assert!(warnings.contains(expected), "{destinations}: {warnings:?}");
        }
    }

    #[test]
    fn a_deny_list_that_another_destination_escapes_is_named_once() {
        let text = "- {id: wide, host: '*.example.com', deny: [{methods: [DELETE]}]}\n\
                    - {id: api, host: api.example.com}\n\
                    - {id: eu, host: '*.eu.example.com'}\n";
        let expected = "line 3: wide.deny: this list does not reach api.example.com (destination api) and 1 more, which \
                        answers by itself; repeat there what has to be denied\n";
        assert_eq!(warnings(text), expected);
    }
}
