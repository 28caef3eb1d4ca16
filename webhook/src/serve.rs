//! The order of starting and the drain. Nothing is answered before everything that a decision needs is there, and nothing
//! that a peer has begun is dropped at the end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use rustls::server::ResolvesServerCert;
use sandgate_service::command_line::in_words;
use sandgate_service::ends::Ends;
use sandgate_service::{health_port, open_files};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::admin::Admin;
use crate::cli;
use crate::cluster::{self, Cluster, Identity};
use crate::config::file::Reload;
use crate::config::{Config, ConfigFile};
use crate::endpoints::{self, InForce, Reviews};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::name_servers::{RESOLV_CONF, name_servers};
use crate::rendering::Rendering;
use crate::renderings::Renderings;
use crate::server::{self, Bounds, Running};

/// A connection to the admin port, from its first moment to its end.
const ADMIN_TIME: Duration = Duration::from_secs(10);
/// What needs no SIGHUP.
const READ_AGAIN: &str = "the configuration and the certificate's files";
/// How often the configuration's file is looked at.
const CONFIG_POLL: Duration = Duration::from_secs(2);
/// How often it is looked whether the replica has become ready for the first time.
const READY_POLL: Duration = Duration::from_millis(50);
/// The pause before a rendering is published again.
const PUBLISH_PAUSE: Duration = Duration::from_secs(2);

/// Is the webhook until a signal.
///
/// # Errors
/// Whatever can't be started, with the file or address that is in the way, and whatever fails later.
pub async fn serve(arguments: &cli::Serve) -> anyhow::Result<()> {
    let mut ends = Ends::watch(READ_AGAIN).context("signals cannot be received")?;
    let (file, config) = ConfigFile::open(&arguments.config)?;
    let (health, metrics) = (Arc::new(Health::default()), Arc::new(Metrics::new()));
    let in_force = InForce::of(&config)?;
    metrics.configuration_loaded(&in_force.hash);
    let bounds = Bounds::new(&config.server, file_limit());
    let listener = listen("server.listen", config.server.listen)?;
    let admin = listen("server.adminListen", config.server.admin_listen)?;

    let (reviews_at, admin_at) = (listener.local_addr()?, admin.local_addr()?);
    tracing::info!(listen = %reviews_at, admin = %admin_at, "started; not ready yet");

    let client = cluster::client().await.context("no access to the API server")?;
    let identity = Identity { namespace: arguments.namespace.clone(), replica: arguments.pod_name.clone() };
    let rendering = in_force.rendering.clone();
    let mut cluster = Cluster::start(client, identity, &config, rendering, &health, &metrics.vitals());
    let in_force = Arc::new(ArcSwap::from_pointee(in_force));
    let mut tasks = JoinSet::new();
    let shown = Admin { health: Arc::clone(&health), metrics: Arc::clone(&metrics) };
    tasks.spawn(health_port::serve(vec![admin], Arc::new(shown), ADMIN_TIME));
    let reload = Reloading {
        in_force: Arc::clone(&in_force),
        renderings: Arc::clone(&cluster.renderings),
        metrics: Arc::clone(&metrics),
    };
    tasks.spawn(reload.run(file, config.clone()));

    tokio::select! {
        () = ready(&health) => {}
        () = ends.next() => return Ok(()),
        failure = failed(&mut cluster, &mut tasks) => return Err(failure),
    }
    let reviews =
        Reviews::new(in_force, Arc::clone(&cluster.namespaces), Arc::clone(&cluster.renderings), Arc::clone(&metrics));
    let resolver: Arc<dyn ResolvesServerCert> = cluster.certificate.clone();
    let mut running = server::start(listener, resolver, endpoints::router(reviews), bounds, metrics)?;
    tracing::info!(listen = %running.address(), "ready");
    tokio::select! {
        () = ends.next() => {}
        failure = failed(&mut cluster, &mut tasks) => return Err(failure),
        () = running.failed() => return Err(anyhow!("the server failed")),
    }
    drain(running, &config, &health, &mut ends).await;
    Ok(())
}

/// As many open files as the kernel lets this process have.
fn file_limit() -> usize {
    if let Err(why) = open_files::raise_limit() {
        tracing::warn!("{why}");
    }
    open_files::limit()
}

/// Listens from now on; who comes before the first answer can be given waits in the kernel.
fn listen(setting: &str, address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    server::bind(address).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "; another process listens there: end it, or set another port",
            _ => "",
        };
        anyhow!("{setting}: can't listen on {address}: {error}{advice}")
    })
}

/// Waits until every condition is met.
async fn ready(health: &Health) {
    while !health.unmet().is_empty() {
        sleep(READY_POLL).await;
    }
}

/// Waits for a part to fail. Each lives as long as the process, and one that is gone would not be missed until it is
/// needed.
async fn failed(cluster: &mut Cluster, tasks: &mut JoinSet<()>) -> anyhow::Error {
    tokio::select! {
        why = cluster.ended() => anyhow!("a task of the cluster's failed: {why}"),
        Some(ended) = tasks.join_next() => match ended {
            Ok(()) => anyhow!("a part of the webhook ended by itself"),
            Err(error) => anyhow!("a part of the webhook failed: {error}"),
        },
    }
}

/// Not ready any more, but accepting on, until every API server and proxy has heard of it and has taken its connections
/// elsewhere; then what runs is finished. A second signal ends all at once.
async fn drain(running: Running, config: &Config, health: &Health, ends: &mut Ends) {
    health.drain();
    running.drain();
    let (delay, grace) = (config.server.drain_delay, config.server.drain_grace);
    tracing::info!(?delay, ?grace, "draining");
    let drained = async {
        sleep(delay).await;
        if !running.stop(grace.saturating_sub(delay)).await {
            tracing::warn!("connections were cut off at the end of server.drainGrace");
        }
    };
    tokio::select! {
        () = drained => {}
        () = ends.next() => tracing::warn!("a second signal cuts off what runs"),
    }
}

impl InForce {
    /// What a configuration makes in this pod.
    ///
    /// # Errors
    /// When there is no name server for sidecars.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        let servers = name_servers(config, Path::new(RESOLV_CONF))?;
        let rendering = Rendering::new(config, &servers);
        tracing::info!(configuration = config.hash(), rendering = rendering.hash(), ?servers, "rendering made");
        Ok(Self { hash: config.hash(), rendering, config: config.clone() })
    }
}

/// Puts new configurations in force: published first, so that no other replica refuses what is made by them.
struct Reloading {
    in_force: Arc<ArcSwap<InForce>>,
    renderings: Arc<Renderings>,
    metrics: Arc<Metrics>,
}

impl Reloading {
    async fn run(self, file: ConfigFile, first: Arc<Config>) {
        let (sender, mut receiver) = watch::channel(first);
        let metrics = Arc::clone(&self.metrics);
        let looked = move |reload| match reload {
            Reload::Taken => {}
            Reload::Failed => metrics.configuration_reload_failed(),
        };
        let take = async {
            while receiver.changed().await.is_ok() {
                self.take(&mut receiver).await;
            }
        };
        tokio::join!(file.watch(CONFIG_POLL, sender, looked), take);
    }

    /// Tries until the newest configuration is published, and then in force.
    async fn take(&self, configurations: &mut watch::Receiver<Arc<Config>>) {
        loop {
            let config = Arc::clone(&configurations.borrow_and_update());
            match self.publish(&config).await {
                Ok(in_force) => {
                    self.metrics.configuration_loaded(&in_force.hash);
                    tracing::info!(hash = in_force.hash, "pods are made by this configuration from now on");
                    self.in_force.store(Arc::new(in_force));
                    return;
                }
                Err(error) => {
                    self.metrics.configuration_reload_failed();
                    let why = in_words(&error);
                    tracing::error!(why, "the configuration is not used; the one before stays, and it is tried again");
                }
            }
            // A newer configuration need not wait.
            let _ = timeout(PUBLISH_PAUSE, configurations.changed()).await;
        }
    }

    async fn publish(&self, config: &Config) -> anyhow::Result<InForce> {
        let in_force = InForce::of(config)?;
        self.renderings.publish(&in_force.rendering, &config.sidecar.withdrawn_renderings).await?;
        Ok(in_force)
    }
}
