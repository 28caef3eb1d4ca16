//! Start order and drain: everything that can be wrong is found before the first listener is there.

use std::collections::HashMap;
use std::hint;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use sandgate_contract::{CA_SECRET_CERT_KEY, CA_SECRET_PRIVATE_KEY};
use sandgate_policy::Mode;
use sandgate_service::{health_port, open_files};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::admin::{Admin, Health};
use crate::audit::{Audit, AuditOutput, AuditSettings, Identity, Observer};
use crate::authority::{CaError, CaFiles, End, Keeper, MadeCa, Source, Status};
use crate::descriptors::Descriptors;
use crate::enforcement::Enforcement;
use crate::engine::{Engine, Numbers};
use crate::file;
use crate::leaf::LeafCache;
use crate::limits::Limiter;
use crate::metrics::Metrics;
use crate::proxy;
use crate::reload::{self, Loaded, Loader};
use crate::resolver::{self, Resolver};
use crate::settings::{AuditLog, CaSource, PolicySource, Settings};
use crate::state;
use crate::trust::TrustFiles;
use crate::upstream::Upstream;
use crate::upstream::chain::Chain;
use crate::upstream::dial::Dialer;
use crate::upstream::profile::Profiles;
use crate::upstream::tls;

/// How often unused connections are looked for, and gauges are set.
const SWEEP: Duration = Duration::from_secs(5);
/// How often a drain looks whether a connection is open.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long the last audit lines may take.
const FLUSH: Duration = Duration::from_secs(2);
/// The copy of resolv.conf in the state directory.
const RESOLV_CONF: &str = "resolv.conf";

/// A started sidecar.
pub struct Running {
    engine: Arc<Engine>,
    health: Arc<Health>,
    proxy: Vec<SocketAddr>,
    admin: Vec<SocketAddr>,
    tasks: JoinSet<()>,
}

/// Starts everything. `observer` sees every audit record.
///
/// # Errors
/// Whatever can't be started, with the file or address that is in the way.
pub async fn start(settings: Settings, observer: Option<Observer>) -> anyhow::Result<Running> {
    let Prepared { engine, health, keeper, loader, hosts, hosts_seen, places } = Prepared::new(settings, observer)?;
    let mut running = Running { engine, health, proxy: Vec::new(), admin: Vec::new(), tasks: JoinSet::new() };
    running.listen(places).await?;
    running.keep(keeper, loader, hosts, hosts_seen);
    let list = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    tracing::info!(proxy = list(&running.proxy), admin = list(&running.admin), "ready");
    Ok(running)
}

/// What connections share, without listeners, and with nothing that keeps policy and CA as they should be: for benchmarks in
/// memory.
///
/// # Errors
/// As [`start`].
pub fn engine(settings: Settings) -> anyhow::Result<Arc<Engine>> {
    Ok(Prepared::new(settings, None)?.engine)
}

/// All that there is before the first listener.
struct Prepared {
    engine: Arc<Engine>,
    health: Arc<Health>,
    keeper: Keeper,
    loader: Loader,
    hosts: watch::Sender<Arc<[String]>>,
    hosts_seen: watch::Receiver<Arc<[String]>>,
    /// Clients that may be served at once.
    places: usize,
}

impl Prepared {
    fn new(settings: Settings, observer: Option<Observer>) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let health = Arc::new(Health::new());
        state::check_place(&settings).map_err(|error| anyhow!(error))?;
        let audit = audit(&settings, observer, &metrics)?;
        let roots = tls::base_roots(&settings.upstream_ca).map_err(|error| anyhow!("--upstream-ca: {error}"))?;
        let roots = Arc::new(roots);
        let chain = Chain::new(&settings, &roots).map_err(|error| anyhow!(error))?;
        let ranges =
            if let PolicySource::Learning { private_cidrs, .. } = &settings.policy { private_cidrs } else { &vec![] };
        let profiles = Profiles::new(roots).admitting(ranges);
        let mut loader = Loader::new(settings.policy.clone(), profiles, Arc::clone(&health), Arc::clone(&metrics));
        let Loaded { policy, routes } = loader.start()?;
        if settings.ca_name_constraints && policy.mode() == Mode::Audit {
            return Err(anyhow!("--ca-name-constraints: not with a policy in mode: audit, which intercepts any host"));
        }
        if settings.ca_name_constraints {
            loader.refuse_audit_mode();
        }
        let (hosts, hosts_seen) = watch::channel(reload::intercepted_hosts(&policy));
        let keeper = keeper(&settings, &hosts_seen)?;
        let leaves = Arc::new(LeafCache::new(keeper.signing(), settings.leaf_cache_size)?);
        leaves.warm_up()?;
        let descriptors = descriptors(settings.max_connections);
        let resolver = resolver(&settings)?;
        let dialer = Dialer::new(resolver, chain, settings.dial_timeout, settings.tcp_keepalive, descriptors);
        let upstream = Upstream::new(dialer, &settings, Arc::clone(&metrics));
        let enforcement = Arc::new(Enforcement::new(policy, routes));
        let (limiter, numbers) = (Limiter::default(), Numbers::default());
        let settings = Arc::new(settings);
        let engine = Arc::new(Engine { settings, enforcement, upstream, leaves, limiter, audit, metrics, numbers });
        Ok(Self { engine, health, keeper, loader, hosts, hosts_seen, places: descriptors.clients })
    }
}

/// The shares of the descriptors that this process may have, with a word where clients get less than asked for.
fn descriptors(max_connections: usize) -> Descriptors {
    let limit = open_files::limit();
    let shares = Descriptors::share(limit, max_connections);
    if shares.clients < max_connections {
        tracing::info!(
            places = shares.clients,
            origins = shares.origins,
            limit,
            "fewer client connections than --max-connections, for the limit of open files is too low for so many"
        );
    }
    shares
}

fn audit(settings: &Settings, observer: Option<Observer>, metrics: &Metrics) -> anyhow::Result<Audit> {
    let known = |text: &Option<String>| text.clone().unwrap_or_default();
    let identity = Identity {
        pod: known(&settings.pod_name),
        namespace: known(&settings.pod_namespace),
        uid: known(&settings.pod_uid),
    };
    let output = match &settings.audit_log {
        AuditLog::None => AuditOutput::None,
        AuditLog::Stdout => AuditOutput::Stdout,
        AuditLog::File(path) => AuditOutput::File(path.clone()),
    };
    let settings =
        AuditSettings { identity, output, queue: settings.audit_queue, observer, lost: metrics.audit_lost() };
    Audit::start(settings).context("the audit log can't be written")
}

fn keeper(settings: &Settings, hosts: &watch::Receiver<Arc<[String]>>) -> anyhow::Result<Keeper> {
    let source = match (settings.ca, &settings.state_dir) {
        (CaSource::Files, _) => Source::Files(CaFiles::in_dir(&settings.ca_dir)),
        (CaSource::Generate, Some(state)) => Source::Made(MadeCa::kept_in(state)),
        (CaSource::Generate, None) => Source::Made(MadeCa::in_memory()),
    };
    let source = match source {
        Source::Made(made) => Source::Made(made.constrained(settings.ca_name_constraints)),
        files @ Source::Files(_) => files,
    };
    let overlap = time::Duration::try_from(settings.ca_overlap).context("--ca-overlap")?;
    let hosts = Arc::clone(&hosts.borrow());
    let keeper = Keeper::start(source, overlap, trust_files(settings)?, hosts, OffsetDateTime::now_utc());
    keeper.map_err(|error| match error {
        CaError::Read { ref source, .. } if source.kind() == ErrorKind::NotFound => match &settings.ca_secret {
            Some(secret) => missing_secret(settings, secret, &error),
            None => anyhow!(
                "{error}; put a CA there (sandgate-ca generate makes one), name its directory with --ca-dir, \
             or have one made at start with --ca generate"
            ),
        },
        // Its messages name their causes already.
        error => anyhow!(error.to_string()),
    })
}

fn missing_secret(settings: &Settings, secret: &str, error: &CaError) -> anyhow::Error {
    let namespace = settings.pod_namespace.as_deref().map(|name| format!(" -n {name}")).unwrap_or_default();
    anyhow!(
        "Secret {secret} is missing in this pod's namespace, or lacks {CA_SECRET_CERT_KEY} or {CA_SECRET_PRIVATE_KEY}: make it \
         with `sandgate-ca secret --dir DIR | kubectl apply{namespace} -f -`, and this container finds it at one of its \
         next starts ({error})"
    )
}

fn trust_files(settings: &Settings) -> anyhow::Result<Option<TrustFiles>> {
    let Some(dir) = &settings.trust_dir else {
        let alone = settings.trust_path.is_some();
        return if alone { Err(anyhow!("--trust-path says nothing without --trust-dir; set both")) } else { Ok(None) };
    };
    let files = TrustFiles::new(std::path::absolute(dir).context("--trust-dir")?);
    Ok(Some(match &settings.trust_path {
        Some(path) => files.seen_at(path),
        None => files,
    }))
}

fn resolver(settings: &Settings) -> anyhow::Result<Resolver> {
    let (servers, from) =
        if settings.dns.is_empty() { name_servers(settings)? } else { (settings.dns.clone(), "--dns".to_owned()) };
    let list = servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    tracing::info!(servers = list, from, "name servers");
    let hosts = settings.hosts_file.as_deref().map_or_else(|| Ok(HashMap::new()), resolver::read_hosts_file);
    let hosts = hosts.map_err(|error| anyhow!("--hosts-file: {error}"))?;
    Resolver::new(&servers, settings.dns_timeout, &settings.resolve, hosts).map_err(|error| anyhow!(error))
}

/// The name servers of resolv.conf as it was at the first start: the workload may write the file afterwards, so a
/// restarted container goes by its own copy.
fn name_servers(settings: &Settings) -> anyhow::Result<(Vec<SocketAddr>, String)> {
    let kept = settings.state_dir.as_ref().map(|dir| dir.join(RESOLV_CONF));
    let path = &settings.resolv_conf;
    if let Some(kept) = &kept {
        let unusable = |error: String| {
            let (kept, path) = (kept.display(), path.display());
            anyhow!("cannot use the kept {kept}: {error}; remove the file to have {path} read in its place")
        };
        if let Some(text) = state::kept(kept).map_err(|error| unusable(error.to_string()))? {
            return Ok((resolver::name_servers(&text).map_err(unusable)?, kept.display().to_string()));
        }
    }
    let from = path.display().to_string();
    let text = match file::read(path, file::LIMIT) {
        Ok(text) => text,
        Err(error) => return Ok((no_name_servers(path, &error.to_string()), from)),
    };
    match resolver::name_servers(&text) {
        Ok(servers) => {
            if let Some(kept) = kept {
                crate::trust::whole_file::replace(&kept, &text, 0o600)
                    .with_context(|| format!("{} can't be kept", kept.display()))?;
            }
            Ok((servers, from))
        }
        Err(error) => Ok((no_name_servers(path, &error), from)),
    }
}

/// A machine without name servers can still use `--resolve` and literals; names fail one by one, and say so.
fn no_name_servers(path: &Path, problem: &str) -> Vec<SocketAddr> {
    tracing::warn!("{}: {problem}; only --resolve, --hosts-file and IP literals work", path.display());
    Vec::new()
}

impl Running {
    /// Where the proxy listens.
    #[must_use]
    pub fn proxy_addresses(&self) -> &[SocketAddr] {
        &self.proxy
    }

    async fn listen(&mut self, places: usize) -> anyhow::Result<()> {
        let settings = &self.engine.settings;
        let proxies = bind_all("listen", &settings.listen).await?;
        let admins = bind_all("admin-listen", &settings.admin_listen).await?;
        self.proxy = addresses(&proxies)?;
        self.admin = addresses(&admins)?;
        let own = self.proxy.iter().chain(&self.admin).copied().collect();
        let dialer = self.engine.upstream.dialer();
        dialer.refuse_own_listeners(own);
        if let Some(proxy) = dialer.looping_proxy() {
            return Err(anyhow!("--upstream-proxy: {proxy} is this sidecar itself; name the next proxy on the way"));
        }
        let places = Arc::new(Semaphore::new(places));
        for listener in proxies {
            self.tasks.spawn(proxy::serve(Arc::clone(&self.engine), listener, Arc::clone(&places)));
        }
        if !admins.is_empty() {
            let admin = Admin { health: Arc::clone(&self.health), metrics: Arc::clone(&self.engine.metrics) };
            self.tasks.spawn(health_port::serve(admins, Arc::new(admin), settings.admin_timeout));
        }
        Ok(())
    }

    /// Starts what keeps policy, CA, pool and gauges as they should be.
    fn keep(
        &mut self,
        keeper: Keeper,
        loader: Loader,
        hosts: watch::Sender<Arc<[String]>>,
        hosts_seen: watch::Receiver<Arc<[String]>>,
    ) {
        let (engine, health) = (Arc::clone(&self.engine), Arc::clone(&self.health));
        self.tasks.spawn(report_ca(keeper.status(), health, Arc::clone(&engine.metrics)));
        self.tasks.spawn(keeper.watch(engine.settings.ca_poll, hosts_seen));
        match engine.settings.policy.clone() {
            PolicySource::File(path) => {
                let period = engine.settings.policy_poll;
                self.tasks.spawn(reload::watch(Arc::clone(&engine), loader, path, period, hosts));
            }
            // The keeper watches until the sender is gone.
            _ => drop(self.tasks.spawn(async move {
                hosts.closed().await;
            })),
        }
        self.tasks.spawn(sweep(engine));
    }

    /// Why it can't go on; waits for ever while it can.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Err(error)) => anyhow!("a part of the proxy failed: {error}"),
            _ => anyhow!("a part of the proxy ended by itself"),
        }
    }

    /// Not ready any more, but serving on, also new connections, until none has been open for the quiet time or the
    /// grace period is over: a workload beside it may get the same signal at the same moment.
    pub async fn drain(self) {
        self.health.drain();
        let settings = &self.engine.settings;
        let deadline = Instant::now() + settings.drain_grace;
        let mut quiet_since = Instant::now();
        while Instant::now() < deadline && quiet_since.elapsed() < settings.drain_quiet {
            if self.engine.numbers.open_connections() > 0 {
                quiet_since = Instant::now();
            }
            sleep(DRAIN_LOOK).await;
        }
        let open = self.engine.numbers.open_connections();
        tracing::info!(open, "ending");
        if !self.engine.audit.flush(FLUSH) {
            tracing::warn!("audit lines were lost at the end");
        }
    }
}

/// Binds every address of `setting` that this machine has. One is enough; none is an error, with the reason of each.
async fn bind_all(setting: &str, wanted: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    let (mut listeners, mut problems) = (Vec::new(), Vec::new());
    for address in wanted {
        match bind(*address).await {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_missing_family(&error) => problems.push(format!("{address}: {error}")),
            Err(error) => return Err(anyhow!("--{setting}: can't listen on {address}: {error}{}", advice(&error))),
        }
    }
    if listeners.is_empty() && !wanted.is_empty() {
        return Err(anyhow!("--{setting}: can't listen: {}", problems.join("; ")));
    }
    for problem in problems {
        tracing::warn!(problem, "this address is passed over");
    }
    Ok(listeners)
}

/// What to do about an address that cannot be bound, as the end of a sentence.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => "; another process listens there: end it, or set another port",
        _ => "",
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        // [::] means all addresses, and on a machine without IPv6 those are IPv4's.
        Err(error) if address.ip().is_unspecified() && address.is_ipv6() && is_missing_family(&error) => {
            TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port())).await
        }
        bound => bound,
    }
}

fn is_missing_family(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT))
}

fn addresses(listeners: &[TcpListener]) -> io::Result<Vec<SocketAddr>> {
    listeners.iter().map(TcpListener::local_addr).collect()
}

/// Passes on how the CAs are, to the health port and the metrics.
async fn report_ca(mut status: watch::Receiver<Status>, health: Arc<Health>, metrics: Arc<Metrics>) {
    let mut generation = 0;
    loop {
        let now = status.borrow_and_update().clone();
        if now.generation != generation {
            generation = now.generation;
            metrics.ca_loaded(SystemTime::from(now.expires));
        }
        match now.end {
            Some(End { expired: true, words }) => health.ca_expired(words),
            Some(End { expired: false, words }) => {
                health.ca_loaded();
                health.ca_ends_soon(words);
            }
            None => health.ca_loaded(),
        }
        if let Some(error) = now.error {
            health.ca_failed(error);
        }
        if status.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

async fn sweep(engine: Arc<Engine>) {
    let mut ticks = interval(SWEEP);
    loop {
        ticks.tick().await;
        engine.upstream.sweep();
        engine.enforcement.sever_idle();
        engine.leaves.sweep(OffsetDateTime::now_utc());
        let counters = engine.leaves.counters();
        engine.metrics.leaves(counters.hits, counters.mints, counters.size);
        give_memory_back();
    }
}

/// After a burst mimalloc keeps what is free: it looks through it with every so many thousand allocations, and there may be
/// none for long. Before it says that there is no memory, though, it gives back all that it can (3.3.2,
/// `_mi_malloc_generic`): of this thread's pages those that are empty, and of the whole process what waits to be given
/// back. So this asks for more than an address space has.
fn give_memory_back() {
    let refused = hint::black_box(Vec::<u8>::new()).try_reserve_exact(isize::MAX.unsigned_abs() / 2);
    debug_assert!(refused.is_err(), "so much memory can't be had");
}
