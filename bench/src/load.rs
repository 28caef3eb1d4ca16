//! Load: one operation again and again, on several connections at once, for a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::task::JoinSet;

use crate::origin::SMALL;
use crate::protocol::Protocol;
use crate::tunnel::{Route, Tls, Tunnel};

/// What is repeated.
#[derive(Clone)]
pub(crate) enum Operation {
    /// A tunnel with TLS to the same host, one GET, and the end of it.
    Handshake(Tls, Protocol),
    /// The same, where every session but the first goes on from an earlier one.
    Resumption(Tls, Protocol),
    /// A tunnel to a host that nobody has asked for, and one GET.
    NewHost(Tls, Protocol),
    /// One GET on a tunnel that stays open.
    KeepAlive(Tls, Protocol),
    /// A CONNECT to a host that is not allowed, on a connection of its own.
    Refusal,
}

/// What was done.
pub(crate) struct Done {
    /// How long each operation took, in no order.
    pub(crate) times: Vec<Duration>,
    /// From the first to the last.
    pub(crate) elapsed: Duration,
}

impl Done {
    /// Operations.
    pub(crate) fn count(&self) -> usize {
        self.times.len()
    }

    /// The time that so large a part of the operations did not exceed.
    pub(crate) fn quantile(&mut self, part: f64) -> Duration {
        self.times.sort_unstable();
        let last = self.times.len().saturating_sub(1);
        self.times.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
    }
}

/// A host that nobody has asked for yet: these are numbered.
fn new_host(protocol: Protocol) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    protocol.host_labelled(&NEXT.fetch_add(1, Ordering::Relaxed).to_string())
}

/// Repeats the operation on so many connections at once. What is open at the end is closed.
pub(crate) async fn drive(
    route: &Route,
    operation: &Operation,
    at_once: usize,
    time: Duration,
) -> anyhow::Result<Done> {
    let mut workers = JoinSet::new();
    let gate = Arc::new(tokio::sync::Barrier::new(at_once));
    for _ in 0..at_once {
        workers.spawn(work(route.clone(), operation.clone(), Arc::clone(&gate), time));
    }
    let (mut times, start) = (Vec::new(), Instant::now());
    while let Some(done) = workers.join_next().await {
        times.extend(done??);
    }
    ensure!(!times.is_empty(), "nothing was done in time");
    Ok(Done { times, elapsed: start.elapsed() })
}

async fn work(
    route: Route,
    operation: Operation,
    gate: Arc<tokio::sync::Barrier>,
    time: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let mut tunnel = prepare(&route, &operation).await;
    gate.wait().await;
    let (mut times, end) = (Vec::new(), Instant::now() + time);
    while Instant::now() < end {
        let start = Instant::now();
        once(&route, &operation, &mut tunnel).await?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// What an operation needs to have been done once. Where that fails, so will the operation.
async fn prepare(route: &Route, operation: &Operation) -> Option<Tunnel> {
    let (Operation::KeepAlive(tls, protocol) | Operation::Resumption(tls, protocol)) = operation else { return None };
    let mut tunnel = route.open(tls, &protocol.host()).await.ok()?;
    tunnel.get(SMALL).await.ok()?;
    Some(tunnel)
}

async fn once(route: &Route, operation: &Operation, tunnel: &mut Option<Tunnel>) -> anyhow::Result<()> {
    match operation {
        Operation::Handshake(tls, protocol) => route.open(tls, &protocol.host()).await?.get(SMALL).await.map(drop),
        Operation::Resumption(tls, protocol) => {
            let mut tunnel = route.open(tls, &protocol.host()).await?;
            ensure!(tunnel.is_resumed, "a session was not resumed");
            tunnel.get(SMALL).await.map(drop)
        }
        Operation::NewHost(tls, protocol) => route.open(tls, &new_host(*protocol)).await?.get(SMALL).await.map(drop),
        Operation::KeepAlive(tls, protocol) => match tunnel {
            Some(tunnel) => tunnel.get(SMALL).await.map(drop),
            None => {
                *tunnel = Some(route.open(tls, &protocol.host()).await?);
                Ok(())
            }
        },
        Operation::Refusal => {
            let (status, _) = route.ask("refused.test").await?;
            ensure!((400..600).contains(&status), "a host that is not allowed was answered with {status}");
            Ok(())
        }
    }
}
