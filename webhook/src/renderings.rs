//! The renderings that are genuine: published by hash in one ConfigMap of the webhook's own namespace, and watched there,
//! so that no replica refuses what another one made. Never decides what a rendering is worth: `genuine` compares.

mod published;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::runtime::watcher::Event;
use kube::{Api, Client};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::cluster::call;
use crate::cluster::observe::{events, why};
use crate::cluster::vitals::Vitals;
use crate::health::{Condition, Health};
use crate::rendering::Rendering;
use published::Published;

/// The name of the ConfigMap.
pub const RENDERINGS_CONFIG_MAP: &str = "sandgate-renderings";
/// How long after it was stored a rendering is used: others hear of it by watching, and are asked about its first pod a
/// few milliseconds after that was made.
const SETTLE: Duration = Duration::from_secs(1);
/// How often an update is tried again when another replica came first.
const TRIES: u32 = 10;
/// The pause after that, times the tries.
const TURN: Duration = Duration::from_millis(20);
/// The pause before what vanished is published again, when that failed.
const PAUSE: Duration = Duration::from_secs(2);

/// Why a rendering could not be published. A pod that it makes would be refused elsewhere, so it must not be used.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The manifests bring the ConfigMap; the webhook may not create one.
    #[error("configmap {namespace}/{RENDERINGS_CONFIG_MAP} does not exist; apply the webhook's manifests again")]
    Missing {
        /// Where it should be.
        namespace: String,
    },
    /// The API server refused, or did not answer.
    #[error("configmap {namespace}/{RENDERINGS_CONFIG_MAP} could not be updated: {why}")]
    Failed {
        /// Where it is.
        namespace: String,
        /// The cause.
        why: String,
    },
}

/// The renderings of all replicas.
pub struct Renderings {
    accepted: ArcSwap<Vec<Rendering>>,
    state: Mutex<State>,
    /// `None` when what is accepted is all there is.
    source: Option<Source>,
    vanished: Notify,
}

impl std::fmt::Debug for Renderings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renderings").field("accepted", &self.accepted.load().len()).finish_non_exhaustive()
    }
}

struct Source {
    api: Api<ConfigMap>,
    namespace: String,
    health: Arc<Health>,
    vitals: Vitals,
}

#[derive(Default)]
struct State {
    /// What was read last, whether or not it is still there.
    known: Published,
    /// What this replica makes pods with.
    current: Option<Rendering>,
    withdrawn: Vec<String>,
    /// Whether the ConfigMap was looked for once.
    listed: bool,
    /// Whether it was there when it was looked at last.
    exists: bool,
    /// Why the last attempt to publish failed.
    failure: Option<String>,
}

impl Renderings {
    /// Those in `namespace` of a cluster. [`Renderings::run`] keeps them.
    #[must_use]
    pub fn new(client: Client, namespace: &str, health: Arc<Health>, vitals: Vitals) -> Arc<Self> {
        let api = Api::namespaced(client, namespace);
        Self::with(Some(Source { api, namespace: namespace.to_owned(), health, vitals }), Vec::new())
    }

    /// A fixed set, for tests and where there is no cluster.
    #[must_use]
    pub fn fixed(accepted: Vec<Rendering>) -> Arc<Self> {
        Self::with(None, accepted)
    }

    fn with(source: Option<Source>, accepted: Vec<Rendering>) -> Arc<Self> {
        let accepted = ArcSwap::from_pointee(accepted);
        Arc::new(Self { accepted, state: Mutex::default(), source, vanished: Notify::new() })
    }

    /// What is genuine: everything that is published, without what is withdrawn. The rendering that this replica uses
    /// may be among them: one that was published last and is used a moment later belongs there in between.
    #[must_use]
    pub fn accepted(&self) -> Arc<Vec<Rendering>> {
        self.accepted.load_full()
    }

    /// Publishes what this replica makes pods with from now on; returns when it is stored and the others had the time
    /// to hear of it. From then on it is published again whenever it vanishes. `withdrawn` are hashes that are accepted no longer (`sidecar.withdrawnRenderings`).
    ///
    /// At start before being ready; on a reload before the new configuration is used, which on an error it must not be.
    ///
    /// # Errors
    /// [`PublishError`]; then nothing is changed.
    pub async fn publish(&self, rendering: &Rendering, withdrawn: &[String]) -> Result<(), PublishError> {
        self.store(rendering).await?;
        self.change(|state| state.use_from_now_on(rendering, withdrawn));
        Ok(())
    }

    async fn store(&self, rendering: &Rendering) -> Result<(), PublishError> {
        let Some(source) = &self.source else { return Ok(()) };
        let known = self.lock().known.clone();
        let result = source.publish(rendering, &known).await;
        self.change(|state| match &result {
            Ok((stored, _written)) => (state.known, state.failure) = (stored.clone(), None),
            Err(error) => state.failure = Some(error.to_string()),
        });
        if result?.1 {
            sleep(SETTLE).await;
        }
        Ok(())
    }

    /// Publishes `first`, then watches the ConfigMap for ever and publishes again what vanishes. A publication of
    /// somebody else's in the meantime takes the place of `first`.
    ///
    /// [`Condition::Renderings`] is met once this replica's rendering is published and the others' were listed; that
    /// the ConfigMap vanishes later does not take it away, for memory serves.
    pub async fn run(self: Arc<Self>, first: Rendering, withdrawn: Vec<String>) {
        let Some(source) = &self.source else { return };
        let fields = format!("metadata.name={RENDERINGS_CONFIG_MAP}");
        let watch = events("renderings", source.api.clone(), &fields, &source.vitals, |seen| {
            if let Ok(event) = seen {
                self.on(event);
            }
        });
        tokio::join!(watch, self.keep(source, first, withdrawn));
    }

    async fn keep(&self, source: &Source, first: Rendering, withdrawn: Vec<String>) {
        while self.lock().current.is_none() {
            if let Err(error) = self.store(&first).await {
                tracing::warn!(%error, retry_in = ?PAUSE, "this replica's rendering is not published, so it is not ready");
                // A ConfigMap that is made is seen at once.
                let _made = timeout(PAUSE, self.vanished.notified()).await;
                continue;
            }
            // A reload may have come first.
            self.change(|state| {
                if state.current.is_none() {
                    state.use_from_now_on(&first, &withdrawn);
                }
            });
        }
        loop {
            self.vanished.notified().await;
            if let Err(error) = self.publish_again(source).await {
                tracing::warn!(%error, retry_in = ?PAUSE, "this replica's rendering vanished");
                sleep(PAUSE).await;
                // A ConfigMap that is made again is seen by the watch.
                if !matches!(error, PublishError::Missing { .. }) {
                    self.vanished.notify_one();
                }
            }
        }
    }

    async fn publish_again(&self, source: &Source) -> Result<(), PublishError> {
        let (current, known) = {
            let state = self.lock();
            (state.current.clone(), state.known.clone())
        };
        let Some(current) = current else { return Ok(()) };
        let (stored, written) = source.publish(&current, &known).await?;
        if written {
            tracing::warn!(rendering = current.hash(), "this replica's rendering had vanished; it is published again");
        }
        self.change(|state| state.known = stored);
        Ok(())
    }

    fn on(&self, event: Event<ConfigMap>) {
        match event {
            Event::Init => self.lock().exists = false,
            Event::InitApply(object) | Event::Apply(object) => self.seen(Some(Published::read(&object))),
            Event::InitDone => {
                let exists = self.lock().exists;
                if !exists {
                    self.seen(None);
                }
                self.change(|state| state.listed = true);
            }
            Event::Delete(_) => self.seen(None),
        }
    }

    /// Takes what the ConfigMap says now; `None` when there is none. What is gone with the whole ConfigMap stays
    /// accepted: somebody deleted an object, not the pods.
    fn seen(&self, published: Option<Published>) {
        let exists = published.is_some();
        let mut vanished = exists;
        self.change(|state| {
            let made = exists && !state.exists;
            if state.exists && !exists {
                tracing::warn!(
                    "configmap {RENDERINGS_CONFIG_MAP} was deleted; what it said holds until this replica ends, and new ones do \
                     not get ready: kubectl apply -k of Sandgate's manifests brings it back"
                );
            }
            state.exists = exists;
            if let Some(published) = published {
                vanished = match &state.current {
                    Some(current) => !published.has(&current.hash()),
                    None => made,
                };
                if !published.is_empty() {
                    state.known = published;
                }
            }
        });
        if vanished {
            self.vanished.notify_one();
        }
    }

    /// Changes the state, and what follows from it.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        self.recount(&state);
        if let Some(source) = &self.source {
            source.health.set(Condition::Renderings, state.readiness());
        }
    }

    fn recount(&self, state: &State) {
        let accepted = state.known.renderings().filter(|(hash, _)| !state.withdrawn.iter().any(|other| other == *hash));
        let accepted: Vec<Rendering> = accepted.map(|(_, rendering)| rendering.clone()).collect();
        if let Some(source) = &self.source {
            source.vitals.renderings.set(i64::try_from(accepted.len()).unwrap_or(i64::MAX));
        }
        self.accepted.store(Arc::new(accepted));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves a state that is whole: it is set in single steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn use_from_now_on(&mut self, rendering: &Rendering, withdrawn: &[String]) {
        self.current = Some(rendering.clone());
        self.withdrawn = withdrawn.to_vec();
    }

    fn readiness(&self) -> Result<(), String> {
        match (&self.current, self.listed) {
            (Some(_), true) => Ok(()),
            (Some(_), false) => Err("the published renderings were not listed yet".to_owned()),
            (None, _) => {
                let why = self.failure.as_deref().unwrap_or("it was not tried yet");
                Err(format!("this replica's rendering is not published: {why}"))
            }
        }
    }
}

impl Source {
    /// Adds `rendering`, and what is `known` if the ConfigMap has nothing, by compare-and-swap. What is there then, and
    /// whether that had to be written.
    async fn publish(&self, rendering: &Rendering, known: &Published) -> Result<(Published, bool), PublishError> {
        for tries in 1..=TRIES {
            let object = match call(self.api.get_opt(RENDERINGS_CONFIG_MAP)).await {
                Ok(Some(object)) => object,
                Ok(None) => return Err(PublishError::Missing { namespace: self.namespace.clone() }),
                Err(error) => return Err(self.failed(&why(&error))),
            };
            let mut published = Published::read(&object);
            let lost = published.is_empty() && !known.is_empty();
            if lost {
                published = known.clone();
            }
            if !published.add(rendering, time::OffsetDateTime::now_utc()) && !lost {
                return Ok((published, false));
            }
            let object = published.write(object);
            match call(self.api.replace(RENDERINGS_CONFIG_MAP, &PostParams::default(), &object)).await {
                Ok(_) => return Ok((published, true)),
                // Replicas that start together meet here; each gets its turn.
                Err(kube::Error::Api(status)) if status.is_conflict() => sleep(TURN * tries).await,
                Err(error) => return Err(self.failed(&why(&error))),
            }
        }
        Err(self.failed("others changed it each time"))
    }

    fn failed(&self, why: &str) -> PublishError {
        PublishError::Failed { namespace: self.namespace.clone(), why: why.to_owned() }
    }
}
