//! A proxy that is measured: a process of its own on its own core, started by a script of `peers/`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::ground::Ground;
use crate::process::Process;
use crate::tunnel::Route;

/// How long a proxy may take to listen.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long it may take to end.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take until a proxy that has closed its connections has ended.
const END: Duration = Duration::from_millis(100);
/// How often a proxy that starts is looked at.
const LOOK: Duration = Duration::from_micros(500);

/// A product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Product {
    Sandgate,
    /// With Rust's own allocator, which is the C library's.
    Hudsucker,
    /// hudsucker once more: by how much its figures differ from the first one's is noise.
    Control,
    /// With mimalloc, as Sandgate.
    HudsuckerMimalloc,
    Squid,
    Envoy,
    Mitmproxy,
    /// No product: what carries bytes and sees nothing of them.
    Tunnel,
}

impl Product {
    pub(crate) const ALL: [Self; 8] = [
        Self::Sandgate,
        Self::Hudsucker,
        Self::Control,
        Self::HudsuckerMimalloc,
        Self::Squid,
        Self::Envoy,
        Self::Mitmproxy,
        Self::Tunnel,
    ];

    /// The script that starts it.
    fn script(self) -> &'static str {
        match self {
            Self::Sandgate => "sandgate",
            Self::Hudsucker | Self::Control => "hudsucker",
            Self::HudsuckerMimalloc => "hudsucker-mimalloc",
            Self::Squid => "squid",
            Self::Envoy => "envoy",
            Self::Mitmproxy => "mitmproxy",
            Self::Tunnel => "tunnel",
        }
    }

    /// Whether it is somebody else's, and so one that targets are about.
    pub(crate) fn is_peer(self) -> bool {
        !matches!(self, Self::Sandgate | Self::Control | Self::Tunnel)
    }

    /// Whether a host that it has not seen is news to it. Envoy shows all of them one certificate that it was given.
    pub(crate) fn is_asked_for_new_hosts(self) -> bool {
        self != Self::Envoy
    }

    /// Whether ten thousand handshakes are over in less than a minute.
    pub(crate) fn is_quick(self) -> bool {
        self != Self::Mitmproxy
    }

    /// Its version, if it was installed. The plain tunnel is this program.
    pub(crate) fn version(self, ground: &Ground) -> Option<String> {
        if self == Self::Tunnel {
            return Some(env!("CARGO_PKG_VERSION").to_owned());
        }
        let version = std::fs::read_to_string(ground.installed.join("available").join(self.script())).ok()?;
        Some(version.trim().to_owned())
    }
}

impl fmt::Display for Product {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Sandgate => "Sandgate",
            Self::Hudsucker => "hudsucker",
            Self::Control => "hudsucker again",
            Self::HudsuckerMimalloc => "hudsucker, mimalloc",
            Self::Squid => "Squid",
            Self::Envoy => "Envoy",
            Self::Mitmproxy => "mitmproxy",
            Self::Tunnel => "a plain tunnel",
        })
    }
}

/// A running proxy. It ends when this is dropped.
pub(crate) struct Peer {
    pub(crate) product: Product,
    pub(crate) route: Route,
    pub(crate) process: Process,
    // Before its directory, for it may still write there.
    child: Child,
    directory: TempDir,
    address: SocketAddr,
}

impl Peer {
    /// Starts it, and returns before it listens.
    pub(crate) fn spawn(ground: &Ground, product: Product, workers: usize) -> anyhow::Result<Self> {
        let directory = ground.directory_of_a_peer()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ground.next_port()));
        let script: PathBuf = ground.peers.join(product.script());
        let errors = std::fs::File::create(directory.path().join("stderr"))?;
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", if workers == 1 { "0" } else { "0-1" }]);
        command.arg(script).arg(address.port().to_string()).arg(directory.path());
        command.env("WORKERS", workers.to_string()).env("BENCH", &ground.installed);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("{product} can't be started"))?;
        let process = Process(child.id().context("it has ended already")?);
        let trusted = if product == Product::Tunnel { &ground.origin_ca_pem } else { &ground.ca_pem };
        Ok(Self { product, route: Route::new(address, trusted)?, process, child, directory, address })
    }

    /// Starts it, and waits until it listens.
    pub(crate) async fn start(ground: &Ground, product: Product, workers: usize) -> anyhow::Result<Self> {
        let mut peer = Self::spawn(ground, product, workers)?;
        peer.listens().await?;
        Ok(peer)
    }

    /// Waits until it listens.
    pub(crate) async fn listens(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect(self.address).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!(self.end(status));
            }
            ensure!(
                Instant::now() < deadline,
                "{} does not listen after half a minute: {}",
                self.product,
                self.errors()
            );
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// What was measured of it, or why that failed: where it has ended, that is why.
    pub(crate) async fn explain<T>(&mut self, measured: anyhow::Result<T>) -> anyhow::Result<T> {
        if measured.is_err()
            && let Ok(status) = tokio::time::timeout(END, self.child.wait()).await
        {
            bail!(self.end(status?));
        }
        measured
    }

    /// Stops it, and returns what was measured of it, or why that failed.
    pub(crate) async fn finish<T>(mut self, measured: anyhow::Result<T>) -> anyhow::Result<T> {
        let measured = self.explain(measured).await;
        self.stop().await?;
        measured
    }

    /// Asks it to end, with what it started, and waits for that, so that its memory and its processor are free again.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        // There is no id where it has ended.
        if let Some(id) = self.child.id() {
            kill(Pid::from_raw(id.cast_signed()), Signal::SIGTERM)?;
        }
        if tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }

    fn end(&self, status: ExitStatus) -> String {
        format!("{} ended with {status}: {}", self.product, self.errors())
    }

    /// The last line that it printed of what went wrong.
    fn errors(&self) -> String {
        let text = std::fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default();
        text.lines().last().unwrap_or("it said nothing").to_owned()
    }
}
