//! The measurements: each takes a running proxy, or starts one, and returns figures of columns.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;

use crate::column::{Column, Crowd};
use crate::ground::Ground;
use crate::load::{Operation, drive};
use crate::origin::SMALL;
use crate::peer::{Peer, Product};
use crate::protocol::Protocol;
use crate::tunnel::Tunnel;

/// The figures of one measurement.
pub(crate) type Figures = Vec<(Column, f64)>;

/// How long one operation is repeated: a second of processor time is told to one part in fifty.
const TIME: Duration = Duration::from_millis(1500);
/// Connections that operations are repeated on.
const AT_ONCE: usize = 8;
/// Connections where a proxy is to have as much to do as it can.
const MANY: usize = 64;
/// Bytes of one transfer: a tick of the kernel's clock, 10 ms, is a few parts in a hundred of what the quickest takes.
const TRANSFER: u64 = 1_000_000_000;
/// Handshakes at once while idle tunnels are opened.
const OPENED_AT_ONCE: usize = 32;
/// How long memory may take to be what it stays.
const SETTLE: Duration = Duration::from_secs(1);
/// How long a proxy has to give memory back.
const PAUSE: Duration = Duration::from_secs(60);
/// The limit of open files under which there are fewer than ten thousand tunnels.
const ENOUGH_DESCRIPTORS: u64 = 24_000;
const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

/// The columns of processor time and latency, which are taken in turn from all proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Handshake,
    HybridHandshake,
    Resumption,
    KeepAlive(Protocol),
    NewHost,
    Refusal,
    Down(Protocol),
    Up(Protocol),
    Rate,
}

impl Turn {
    pub(crate) const ALL: [Self; 12] = [
        Self::Handshake,
        Self::HybridHandshake,
        Self::Resumption,
        Self::KeepAlive(Protocol::Http1),
        Self::KeepAlive(Protocol::Http2),
        Self::NewHost,
        Self::Refusal,
        Self::Down(Protocol::Http1),
        Self::Down(Protocol::Http2),
        Self::Up(Protocol::Http1),
        Self::Up(Protocol::Http2),
        Self::Rate,
    ];

    /// The column that its figure, or the first of them, goes into.
    pub(crate) fn column(self) -> Column {
        match self {
            Self::Handshake => Column::Handshake,
            Self::HybridHandshake => Column::HybridHandshake,
            Self::Resumption => Column::Resumption,
            Self::KeepAlive(protocol) => Column::KeepAlive(protocol),
            Self::NewHost => Column::NewHost,
            Self::Refusal => Column::Refusal,
            Self::Down(protocol) => Column::Down(protocol),
            Self::Up(protocol) => Column::Up(protocol),
            Self::Rate => Column::Rate(1),
        }
    }

    /// Measures it once.
    pub(crate) async fn measure(self, peer: &Peer) -> anyhow::Result<Figures> {
        let http1 = Protocol::Http1;
        match self {
            Self::Handshake => cost(peer, self.column(), Operation::Handshake(peer.route.tls(http1)?, http1)).await,
            Self::HybridHandshake => {
                cost(peer, self.column(), Operation::Handshake(peer.route.hybrid_tls(http1)?, http1)).await
            }
            Self::Resumption => {
                cost(peer, self.column(), Operation::Resumption(peer.route.resuming_tls(http1)?, http1)).await
            }
            Self::KeepAlive(protocol) => {
                let tls = peer.route.tls(protocol)?;
                cost(peer, self.column(), Operation::KeepAlive(tls, protocol)).await
            }
            Self::Refusal => cost(peer, self.column(), Operation::Refusal).await,
            Self::NewHost => new_hosts(peer).await,
            Self::Down(protocol) => transfer(peer, self.column(), protocol, false).await,
            Self::Up(protocol) => transfer(peer, self.column(), protocol, true).await,
            Self::Rate => rate(peer, 1).await,
        }
    }
}

/// Processor time of an operation.
async fn cost(peer: &Peer, column: Column, operation: Operation) -> anyhow::Result<Figures> {
    let before = peer.process.cpu()?;
    let done = drive(&peer.route, &operation, AT_ONCE, TIME).await?;
    let used = peer.process.cpu()?.saturating_sub(before);
    Ok(vec![(column, used.as_secs_f64() * 1e6 / done.count() as f64)])
}

/// One host after the other, so that none waits for another's.
async fn new_hosts(peer: &Peer) -> anyhow::Result<Figures> {
    ensure!(peer.product.is_asked_for_new_hosts(), "it shows one certificate for all hosts");
    let tls = peer.route.tls(Protocol::Http1)?;
    let mut done = drive(&peer.route, &Operation::NewHost(tls, Protocol::Http1), 1, TIME).await?;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let (median, slow) = (done.quantile(0.5), done.quantile(0.99));
    Ok(vec![(Column::NewHost, milliseconds(median)), (Column::NewHostSlow, milliseconds(slow))])
}

async fn transfer(peer: &Peer, column: Column, protocol: Protocol, up: bool) -> anyhow::Result<Figures> {
    let mut tunnel = peer.route.open(&peer.route.tls(protocol)?, &protocol.host()).await?;
    tunnel.get(SMALL).await?;
    let before = peer.process.cpu()?;
    if up {
        tunnel.put("/up", TRANSFER).await?;
    } else {
        let received = tunnel.get(&format!("/down/{TRANSFER}")).await?;
        ensure!(received == TRANSFER, "{received} bytes came");
    }
    let used = peer.process.cpu()?.saturating_sub(before);
    Ok(vec![(column, used.as_secs_f64() * 1e3 / (TRANSFER as f64 / 1e9))])
}

/// GETs a second, as many as there can be.
async fn rate(peer: &Peer, workers: usize) -> anyhow::Result<Figures> {
    let tls = peer.route.tls(Protocol::Http1)?;
    let before = peer.process.cpu()?;
    let mut done = drive(&peer.route, &Operation::KeepAlive(tls, Protocol::Http1), MANY, TIME).await?;
    let used = peer.process.cpu()?.saturating_sub(before);
    Ok(vec![
        (Column::Rate(workers), done.count() as f64 / done.elapsed.as_secs_f64()),
        (Column::RateSlow(workers), done.quantile(0.99).as_secs_f64() * 1e3),
        (Column::RateBusy(workers), used.as_secs_f64() * 100.0 / done.elapsed.as_secs_f64() / workers as f64),
    ])
}

/// From the start of a process to the first answer of an origin.
pub(crate) async fn start(ground: &Ground, product: Product) -> anyhow::Result<Figures> {
    let start = Instant::now();
    let peer = Peer::start(ground, product, 1).await?;
    let figures = first_answer(&peer).await;
    let elapsed = start.elapsed();
    peer.finish(figures).await?;
    Ok(vec![(Column::Start, elapsed.as_secs_f64() * 1e3)])
}

async fn first_answer(peer: &Peer) -> anyhow::Result<()> {
    open(peer, Protocol::Http1).await?.get(SMALL).await.map(drop)
}

async fn open(peer: &Peer, protocol: Protocol) -> anyhow::Result<Tunnel> {
    peer.route.open(&peer.route.tls(protocol)?, &protocol.host()).await
}

/// How many tunnels a crowd is: both sides of it are descriptors, of which Sandgate lets clients have less than half.
pub(crate) fn tunnels(crowd: Crowd) -> u32 {
    let descriptors =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(0, |limit| limit.1);
    match crowd {
        Crowd::Thousand => 1000,
        Crowd::TenThousand if descriptors >= ENOUGH_DESCRIPTORS => 10_000,
        Crowd::TenThousand => 8000,
    }
}

/// Resident memory of idle tunnels, each after one GET.
pub(crate) async fn idle(
    ground: &Ground,
    product: Product,
    protocol: Protocol,
    crowd: Crowd,
) -> anyhow::Result<Figures> {
    ensure!(crowd == Crowd::Thousand || product.is_quick(), "it takes minutes to open so many");
    let peer = Peer::start(ground, product, 1).await?;
    let figures = idle_tunnels(&peer, protocol, crowd).await;
    peer.finish(figures).await
}

async fn idle_tunnels(peer: &Peer, protocol: Protocol, crowd: Crowd) -> anyhow::Result<Figures> {
    let count = tunnels(crowd);
    open(peer, protocol).await?.get(SMALL).await?;
    tokio::time::sleep(SETTLE).await;
    let before = peer.process.memory()?;
    let tls = peer.route.tls(protocol)?;
    let (mut tunnels, mut opening) = (Vec::new(), JoinSet::new());
    for _ in 0..count {
        if opening.len() == OPENED_AT_ONCE
            && let Some(tunnel) = opening.join_next().await
        {
            tunnels.push(tunnel??);
        }
        let (route, tls) = (peer.route.clone(), tls.clone());
        opening.spawn(async move {
            let mut tunnel = route.open(&tls, &protocol.host()).await?;
            tunnel.get(SMALL).await?;
            anyhow::Ok(tunnel)
        });
    }
    while let Some(tunnel) = opening.join_next().await {
        tunnels.push(tunnel??);
    }
    tokio::time::sleep(SETTLE).await;
    let after = peer.process.memory()?;
    drop(tunnels);
    Ok(vec![(Column::Idle(protocol, crowd), after.saturating_sub(before) as f64 / KIB / f64::from(count))])
}

/// Resident memory at start, at the end of a load, and a minute later.
pub(crate) async fn memory(ground: &Ground, product: Product) -> anyhow::Result<Figures> {
    let peer = Peer::start(ground, product, 1).await?;
    let figures = memory_of_a_load(&peer).await;
    peer.finish(figures).await
}

async fn memory_of_a_load(peer: &Peer) -> anyhow::Result<Figures> {
    tokio::time::sleep(SETTLE).await;
    let mebibytes = || anyhow::Ok(peer.process.memory()? as f64 / MIB);
    let at_start = mebibytes()?;
    let http1 = Protocol::Http1;
    let tls = peer.route.tls(http1)?;
    let mut tunnels = Vec::new();
    for _ in 0..MANY * 4 {
        let mut tunnel = peer.route.open(&tls, &http1.host()).await?;
        tunnel.get(SMALL).await?;
        tunnels.push(tunnel);
    }
    if peer.product.is_asked_for_new_hosts() {
        drive(&peer.route, &Operation::NewHost(tls.clone(), http1), AT_ONCE, TIME).await?;
    }
    drive(&peer.route, &Operation::KeepAlive(tls, http1), MANY, TIME).await?;
    let mut transfers = JoinSet::new();
    for mut tunnel in tunnels.drain(..AT_ONCE) {
        transfers.spawn(async move {
            tunnel.get(&format!("/down/{}", TRANSFER / 4)).await?;
            tunnel.put("/up", TRANSFER / 4).await?;
            anyhow::Ok(tunnel)
        });
    }
    while let Some(tunnel) = transfers.join_next().await {
        tunnels.push(tunnel??);
    }
    let in_load = mebibytes()?;
    drop(tunnels);
    tokio::time::sleep(PAUSE).await;
    let after = mebibytes().context("after the load")?;
    Ok(vec![(Column::MemoryAtStart, at_start), (Column::MemoryInLoad, in_load), (Column::MemoryAfter, after)])
}

/// GETs a second with two workers, which are a process of their own.
pub(crate) async fn two_workers(ground: &Ground, product: Product) -> anyhow::Result<Figures> {
    let peer = Peer::start(ground, product, 2).await?;
    let figures = match first_answer(&peer).await {
        Ok(()) => rate(&peer, 2).await,
        Err(error) => Err(error),
    };
    peer.finish(figures).await
}
