//! The entries of allow lists: what was asked of one host with one method, as few paths.

use http::Method;
use sandgate_policy::{Rule, Tls};

use super::fold::{Count, KEPT, Paths, fold, put};
use super::seen::{Asked, OfMethod};
use super::template::Template;

/// An entry of an allow list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// `None` for any.
    pub(super) method: Option<Box<str>>,
    /// Globs, each with how often it was used; `None` for all paths.
    pub(super) paths: Option<Vec<(Box<str>, Used)>>,
    pub(super) requests: u64,
}

/// How often a glob was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) count: Count,
    /// Whether the paths were too many to be counted.
    pub(super) are_many: bool,
}

impl Entry {
    /// Takes out what `known` allows already; `false` where nothing is left.
    pub(super) fn subtract(&mut self, known: &Self) -> bool {
        if self.method != known.method {
            return true;
        }
        match (&known.paths, &mut self.paths) {
            (None, _) => false,
            (Some(known), Some(globs)) => {
                globs.retain(|(glob, _)| known.iter().all(|(other, _)| other != glob));
                !globs.is_empty()
            }
            (Some(_), None) => true,
        }
    }
}

/// The entries for what was asked, one a method. `without_paths` where a list of paths would refuse some of it.
pub(super) fn entries(asked: &Asked, without_paths: bool, rule: Option<&Rule>) -> Vec<Entry> {
    let passthrough = rule.is_some_and(|rule| matches!(rule.tls, Tls::Passthrough { .. }));
    let methods = asked.methods.iter().filter(|_| !passthrough);
    methods.filter_map(|(method, of)| entry(method, of, without_paths, rule)).collect()
}

fn entry(method: &str, of: &OfMethod, without_paths: bool, rule: Option<&Rule>) -> Option<Entry> {
    let requests = of.requests();
    // A server-wide OPTIONS is allowed by its method alone.
    let is_server_wide = of.pathless > 0 && method == Method::OPTIONS.as_str();
    let name = (!method.is_empty()).then(|| Box::from(method));
    if without_paths || is_server_wide {
        return name.map(|name| Entry { method: Some(name), paths: None, requests });
    }
    let mut known = Paths::new();
    for glob in rule.into_iter().flat_map(|rule| globs(rule, method)) {
        if let Some(template) = Template::of_glob(glob) {
            put(&mut known, template, Count::default());
        }
    }
    let mut together = known.clone();
    for (template, count) in &of.paths {
        put(&mut together, template.clone(), *count);
    }
    let used = |count| Used { count, are_many: of.are_many };
    let folded =
        fold(together).into_iter().filter(|(template, count)| count.requests > 0 && !known.contains_key(template));
    let paths: Vec<_> = folded.map(|(template, count)| (template.to_string().into(), used(count))).collect();
    let requests = paths.iter().map(|(_, used)| used.count.requests).sum();
    (!paths.is_empty()).then_some(Entry { method: name, paths: Some(paths), requests })
}

/// The globs that the rule allows for the method.
fn globs<'a>(rule: &'a Rule, method: &'a str) -> impl Iterator<Item = &'a str> {
    let entries = rule.access.allow().unwrap_or_default().iter();
    let is_for = move |methods: &Vec<Method>| methods.iter().any(|known| known.as_str() == method);
    let entries = entries.filter(move |entry| entry.methods.as_ref().is_none_or(is_for));
    entries.flat_map(|entry| entry.paths.iter().flatten().map(|glob| glob.as_str()))
}

impl Used {
    /// Why the glob is wider than its paths, where that needs a word.
    pub(super) fn words(self, glob: &str) -> String {
        let Count { requests, paths } = self.count;
        let mut words = requests_in_words(requests);
        if self.are_many {
            words += " to many paths";
        } else if paths > 1 {
            words += &format!(" to {paths} paths");
        }
        if glob == "/**" {
            words += &format!(" with more than {KEPT} first segments");
        }
        words
    }
}

/// `1 request` or `N requests`.
pub(super) fn requests_in_words(requests: u64) -> String {
    if requests == 1 { "1 request".to_owned() } else { format!("{requests} requests") }
}
