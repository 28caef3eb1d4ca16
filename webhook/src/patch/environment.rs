//! The environment of a container: ours from the rendering, decided by group, so that both cases of a proxy variable
//! say the same.
//!
//! A list-like variable is merged everywhere. Of the others, the container's own value wins unless the sidecar is
//! required. What the current rendering or an accepted one would set is not the container's own: it came back from a
//! backup or from `inject`.

use std::collections::{BTreeSet, HashMap};

use sandgate_contract::{Kind, VARIABLES, Variable};
use serde_json::{Value, json};

use super::draft::{Draft, listed};
use super::hosts;
use crate::mode::Mode;
use crate::pod::{self, Container};
use crate::situation::Situation;

/// What every container gets in one namespace. A container may have tens of thousands of variables, and a pod hundreds of
/// containers: what is asked of each of them is found by name here.
pub(super) struct Environment<'a> {
    required: bool,
    groups: Vec<Group<'a>>,
    /// The place in `groups` of each name that is set.
    places: HashMap<&'a str, usize>,
    /// The values of each name in some namespace, by any rendering.
    values: HashMap<&'a str, Vec<&'a str>>,
    /// Every host that some rendering names in `NO_PROXY`, in order.
    hosts: Vec<&'a str>,
}

/// Variables that are decided together: the cases of one name.
struct Group<'a> {
    /// What it means; `None` for one that this version does not know any more.
    variable: Option<&'static Variable>,
    /// Names and our values.
    members: Vec<(&'a str, &'a str)>,
}

/// One element of a container's `env` with one of our names. A name may be there twice; then the last one holds, and
/// all are treated the same.
struct Entry<'a> {
    index: usize,
    name: &'a str,
    /// The text; empty where there is none. `None` where it comes from somewhere else.
    value: Option<&'a str>,
    json: &'a Value,
}

/// What a container's environment becomes.
#[derive(Default)]
struct Changes<'a> {
    set: Vec<(&'a Value, usize, String)>,
    append: Vec<Value>,
    kept: Vec<&'a str>,
    replaced: Vec<&'a str>,
    direct: Vec<&'a str>,
}

impl<'a> Environment<'a> {
    pub(super) fn new(situation: &Situation<'a>) -> Self {
        let mut groups: Vec<Group<'a>> = Vec::new();
        for (name, value) in situation.rendering.environment_in(situation.mode) {
            let member = (name.as_str(), value.as_str());
            match groups.iter_mut().find(|group| group.members[0].0.eq_ignore_ascii_case(name)) {
                Some(group) => group.members.push(member),
                None => {
                    let variable = VARIABLES.iter().find(|variable| variable.name == name);
                    groups.push(Group { variable, members: vec![member] });
                }
            }
        }
        let members = groups.iter().enumerate();
        let places = members.flat_map(|(place, group)| group.members.iter().map(move |(name, _)| (*name, place)));
        let values = values(situation);
        let lists = values.iter().filter(|(name, _)| name.eq_ignore_ascii_case("no_proxy"));
        let hosts: BTreeSet<&str> = lists.flat_map(|(_, lists)| lists).flat_map(|list| hosts::each(list)).collect();
        let hosts = hosts.into_iter().collect();
        Self { required: situation.mode == Mode::Required, places: places.collect(), groups, values, hosts }
    }

    /// Completes the environment of `container`.
    pub(super) fn patch(&self, draft: &mut Draft, container: &Container<'_>) {
        let mut changes = Changes::default();
        for (group, entries) in self.groups.iter().zip(self.entries(container.json)) {
            self.decide(group, &entries, &mut changes);
        }
        self.warn(draft, container, &changes);
        let pointer = container.pointer();
        for (entry, index, value) in changes.set {
            let path = format!("{pointer}/env/{index}");
            if entry.get("valueFrom").is_some() {
                draft.remove(format!("{path}/valueFrom"));
            }
            draft.add(format!("{path}/value"), value.into());
        }
        draft.append(&pointer, container.json, "env", changes.append);
    }

    fn decide<'c>(&'c self, group: &Group<'c>, entries: &[Entry<'c>], changes: &mut Changes<'c>) {
        let mergeable = entries.iter().all(|entry| entry.value.is_some());
        match group.variable.map(|variable| (variable, variable.kind)) {
            Some((_, Kind::NoProxy)) if mergeable => self.merge_hosts(group, entries, changes),
            Some((variable, Kind::JavaOptions)) if mergeable => self.merge(variable, " ", group, entries, changes),
            Some((variable, Kind::ScanDirs(_))) if mergeable => self.merge(variable, "", group, entries, changes),
            _ => self.choose(group, entries, changes),
        }
    }

    /// Ours, or the container's own for the whole group.
    fn choose<'c>(&'c self, group: &Group<'c>, entries: &[Entry<'c>], changes: &mut Changes<'c>) {
        let own: Vec<&Entry<'c>> = entries.iter().filter(|entry| !self.is_ours(entry)).collect();
        let names = own.iter().map(|entry| entry.name);
        if own.is_empty() || self.required {
            changes.replaced.extend(names);
            complete(group, entries, |_, ours| Some(ours.to_owned()), changes);
            return;
        }
        changes.kept.extend(names);
        // Where it comes from elsewhere there is no text that the other case could be set to.
        let text = own.iter().rev().find_map(|entry| entry.value);
        let kept = |entry: Option<&Entry<'_>>, _: &str| match entry {
            Some(entry) if !self.is_ours(entry) => None,
            _ => text.map(ToOwned::to_owned),
        };
        complete(group, entries, kept, changes);
    }

    /// Options or directories: ours behind the container's own.
    fn merge<'c>(
        &'c self,
        variable: &Variable,
        separator: &str,
        group: &Group<'c>,
        entries: &[Entry<'c>],
        changes: &mut Changes<'c>,
    ) {
        let merged = |entry: Option<&Entry<'_>>, ours: &str| {
            let own = entry.and_then(|entry| self.own_part(entry, separator));
            Some(sandgate_contract::merge(own, variable, ours))
        };
        complete(group, entries, merged, changes);
    }

    /// What stands before a value of ours, if anything does.
    fn own_part<'e>(&self, entry: &Entry<'e>, separator: &str) -> Option<&'e str> {
        let text = entry.value?;
        let mut before = self.ours(entry.name).iter().filter_map(|ours| text.strip_suffix(ours));
        match before.find(|own| own.is_empty() || own.ends_with(separator)) {
            None => Some(text),
            Some("") => None,
            Some(own) => Some(own.strip_suffix(separator).unwrap_or(own)),
        }
    }

    /// Hosts: the container's own, then ours. A case that is absent becomes what the other one is.
    fn merge_hosts<'c>(&'c self, group: &Group<'c>, entries: &[Entry<'c>], changes: &mut Changes<'c>) {
        let last = entries.last().and_then(|entry| entry.value);
        let merged = |entry: Option<&Entry<'_>>, ours: &str| {
            let own = entry.map_or(last, |entry| entry.value);
            Some(own.map_or_else(|| ours.to_owned(), |own| hosts::merge(own, ours, &self.hosts)))
        };
        complete(group, entries, merged, changes);
        if self.required {
            let hosts = entries.iter().filter_map(|entry| entry.value).flat_map(hosts::each);
            changes.direct.extend(hosts.filter(|host| self.hosts.binary_search(host).is_err()));
        }
    }

    fn is_ours(&self, entry: &Entry<'_>) -> bool {
        entry.value.is_some_and(|value| self.ours(entry.name).contains(&value))
    }

    /// What any rendering sets the variable to.
    fn ours(&self, name: &str) -> &[&'a str] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// A container's elements with names of ours, for each group.
    fn entries<'c>(&self, container: &'c Value) -> Vec<Vec<Entry<'c>>> {
        let mut entries: Vec<Vec<Entry<'c>>> = self.groups.iter().map(|_| Vec::new()).collect();
        for (index, json) in pod::elements(container, "env").enumerate() {
            let Some(name) = json.get("name").and_then(Value::as_str) else { continue };
            let Some(&place) = self.places.get(name) else { continue };
            let elsewhere = json.get("valueFrom").is_some_and(|from| !from.is_null());
            let value = (!elsewhere).then(|| json.get("value").and_then(Value::as_str).unwrap_or_default());
            entries[place].push(Entry { index, name, value, json });
        }
        entries
    }

    fn warn(&self, draft: &mut Draft, container: &Container<'_>, changes: &Changes<'_>) {
        let name = container.name();
        if !changes.kept.is_empty() {
            let kept = listed(&changes.kept);
            draft.warn(format!("container {name:?} keeps its own {kept}; what reads it may miss the proxy or its CA"));
        }
        if !changes.replaced.is_empty() {
            let replaced = listed(&changes.replaced);
            draft.warn(format!("container {name:?}: the sidecar's {replaced} replaced its own (required namespace)"));
        }
        if !changes.direct.is_empty() {
            let direct = listed(&changes.direct);
            draft.warn(format!("container {name:?} adds {direct:?} to NO_PROXY: requests there don't pass the policy"));
        }
        let sets = !(changes.append.is_empty() && changes.set.is_empty());
        if sets && pod::elements(container.json, "envFrom").next().is_some() {
            draft.warn(format!(
                "container {name:?} has envFrom: where it names a variable of the proxy, the proxy's wins"
            ));
        }
    }
}

/// The values that some rendering sets a name to in some namespace, each once.
fn values<'a>(situation: &Situation<'a>) -> HashMap<&'a str, Vec<&'a str>> {
    let mut values: HashMap<&str, Vec<&str>> = HashMap::new();
    for rendering in std::iter::once(situation.rendering).chain(situation.accepted) {
        for (name, value) in rendering.environment_required.iter().chain(&rendering.environment) {
            let known = values.entry(name).or_default();
            if !known.contains(&value.as_str()) {
                known.push(value);
            }
        }
    }
    values
}

/// Sets every member of `group` to what `value` says for each of its entries, or once where it has none; `None` leaves
/// it as it is.
fn complete<'c>(
    group: &Group<'c>,
    entries: &[Entry<'c>],
    value: impl Fn(Option<&Entry<'_>>, &str) -> Option<String>,
    changes: &mut Changes<'c>,
) {
    for (name, ours) in &group.members {
        let mut present = entries.iter().filter(|entry| entry.name == *name).peekable();
        if present.peek().is_none() {
            changes.append.extend(value(None, ours).map(|value| json!({"name": name, "value": value})));
        }
        for entry in present {
            let wanted = value(Some(entry), ours).filter(|wanted| entry.value != Some(wanted));
            changes.set.extend(wanted.map(|wanted| (entry.json, entry.index, wanted)));
        }
    }
}
