//! What a policy lacks to allow what was seen: whole destinations, entries for the allow lists of those that it has, and
//! comments. What is added allows as little as the lists can say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use ipnet::IpNet;
use sandgate_policy::{Policy, Rule, Tls, address};

use super::fold::{Count, KEPT, Paths, fold, put};
use super::learner::{ALSO_PASSTHROUGH, Learner};
use super::meanwhile;
use super::seen::{Asked, OfMethod, Place, Seen};
use super::template::Template;
use crate::refusal::Code;
use crate::summary::Advice;

/// The code of a method that is not known, where the destination has to do without paths.
pub(super) const ANY_METHOD: &str = "any_method";

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

/// A destination that the policy does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) id: String,
    pub(super) place: Place,
    pub(super) private_cidrs: Vec<IpNet>,
    pub(super) is_passthrough: bool,
    /// Why it has no paths, or nothing at all, where that is not what was seen.
    pub(super) remark: Option<&'static str>,
    /// Empty where everything is allowed.
    pub(super) allow: Vec<Entry>,
    pub(super) requests: u64,
}

/// How a private address that was dialled is listed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ranges<'a> {
    /// By these, and not at all where none has it.
    These(&'a [IpNet]),
    /// By itself.
    Each,
}

impl Ranges<'_> {
    fn of(self, address: IpAddr) -> Option<IpNet> {
        match self {
            Self::These(ranges) => ranges.iter().find(|range| range.contains(&address)).copied(),
            Self::Each => Some(address.into()),
        }
    }
}

/// Everything that is to be added.
#[derive(Debug, Default)]
pub(super) struct Additions {
    /// New destinations, in their order.
    pub(super) destinations: Vec<Destination>,
    /// New entries for rules that the policy has, in their order.
    pub(super) entries: Vec<NewEntry>,
    /// What came to nothing: `host:port`, a code, and how often.
    pub(super) notes: Vec<(Box<str>, &'static str, u64)>,
    /// What would admit the private addresses for which something was refused, by `host:port`.
    pub(super) remedies: BTreeMap<Box<str>, Vec<Advice>>,
    /// The ranges that known rules lack, to which their hosts were let through all the same: by id.
    pub(super) ranges: BTreeSet<(Arc<str>, IpNet)>,
    /// What was refused, and would be allowed by these.
    pub(super) refused: Vec<Refused>,
    /// How many requests were left out, as too many different ones came.
    pub(super) left_out: u64,
}

/// A new entry of a known rule.
#[derive(Debug)]
pub(super) struct NewEntry {
    /// The place of the rule in the policy.
    pub(super) index: usize,
    /// The host that it was learnt from.
    pub(super) host: Box<str>,
    pub(super) entry: Entry,
}

/// Something that was refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// For want of a destination.
    Destination(Destination),
    /// For want of an entry in the allow list of the rule with this id.
    Entries(Box<str>, Vec<Entry>),
}

impl Additions {
    /// How many hosts and how many rules (a method and a path, or a host as a whole) are added.
    pub(super) fn size(&self) -> (usize, usize) {
        let mut hosts: Vec<&str> = self.destinations.iter().map(|new| &*new.place.host).collect();
        hosts.extend(self.entries.iter().map(|new| &*new.host));
        hosts.sort_unstable();
        hosts.dedup();
        let of_entry = |entry: &Entry| entry.paths.as_ref().map_or(1, Vec::len);
        let of_new = |new: &Destination| new.allow.iter().map(of_entry).sum::<usize>().max(1);
        let of_known = self.entries.iter().map(|new| of_entry(&new.entry));
        (hosts.len(), self.destinations.iter().map(of_new).sum::<usize>() + of_known.sum::<usize>())
    }

    /// What `base` lacks.
    pub(super) fn of(learner: &Learner, base: &Policy, ranges: Ranges<'_>) -> Self {
        let mut additions = Self { left_out: learner.seen.left_out + learner.refused.left_out, ..Self::default() };
        additions.notes = learner.notes.iter().map(|((place, code), count)| (place.clone(), *code, *count)).collect();
        additions.remedies.clone_from(&learner.remedies);
        let mut ids = Vec::new();
        additions.learn(learner, base, ranges, &mut ids);
        additions.refuse(&learner.refused, base, &mut ids);
        additions.notes.sort();
        additions
    }

    fn learn(&mut self, learner: &Learner, base: &Policy, ranges: Ranges<'_>, ids: &mut Vec<String>) {
        for (place, asked) in &learner.seen.places {
            match answers(base, place) {
                None if asked.requests() > 0 => {
                    if asked.tunnels > 0 && !asked.methods.is_empty() {
                        self.note(place, ALSO_PASSTHROUGH, asked.tunnels);
                    }
                    let mut new = new(place, asked, ranges, &mut (base, ids));
                    if asked.methods.is_empty() {
                        (new.is_passthrough, new.remark) = (true, None);
                    }
                    self.destinations.push(new);
                }
                None => {}
                Some(rule) if learner.knows(base) => self.extend(rule, place, asked, ranges),
                Some(rule) => {
                    let (left, denied) = meanwhile::left(base, place, asked);
                    self.note(place, Code::RequestDenied.as_str(), denied);
                    self.extend(rule, place, &left, ranges);
                }
            }
        }
        self.entries.sort_by_key(|new| new.index);
    }

    /// What a rule that is there lacks: nothing where it has no list.
    fn extend(&mut self, (index, rule): (usize, &Rule), place: &Place, asked: &Asked, ranges: Ranges<'_>) {
        let lacks = |address: &&IpAddr| address::judge(**address, &rule.private_cidrs).is_err();
        let lacking = asked.addresses.iter().filter(lacks).filter_map(|address| ranges.of(*address));
        self.ranges.extend(lacking.map(|range| (Arc::clone(&rule.id), range)));
        let judges_paths = rule.access.allow().unwrap_or_default().iter().chain(rule.access.deny());
        let is_in_vain = asked.unjudged && judges_paths.into_iter().any(|entry| entry.paths.is_some());
        if is_in_vain {
            let pathless = asked.methods.values().map(|of| of.pathless).sum();
            self.note(place, Code::BadPath.as_str(), pathless);
        }
        if rule.access.allow().is_none() {
            return;
        }
        let new = entries(asked, asked.unjudged && !is_in_vain, Some(rule));
        if let (Some(of), true) = (asked.methods.get(""), asked.unjudged && !is_in_vain) {
            self.note(place, ANY_METHOD, of.requests());
        }
        for entry in new {
            self.join(NewEntry { index, host: place.host.clone(), entry });
        }
    }

    fn note(&mut self, place: &Place, code: &'static str, count: u64) {
        if count > 0 {
            self.notes.push((authority_of(place), code, count));
        }
    }

    /// Adds an entry to those of the same rule, but for what hosts that share a wildcard have in common.
    fn join(&mut self, mut new: NewEntry) {
        for known in &self.entries {
            if known.index != new.index || known.entry.method != new.entry.method {
                continue;
            }
            match (&known.entry.paths, &mut new.entry.paths) {
                (None, _) => return,
                (Some(known), Some(globs)) => globs.retain(|(glob, _)| known.iter().all(|(other, _)| other != glob)),
                (Some(_), None) => {}
            }
        }
        if new.entry.paths.as_ref().is_none_or(|globs| !globs.is_empty()) {
            self.entries.push(new);
        }
    }

    fn refuse(&mut self, refused: &Seen, base: &Policy, ids: &mut Vec<String>) {
        for (place, asked) in refused.places.iter().filter(|(_, asked)| asked.requests() > 0) {
            let refused = match answers(base, place) {
                None => Refused::Destination(new(place, asked, Ranges::These(&[]), &mut (base, ids))),
                Some((_, rule)) => Refused::Entries((&*rule.id).into(), entries(asked, asked.unjudged, Some(rule))),
            };
            self.refused.push(refused);
        }
    }
}

fn authority_of(place: &Place) -> Box<str> {
    format!("{}:{}", place.host, place.port).into()
}

/// The rule that answers for the place, and its index.
fn answers<'a>(base: &'a Policy, place: &Place) -> Option<(usize, &'a Rule)> {
    let destination = place.destination()?;
    let rule = base.judge_request(&destination, &Method::GET, "/").rule?;
    base.rules().iter().enumerate().find(|(_, known)| known.id == rule.id).map(|(index, rule)| (index, &**rule))
}

const NO_METHOD: &str =
    "any method and path, as the log has a method only in part, and a path that no list of paths allows";
const NO_PATHS: &str = "any path, as one was asked for that no list of paths allows";
const NOT_SEEN: &str = "any method and path, as none was seen";

/// A destination for what was asked. `taken` are the policy, and the ids that it is yet to get.
fn new(place: &Place, asked: &Asked, ranges: Ranges<'_>, taken: &mut (&Policy, &mut Vec<String>)) -> Destination {
    let any = asked.unjudged && asked.methods.contains_key("");
    let remark = if any {
        Some(NO_METHOD)
    } else if asked.unjudged {
        Some(NO_PATHS)
    } else {
        asked.methods.is_empty().then_some(NOT_SEEN)
    };
    let mut private_cidrs: Vec<IpNet> = asked.addresses.iter().filter_map(|address| ranges.of(*address)).collect();
    private_cidrs.sort_unstable();
    private_cidrs.dedup();
    let (base, ids) = taken;
    let free_id = |destination| base.free_id(&destination, &|id| ids.iter().any(|taken| taken == id));
    let id = place.destination().map(free_id).unwrap_or_default();
    ids.push(id.clone());
    Destination {
        id,
        place: place.clone(),
        private_cidrs,
        is_passthrough: false,
        remark,
        allow: if any { Vec::new() } else { entries(asked, asked.unjudged, None) },
        requests: asked.requests(),
    }
}

/// The entries for what was asked, one a method. `without_paths` where a list of paths would refuse some of it.
fn entries(asked: &Asked, without_paths: bool, rule: Option<&Rule>) -> Vec<Entry> {
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
