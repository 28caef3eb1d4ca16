//! Everything that talks to the API server, as tasks that run beside the server: namespaces, renderings, the certificate,
//! the version. None of them is on the admission path.

pub(crate) mod observe;
pub mod version;
pub mod vitals;

use std::env;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::certificate::{self, Resolver};
use crate::config::Config;
use crate::health::Health;
use crate::namespaces::Namespaces;
use crate::rendering::Rendering;
use crate::renderings::Renderings;
use vitals::Vitals;

/// How long any call but a watch may take.
const CALL_TIME: Duration = Duration::from_secs(10);
/// How long a connection to the API server may take to open.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a connection may be silent. Watches are ended by the API server after a minute, so one that is silent for
/// longer is dead.
const SILENCE: Duration = Duration::from_secs(75);

/// Who this replica is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The webhook's namespace: Secret, ConfigMap and Service are there.
    pub namespace: String,
    /// The name of its pod, or any other that no other replica has.
    pub replica: String,
}

impl Identity {
    /// From `POD_NAMESPACE` and `POD_NAME`, else the client's namespace and the host's name.
    #[must_use]
    pub fn of_pod(client: &Client) -> Self {
        let variable = |name| env::var(name).ok().filter(|text| !text.is_empty());
        let namespace = variable("POD_NAMESPACE").unwrap_or_else(|| client.default_namespace().to_owned());
        let replica = variable("POD_NAME").or_else(|| variable("HOSTNAME"));
        Self { namespace, replica: replica.unwrap_or_else(|| format!("process-{}", std::process::id())) }
    }
}

/// What the server asks. The tasks behind it end when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The namespaces.
    pub namespaces: Arc<Namespaces>,
    /// The renderings of all replicas.
    pub renderings: Arc<Renderings>,
    /// The certificate to serve, for [`rustls::ServerConfig`].
    pub certificate: Arc<Resolver>,
    /// Keeps the tasks.
    tasks: JoinSet<()>,
}

impl Cluster {
    /// Starts everything and returns at once; `health` says how far it is. `rendering` is what `config` makes: it is
    /// published before [`crate::health::Condition::Renderings`] is met.
    #[must_use]
    pub fn start(
        client: Client,
        identity: Identity,
        config: &Config,
        rendering: Rendering,
        health: &Arc<Health>,
        vitals: &Vitals,
    ) -> Self {
        let namespaces = Namespaces::new(client.clone(), vitals.clone());
        let renderings = Renderings::new(client.clone(), &identity.namespace, Arc::clone(health), vitals.clone());
        let certificate = Arc::<Resolver>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(version::check(client.clone(), Arc::clone(health)));
        tasks.spawn(Arc::clone(&namespaces).run(Arc::clone(health)));
        tasks.spawn(Arc::clone(&renderings).run(rendering, config.sidecar.withdrawn_renderings.clone()));
        tasks.spawn(certificate::run(
            client,
            identity,
            config.certificate.clone(),
            Arc::clone(&certificate),
            Arc::clone(health),
            vitals.clone(),
        ));
        Self { namespaces, renderings, certificate, tasks }
    }

    /// Returns when a task panicked: then the process should end too. What has done its work, as the check of the
    /// version, ends too and is no reason.
    pub async fn ended(&mut self) -> String {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(())) => {}
                Some(Err(error)) => return error.to_string(),
                None => return "every task ended".to_owned(),
            }
        }
    }
}

/// A client by `KUBECONFIG`, `~/.kube/config` or the pod's ServiceAccount, for which no call hangs for ever.
///
/// # Errors
/// When none of them can be read.
pub async fn client() -> Result<Client, kube::Error> {
    let config = kube::Config::infer().await.map_err(kube::Error::InferConfig)?;
    client_of(config)
}

/// A client by this configuration, with our timeouts.
///
/// # Errors
/// When a certificate or key in it can't be used.
pub fn client_of(mut config: kube::Config) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(CONNECT_TIME);
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    Client::try_from(config)
}

/// A call to the API server that ends in time.
pub(crate) async fn call<T>(future: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    match timeout(CALL_TIME, future).await {
        Ok(result) => result,
        Err(_elapsed) => Err(kube::Error::Service(format!("no answer within {CALL_TIME:?}").into())),
    }
}
