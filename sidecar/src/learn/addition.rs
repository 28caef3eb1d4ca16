//! What a policy lacks to allow what was seen: whole destinations, entries for the allow lists of those that it has, and
//! comments. What is added allows as little as the lists can say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use ipnet::IpNet;
use sandgate_policy::{Policy, Rule, address};

use super::entry::{Entry, entries};
use super::lacking;
use super::learner::{ALSO_PASSTHROUGH, Learner};
use super::seen::{Asked, Place, Seen};
use crate::refusal::Code;
use crate::summary::Advice;

/// The code of a method that is not known, where the destination has to do without paths.
pub(super) const ANY_METHOD: &str = "any_method";

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
    Entries(Arc<str>, Vec<Entry>),
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
                    let (left, denied) = lacking::left(base, place, asked);
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
        let known = self.entries.iter().filter(|known| known.index == new.index);
        if known.map(|known| &known.entry).all(|known| new.entry.subtract(known)) {
            self.entries.push(new);
        }
    }

    fn refuse(&mut self, refused: &Seen, base: &Policy, ids: &mut Vec<String>) {
        for (place, asked) in refused.places.iter().filter(|(_, asked)| asked.requests() > 0) {
            let known = self.destinations.iter().find(|new| new.place == *place);
            self.refused.push(match (answers(base, place), known) {
                (Some((_, rule)), _) => {
                    Refused::Entries(Arc::clone(&rule.id), entries(asked, asked.unjudged, Some(rule)))
                }
                (None, Some(known)) => Refused::Entries((&*known.id).into(), known.lacks(asked)),
                (None, None) => Refused::Destination(new(place, asked, Ranges::These(&[]), &mut (base, ids))),
            });
        }
    }
}

impl Destination {
    /// The entries that its own list lacks for what was asked of it too.
    fn lacks(&self, asked: &Asked) -> Vec<Entry> {
        if self.allow.is_empty() {
            return Vec::new();
        }
        let mut entries = entries(asked, asked.unjudged || self.remark == Some(NO_PATHS), None);
        entries.retain_mut(|new| self.allow.iter().all(|known| new.subtract(known)));
        entries
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
