//! What was asked for, by destination, method and path: bounded, whatever a program asks for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::Method;
use sandgate_policy::address;
use sandgate_policy::destination::{Destination, Host, Scheme};

use super::fold::{Count, Paths, fold, put};
use super::observation::AskedPath;

/// The most destinations that are told apart.
pub(super) const MAX_DESTINATIONS: usize = 1_000;
/// So many paths of a method are collected before they are folded for the first time.
const MAX_PATHS: usize = 256;
/// The most of all texts, in bytes: what is made of them has to stay within a policy file's 4 MiB.
const MAX_BYTES: usize = 1 << 20;
/// What an entry takes beside its text.
const ENTRY_BYTES: usize = 64;
/// The most private addresses of a destination.
const MAX_ADDRESSES: usize = 16;

/// A host, its port and scheme, in the order in which a policy lists them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The canonical host.
    pub(super) host: Box<str>,
    pub(super) port: u16,
    /// As a URI writes it.
    pub(super) scheme: &'static str,
}

impl Place {
    pub(super) fn new(host: &Host, port: u16, scheme: Scheme) -> Self {
        Self { host: host.to_string().into(), port, scheme: scheme.as_str() }
    }

    /// The destination that it is.
    pub(super) fn destination(&self) -> Option<Destination> {
        let scheme = if self.scheme == Scheme::Http.as_str() { Scheme::Http } else { Scheme::Https };
        Some(Destination { scheme, host: Host::parse(&self.host).ok()?, port: self.port })
    }
}

impl From<&Destination> for Place {
    fn from(destination: &Destination) -> Self {
        Self::new(&destination.host, destination.port, destination.scheme)
    }
}

/// What was asked of one destination.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// By method; the empty one is a method that is not known, and stands for any.
    pub(super) methods: BTreeMap<Box<str>, OfMethod>,
    /// Whether a path came that no list of paths allows.
    pub(super) unjudged: bool,
    /// Tunnels in which nothing was seen: passthroughs, or refused ones.
    pub(super) tunnels: u64,
    /// The addresses of the origin that are not globally reachable.
    pub(super) addresses: Vec<IpAddr>,
}

/// What was asked of one destination with one method.
#[derive(Clone, Debug, Default)]
pub(super) struct OfMethod {
    pub(super) paths: Paths,
    /// Whether there were so many that nobody knows how many.
    pub(super) are_many: bool,
    /// Requests whose path no list of paths allows.
    pub(super) pathless: u64,
}

impl OfMethod {
    /// How many requests there were.
    pub(super) fn requests(&self) -> u64 {
        self.pathless + self.paths.values().map(|count| count.requests).sum::<u64>()
    }
}

impl Asked {
    /// How many requests and tunnels there were.
    pub(super) fn requests(&self) -> u64 {
        self.tunnels + self.methods.values().map(OfMethod::requests).sum::<u64>()
    }

    /// Notes the addresses of the origin that need a range in the policy.
    pub(super) fn reached_at(&mut self, addresses: &[IpAddr]) {
        for address in addresses.iter().filter(|address| address::judge(**address, &[]).is_err()) {
            if self.addresses.len() < MAX_ADDRESSES && !self.addresses.contains(address) {
                self.addresses.push(*address);
            }
        }
    }
}

/// The destinations.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) places: BTreeMap<Place, Asked>,
    bytes: usize,
    /// What was asked for beyond the most that is told apart.
    pub(super) left_out: u64,
}

impl Seen {
    /// What was asked of `place` so far; `None`, and counted as left out, where it is one too many.
    pub(super) fn at(&mut self, place: Place) -> Option<&mut Asked> {
        if !self.places.contains_key(&place) {
            self.bytes += place.host.len() + ENTRY_BYTES;
            if self.places.len() >= MAX_DESTINATIONS || self.bytes > MAX_BYTES {
                self.left_out += 1;
                return None;
            }
        }
        Some(self.places.entry(place).or_default())
    }

    /// Counts a request.
    pub(super) fn add(&mut self, place: Place, method: Option<&Method>, path: &AskedPath, origin: &[IpAddr]) {
        let method = method.map(Method::as_str).unwrap_or_default();
        let is_full = self.bytes > MAX_BYTES;
        let Some(asked) = self.at(place) else { return };
        asked.reached_at(origin);
        if is_full && !asked.knows(method, path) {
            self.left_out += 1;
        } else {
            self.bytes += asked.add(method, path);
        }
    }
}

impl Asked {
    /// Whether counting this request takes no more memory.
    fn knows(&self, method: &str, path: &AskedPath) -> bool {
        let has_path = |of: &OfMethod| path.template.as_ref().is_none_or(|template| of.paths.contains_key(template));
        self.methods.get(method).is_some_and(has_path)
    }

    /// Counts a request, and says how many bytes more that takes.
    fn add(&mut self, method: &str, path: &AskedPath) -> usize {
        let (is_known, is_known_method) = (self.knows(method, path), self.methods.contains_key(method));
        self.unjudged |= path.template.is_none() && path.text != "*";
        let of_method = self.methods.entry(method.into()).or_default();
        let Some(template) = &path.template else {
            of_method.pathless += 1;
            return if is_known_method { 0 } else { method.len() + ENTRY_BYTES };
        };
        put(&mut of_method.paths, template.clone(), Count { requests: 1, paths: u64::from(!is_known) });
        if of_method.paths.len() > MAX_PATHS {
            of_method.paths = fold(std::mem::take(&mut of_method.paths));
            of_method.are_many = true;
        }
        let path_bytes = if is_known { 0 } else { template.to_string().len() + ENTRY_BYTES };
        path_bytes + if is_known_method { 0 } else { method.len() + ENTRY_BYTES }
    }
}
