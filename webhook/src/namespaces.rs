//! The namespaces in memory: names and our annotations, kept by a watch of metadata alone. Decides nothing.
//!
//! Architecture Invariant: the one call to the API server on the admission path is [`Namespaces::get`]'s for a namespace
//! that is not known yet, and callers for the same one share it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::api::core::v1;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Api, Client};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cluster::observe::{events, why};
use crate::cluster::vitals::Vitals;
use crate::health::{Condition, Health};
use crate::namespace::Namespace;

/// How long a review waits for a namespace that is not known yet.
const FETCH_TIME: Duration = Duration::from_secs(1);
/// Namespaces that are asked for at the same time. Anything that reaches our port can name namespaces.
const MOST_FETCHES: usize = 64;

type Metadata = PartialObjectMeta<v1::Namespace>;
type Answer = Result<Arc<Namespace>, NotKnown>;

/// Why nothing is known about a namespace. The texts are for the user whose pod is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotKnown {
    /// The API server says that there is none.
    #[error("namespace {0:?} does not exist as far as the API server knows; if it was made just now, try again")]
    Missing(String),
    /// The text can't name a namespace.
    #[error("{0:?} is no name of a namespace")]
    NoName(String),
    /// The API server did not say in time.
    #[error("namespace {0:?} is not known yet, and the API server did not answer within 1 s; try again")]
    TooLate(String),
    /// The API server did not say. The cause is in the log.
    #[error("namespace {0:?} is not known yet, and asking the API server failed; try again")]
    Failed(String),
    /// Too many others are being asked for.
    #[error("namespace {0:?} is not known yet, and too many others are being asked for; try again")]
    Busy(String),
}

/// The namespaces of the cluster.
#[derive(Debug)]
pub struct Namespaces {
    state: RwLock<State>,
    /// `None` when what is known is all there is.
    source: Option<Source>,
}

#[derive(Default, Debug)]
struct State {
    known: HashMap<String, Arc<Namespace>>,
    /// What a list that runs has brought so far.
    listed: HashMap<String, Arc<Namespace>>,
    fetches: HashMap<String, watch::Receiver<Option<Answer>>>,
}

struct Source {
    api: Api<Metadata>,
    vitals: Vitals,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

impl Namespaces {
    /// Those of a cluster. [`Namespaces::run`] keeps them.
    #[must_use]
    pub fn new(client: Client, vitals: Vitals) -> Arc<Self> {
        let source = Some(Source { api: Api::all(client), vitals });
        Arc::new(Self { state: RwLock::default(), source })
    }

    /// A fixed set, for tests and where there is no cluster: what is not in it is [`NotKnown::Missing`].
    #[must_use]
    pub fn fixed(namespaces: Vec<Namespace>) -> Arc<Self> {
        let known = namespaces.into_iter().map(|namespace| (namespace.name.clone(), Arc::new(namespace))).collect();
        Arc::new(Self { state: RwLock::new(State { known, ..State::default() }), source: None })
    }

    /// Watches for ever. [`Condition::Namespaces`] is met after the first list.
    pub async fn run(self: Arc<Self>, health: Arc<Health>) {
        let Some(Source { api, vitals }) = &self.source else {
            return health.set(Condition::Namespaces, Ok(()));
        };
        health.set(Condition::Namespaces, Err("the namespaces were not listed yet".to_owned()));
        let mut listed = false;
        let on = |seen| match seen {
            Ok(event) => {
                if self.take(event) {
                    listed = true;
                    health.set(Condition::Namespaces, Ok(()));
                }
            }
            Err(error) if !listed => {
                health.set(Condition::Namespaces, Err(format!("the namespaces can't be listed: {error}")));
            }
            Err(_) => {}
        };
        events("namespaces", api.clone(), "", vitals, on).await;
    }

    /// The namespace with this name: from memory, else asked for within 1 s, once for all who ask.
    ///
    /// # Errors
    /// [`NotKnown`]. Nothing of it is remembered: the next call asks again.
    pub async fn get(self: &Arc<Self>, name: &str) -> Answer {
        if let Some(known) = self.state(|state| state.known.get(name).cloned()) {
            return Ok(known);
        }
        let mut answer = self.fetch(name)?;
        let answered = answer.wait_for(Option::is_some).await.map(|answer| answer.clone());
        // The task that fetches ends without an answer only when the program ends.
        answered.ok().flatten().unwrap_or_else(|| Err(NotKnown::Failed(name.to_owned())))
    }

    /// How many namespaces are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state(|state| state.known.len())
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Joins the fetch that runs for `name`, or starts one that goes on whoever gives up waiting.
    fn fetch(self: &Arc<Self>, name: &str) -> Result<watch::Receiver<Option<Answer>>, NotKnown> {
        let Some(Source { api, vitals }) = &self.source else { return Err(NotKnown::Missing(name.to_owned())) };
        // The name becomes part of a URL.
        if !is_name(name) {
            return Err(NotKnown::NoName(name.chars().take(64).collect()));
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = state.fetches.get(name) {
            return Ok(running.clone());
        }
        if state.fetches.len() >= MOST_FETCHES {
            return Err(NotKnown::Busy(name.to_owned()));
        }
        let (answer, receiver) = watch::channel(None);
        state.fetches.insert(name.to_owned(), receiver.clone());
        vitals.fetches.inc();
        let (namespaces, api, name) = (Arc::clone(self), api.clone(), name.to_owned());
        tokio::spawn(async move {
            let fetched = ask(&api, &name).await;
            namespaces.fetched(&name, &fetched);
            answer.send_replace(Some(fetched));
        });
        Ok(receiver)
    }

    fn fetched(&self, name: &str, fetched: &Answer) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // A fetch that the watch overtook is gone from the list: then what the watch said stands.
        if let (Some(_), Ok(namespace)) = (state.fetches.remove(name), fetched) {
            state.known.entry(name.to_owned()).or_insert_with(|| Arc::clone(namespace));
        }
    }

    /// Takes what the watch says; whether that ended a list.
    fn take(&self, event: Event<Metadata>) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => state.listed = HashMap::new(),
            Event::InitApply(object) => {
                let namespace = reduced(&object);
                state.listed.insert(namespace.name.clone(), namespace);
            }
            Event::InitDone => {
                state.known = std::mem::take(&mut state.listed);
                return true;
            }
            Event::Apply(object) => {
                let namespace = reduced(&object);
                state.known.insert(namespace.name.clone(), namespace);
            }
            Event::Delete(object) => {
                let name = object.metadata.name.unwrap_or_default();
                state.known.remove(&name);
                state.fetches.remove(&name);
            }
        }
        false
    }

    fn state<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        // A panic elsewhere leaves a state that is whole: every change is one step.
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What we keep of a namespace.
fn reduced(object: &Metadata) -> Arc<Namespace> {
    let empty = std::collections::BTreeMap::new();
    let annotations = object.metadata.annotations.as_ref().unwrap_or(&empty);
    Arc::new(Namespace::new(object.metadata.name.as_deref().unwrap_or_default(), annotations))
}

async fn ask(api: &Api<Metadata>, name: &str) -> Answer {
    match timeout(FETCH_TIME, api.get(name)).await {
        Ok(Ok(object)) => Ok(reduced(&object)),
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Err(NotKnown::Missing(name.to_owned())),
        Ok(Err(error)) => {
            tracing::warn!(namespace = name, error = %why(&error), "asking for a namespace failed");
            Err(NotKnown::Failed(name.to_owned()))
        }
        Err(_elapsed) => Err(NotKnown::TooLate(name.to_owned())),
    }
}

/// Whether `text` is a DNS label (RFC 1123), as names of namespaces are.
fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, policy: &str) -> Metadata {
        let annotations = json!({"sandgate.dev/policy": policy, "other": "x"});
        serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}})).unwrap()
    }

    fn policy(namespaces: &Namespaces, name: &str) -> Option<String> {
        namespaces.state(|state| state.known.get(name).map(|namespace| namespace.policy.clone().unwrap()))
    }

    #[test]
    fn a_new_list_replaces_all_at_once_and_changes_come_one_by_one() {
        let namespaces = Namespaces::fixed(vec![Namespace { name: "gone".to_owned(), ..Namespace::default() }]);
        assert!(!namespaces.take(Event::Init));
        namespaces.take(Event::InitApply(object("a", "one")));
        assert_eq!(policy(&namespaces, "a"), None, "a list that runs is not seen yet");
        assert_eq!(namespaces.len(), 1);
        assert!(namespaces.take(Event::InitDone));
        assert_eq!((namespaces.len(), policy(&namespaces, "a")), (1, Some("one".to_owned())));
        namespaces.take(Event::Apply(object("a", "two")));
        assert_eq!(policy(&namespaces, "a"), Some("two".to_owned()));
        namespaces.take(Event::Delete(object("a", "two")));
        assert!(namespaces.is_empty());
    }

    #[test]
    fn a_fetch_that_the_watch_overtook_changes_nothing() {
        let namespaces = Namespaces::fixed(Vec::new());
        let fetched = |name: &str| Ok(Arc::new(Namespace { name: name.to_owned(), ..Namespace::default() }));
        let running = |name: &str| {
            let (_, receiver) = watch::channel(None);
            namespaces.state.write().unwrap().fetches.insert(name.to_owned(), receiver);
        };
        running("a");
        namespaces.take(Event::Apply(object("a", "watched")));
        namespaces.fetched("a", &fetched("a"));
        assert_eq!(policy(&namespaces, "a"), Some("watched".to_owned()));
        running("b");
        namespaces.take(Event::Delete(object("b", "")));
        namespaces.fetched("b", &fetched("b"));
        assert_eq!(policy(&namespaces, "b"), None, "it was deleted meanwhile");
    }

    #[test]
    fn what_is_no_name_never_gets_into_a_url() {
        for name in ["a", "a-b", "0", &"x".repeat(63)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "A", "a.b", "a/b", "..", "a?b", "a b", "ä", &"x".repeat(64)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[tokio::test]
    async fn a_fixed_set_knows_its_members_alone() {
        let namespaces = Namespaces::fixed(vec![Namespace { name: "a".to_owned(), ..Namespace::default() }]);
        assert_eq!(namespaces.get("a").await.unwrap().name, "a");
        assert_eq!(namespaces.get("b").await, Err(NotKnown::Missing("b".to_owned())));
    }
}
