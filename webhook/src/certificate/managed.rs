//! The managed certificate: one task that looks at the Secret and both configurations whenever one of them changes or
//! something is due, and does the next step. Every look is a fresh read, so a watch that lags undoes nothing.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use thiserror::Error;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::bundles::{Bundles, Configuration};
use super::secret::{Held, Read};
use super::serving::{self, Serving};
use super::stage::{Action, Change, Memory, Timing, step};
use super::{CertificateError, Keeper};
use crate::cluster::call;
use crate::cluster::observe::{events, why};
use crate::cluster::vitals::Vitals;

/// The longest time between two looks.
const LOOK: Duration = Duration::from_secs(60);
/// The pause after a look that failed, and the longest one. A repair is due within 2 s.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The shortest time between two looks: who undoes each of our writes at once gets no loop without a pause.
const REST: Duration = Duration::from_millis(100);
/// Steps of one look: to find a conflict is no progress, so there is an end.
const MOST_STEPS: usize = 16;

/// Keeps Secret, bundles and certificate for ever.
pub(super) async fn run(keeper: Keeper) {
    let changed = Arc::new(Notify::new());
    let secrets: Api<Secret> = Api::namespaced(keeper.client.clone(), &keeper.identity.namespace);
    let bundles = Bundles::new(&keeper.client, &keeper.config, &keeper.vitals);
    let (config, client, vitals) = (keeper.config.clone(), keeper.client.clone(), keeper.vitals.clone());
    let timing = Timing { rotate_before: config.rotate_before, trust_delay: config.trust_delay };
    let secret_metadata = Api::namespaced(client.clone(), &keeper.identity.namespace);
    let managed = Managed { keeper, secrets, bundles, timing, memory: Memory::default(), held: None, serving: None };
    let [mutating, validating] = [&config.mutating_configuration, &config.validating_configuration];
    tokio::join!(
        managed.keep(&changed),
        trigger::<Secret>("secret", secret_metadata, &config.secret_name, &vitals, &changed),
        trigger::<MutatingWebhookConfiguration>("mutating", Api::all(client.clone()), mutating, &vitals, &changed),
        trigger::<ValidatingWebhookConfiguration>("validating", Api::all(client), validating, &vitals, &changed),
    );
}

/// Watches the metadata of one object, to look when it changes.
async fn trigger<K>(watch: &str, api: Api<PartialObjectMeta<K>>, name: &str, vitals: &Vitals, changed: &Notify)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    events(watch, api, &format!("metadata.name={name}"), vitals, |seen| {
        if seen.is_ok() {
            changed.notify_one();
        }
    })
    .await;
}

struct Managed {
    keeper: Keeper,
    secrets: Api<Secret>,
    bundles: Bundles,
    timing: Timing,
    memory: Memory,
    /// The CAs that this replica knows last.
    held: Option<Held>,
    serving: Option<Serving>,
}

/// What is to be made of a Secret.
enum Verdict {
    /// It is as it has to be.
    Agreed(Held),
    /// It has to be written, and why.
    Mended(Held, String),
}

/// Why a look could not be finished.
#[derive(Debug, Error)]
enum LookError {
    #[error("the API server: {}", why(.0))]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("secret {0} and the webhook configurations kept changing")]
    Restless(String),
}

impl Managed {
    async fn keep(mut self, changed: &Notify) {
        let mut pause = PAUSE;
        loop {
            let wait = match self.look().await {
                Ok(()) => {
                    pause = PAUSE;
                    self.next_look()
                }
                Err(error) => {
                    tracing::warn!(%error, retry_in = ?pause, "looking after the certificate failed");
                    self.keeper.readiness.blind(error.to_string());
                    let wait = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    wait
                }
            };
            sleep(REST).await;
            let _changed = timeout(wait, changed.notified()).await;
        }
    }

    /// Does what is to be done now: step by step, each from what is so after the last.
    async fn look(&mut self) -> Result<(), LookError> {
        for _ in 0..MOST_STEPS {
            let secret = call(self.secrets.get_opt(&self.keeper.config.secret_name)).await?;
            let Some((secret, held)) = self.agree(secret).await? else { continue };
            let Some(configurations) = self.repair(&held).await? else { continue };
            let now = OffsetDateTime::now_utc();
            let view = held.view();
            let bundle = held.bundle();
            let complete = configurations.iter().all(|configuration| configuration.is_complete(&bundle));
            self.memory.observe(&view, complete, now);
            self.keeper.vitals.rotation_stage.set(view.stage().into());
            let served = self.serving.as_ref().map(|serving| &serving.served);
            let actions = step(&self.keeper.identity.replica, &view, served, &self.memory, &self.timing, now);
            self.held = Some(held.clone());
            if actions.is_empty() {
                let result = self.keeper.verify(&configurations);
                self.keeper.readiness.seen(result);
                return Ok(());
            }
            for action in actions {
                match action {
                    Action::Serve => self.serve(&held, now)?,
                    Action::Change(change) => self.change(secret.clone(), &held, change, now).await?,
                }
            }
        }
        Err(LookError::Restless(self.keeper.config.secret_name.clone()))
    }

    /// What the Secret says; made or mended where it says nothing. `None` when that was done, or another came first:
    /// then look again.
    async fn agree(&self, secret: Option<Secret>) -> Result<Option<(Secret, Held)>, LookError> {
        let (name, post) = (&self.keeper.config.secret_name, PostParams::default());
        let written = match secret {
            None => {
                tracing::warn!(secret = name, known = self.held.is_some(), "the secret does not exist; it is made");
                let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
                let secret = Secret { metadata, type_: Some("Opaque".to_owned()), ..Secret::default() };
                call(self.secrets.create(&post, &self.sound()?.write(secret))).await
            }
            Some(secret) => match self.judge(&secret)? {
                Verdict::Agreed(held) => return Ok(Some((secret, held))),
                Verdict::Mended(held, why) => {
                    tracing::error!(secret = name, why, "the secret is written anew");
                    call(self.secrets.replace(name, &post, &held.write(secret))).await
                }
            },
        };
        won(written)?;
        Ok(None)
    }

    fn judge(&self, secret: &Secret) -> Result<Verdict, CertificateError> {
        Ok(match (Held::read(secret), &self.held) {
            (Read::Sound(read), Some(known)) if is_foreign(&read, known) => {
                let why = "somebody put another CA into it; that and the one before are trusted until none serves it";
                Verdict::Mended(read.beside(known), why.to_owned())
            }
            (Read::Sound(read), _) => Verdict::Agreed(read),
            (Read::Damaged(read, why), _) => Verdict::Mended(read, why),
            (Read::Broken(why), _) => Verdict::Mended(self.sound()?, why),
        })
    }

    /// The CAs from memory, while they can sign; else a new one.
    fn sound(&self) -> Result<Held, CertificateError> {
        let now = OffsetDateTime::now_utc();
        match &self.held {
            Some(held) if now < held.view().current.not_after => Ok(held.clone()),
            _ => Ok(Held::new(self.keeper.config.ca_lifetime, now)?),
        }
    }

    /// Reads both configurations and writes every caBundle that is not what it has to be. `None` when another came
    /// first.
    async fn repair(&self, held: &Held) -> Result<Option<[Configuration; 2]>, kube::Error> {
        let bundle = held.bundle();
        let mut configurations = self.bundles.read().await?;
        for configuration in &mut configurations {
            match self.bundles.repair(configuration, &bundle).await {
                Ok(None) => {}
                Ok(Some(repaired)) => {
                    tracing::info!(kind = repaired.kind.name(), name = repaired.name, "caBundles written");
                    self.keeper.vitals.repairs.with_label_values(&[repaired.kind.label()]).inc();
                    *configuration = repaired;
                }
                Err(error) => return won(Err::<(), _>(error)).map(|_lost| None),
            }
        }
        Ok(Some(configurations))
    }

    fn serve(&mut self, held: &Held, now: OffsetDateTime) -> Result<(), CertificateError> {
        let config = &self.keeper.config;
        let names = serving::names(&config.service_name, &self.keeper.identity.namespace);
        let made = serving::issue(&held.current, &names, config.serving_lifetime, now)?;
        self.keeper.resolver.serve(Arc::clone(&made.key));
        self.keeper.expires("serving", made.not_after);
        self.keeper.expires("ca", held.current.not_after());
        tracing::info!(until = %made.not_after, ca = held.current.subject(), "serving a new certificate");
        self.serving = Some(made);
        Ok(())
    }

    async fn change(&self, secret: Secret, held: &Held, change: Change, now: OffsetDateTime) -> Result<(), LookError> {
        let config = &self.keeper.config;
        let changed = held.changed(change, &self.keeper.identity.replica, config.ca_lifetime, now);
        let changed = changed.map_err(CertificateError::from)?.write(secret);
        let written = call(self.secrets.replace(&config.secret_name, &PostParams::default(), &changed)).await;
        if won(written)? && change != Change::Record {
            tracing::info!(?change, secret = config.secret_name, "the rotation of the CA went on");
        }
        Ok(())
    }

    /// How long nothing is due.
    fn next_look(&self) -> Duration {
        let now = OffsetDateTime::now_utc();
        let until = |at: OffsetDateTime| Duration::try_from(at - now).unwrap_or_default();
        let mut wait = LOOK;
        if let Some(serving) = &self.serving {
            wait = wait.min(until(serving.served.renew_at));
        }
        if let Some(view) = self.held.as_ref().map(Held::view) {
            wait = wait.min(match view.stage() {
                0 => until(self.timing.rotate_at(&view.current)),
                _ => self.timing.heartbeat() / 2,
            });
        }
        wait.max(Duration::from_millis(50))
    }
}

/// Whether these CAs are not what became of those that were known. An ended one is nobody's loss.
fn is_foreign(read: &Held, known: &Held) -> bool {
    let known = known.view().current;
    !read.trusts(&known.id) && OffsetDateTime::now_utc() < known.not_after
}

/// Whether a write came to be. A lost race is none: what the winner wrote is read next.
fn won<T>(result: Result<T, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status))
            if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
