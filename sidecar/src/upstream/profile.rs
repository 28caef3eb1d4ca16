//! Everything that decides how a connection to an origin is made, in one comparable value.
//!
//! Connections and TLS sessions belong to a profile. A policy that changes any of it gets another profile, so nothing that
//! an old policy made serves a request of a new one.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;
use ipnet::IpNet;
use rustls::RootCertStore;
use sandgate_policy::{Policy, UpstreamHttp, UpstreamOptions};

use super::tls::{self, Connectors};
use crate::file;

/// How the origins of some rules are reached.
pub struct Profile {
    /// Unique in the process; two profiles with the same number are the same.
    pub id: u64,
    /// Ranges beyond globally reachable unicast that may be dialled.
    pub private_cidrs: Vec<IpNet>,
    /// The HTTP versions to offer.
    pub http: UpstreamHttp,
    /// The TLS configurations, with their sessions.
    pub connectors: Connectors,
}

/// What two profiles are compared by: options, and the content of the files that they name.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Content {
    http: UpstreamHttp,
    private_cidrs: Vec<IpNet>,
    roots: Vec<[u8; 32]>,
    client_certificate: Option<[[u8; 32]; 2]>,
}

/// The profile of each rule of one policy.
#[derive(Clone)]
pub struct Routes {
    by_rule: HashMap<Arc<str>, Arc<Profile>>,
    default: Arc<Profile>,
}

impl Routes {
    /// The numbers of all its profiles.
    #[must_use]
    pub fn ids(&self) -> HashSet<u64> {
        self.by_rule.values().map(|profile| profile.id).chain([self.default.id]).collect()
    }

    /// The profile of the rule with this id, or the default one.
    #[must_use]
    pub fn of(&self, rule: Option<&str>) -> Arc<Profile> {
        Arc::clone(rule.and_then(|id| self.by_rule.get(id)).unwrap_or(&self.default))
    }
}

/// Makes profiles, and gives the same one again while its content is the same.
pub struct Profiles {
    roots: Arc<RootCertStore>,
    known: HashMap<Content, Arc<Profile>>,
    next_id: u64,
    default_cidrs: Vec<IpNet>,
}

impl Profiles {
    /// Begins with the roots that hold for every origin.
    #[must_use]
    pub fn new(roots: Arc<RootCertStore>) -> Self {
        Self { roots, known: HashMap::new(), next_id: 0, default_cidrs: Vec::new() }
    }

    /// Lets what no rule answers for, and only audit mode lets through, be dialled in these ranges too.
    #[must_use]
    pub fn admitting(self, private_cidrs: &[IpNet]) -> Self {
        Self { default_cidrs: private_cidrs.to_vec(), ..self }
    }

    /// The routes of `policy`. Profiles that no rule of it needs are forgotten.
    ///
    /// # Errors
    /// One text for each rule whose files can't be used; it names rule and file.
    pub fn routes(&mut self, policy: &Policy) -> Result<Routes, Vec<String>> {
        let mut problems = Vec::new();
        let mut by_rule = HashMap::new();
        for rule in policy.rules() {
            match self.profile(&rule.upstream, &rule.private_cidrs) {
                Ok(profile) => drop(by_rule.insert(Arc::clone(&rule.id), profile)),
                Err(problem) => problems.push(format!("destination {}: upstream: {problem}", rule.id)),
            }
        }
        match self.profile(&UpstreamOptions::default(), &self.default_cidrs.clone()) {
            Ok(default) if problems.is_empty() => {
                let used = |profile: &Arc<Profile>| Arc::strong_count(profile) > 1;
                self.known.retain(|_, profile| used(profile));
                Ok(Routes { by_rule, default })
            }
            Ok(_) => Err(problems),
            Err(problem) => Err(vec![problem]),
        }
    }

    /// Whether the files that `policy` names have another content than when its routes were made.
    #[must_use]
    pub fn would_change(&self, policy: &Policy) -> bool {
        policy.rules().iter().any(|rule| {
            Content::read(&rule.upstream, &rule.private_cidrs).is_ok_and(|content| !self.known.contains_key(&content))
        })
    }

    fn profile(&mut self, options: &UpstreamOptions, private_cidrs: &[IpNet]) -> Result<Arc<Profile>, String> {
        let content = Content::read(options, private_cidrs)?;
        if let Some(known) = self.known.get(&content) {
            return Ok(Arc::clone(known));
        }
        let connectors = tls::connectors(&self.roots, options)?;
        self.next_id += 1;
        let profile =
            Profile { id: self.next_id, private_cidrs: private_cidrs.to_vec(), http: options.http, connectors };
        let profile = Arc::new(profile);
        self.known.insert(content, Arc::clone(&profile));
        Ok(profile)
    }
}

impl Content {
    fn read(options: &UpstreamOptions, private_cidrs: &[IpNet]) -> Result<Self, String> {
        let client = options.client_cert.as_ref();
        let client = client.map(|client| Ok::<_, String>([sha256(&client.certificate)?, sha256(&client.key)?]));
        Ok(Self {
            http: options.http,
            private_cidrs: private_cidrs.to_vec(),
            roots: options.ca.iter().map(|path| sha256(path)).collect::<Result<_, _>>()?,
            client_certificate: client.transpose()?,
        })
    }
}

fn sha256(path: &Path) -> Result<[u8; 32], String> {
    let content = file::read(path, file::LIMIT).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, &content).as_ref());
    Ok(sum)
}
