//! The policy in force, and everything that is open under it.
//!
//! What was allowed once is not allowed for ever: each open stream holds a [`Lease`], and a swap of the policy judges all
//! leases again. A stream that is no longer allowed finds its lease revoked and ends. Nothing here decides; it asks
//! `policy`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use http::Method;
use http::uri::PathAndQuery;
use sandgate_policy::address;
use sandgate_policy::destination::{Destination, Host};
use sandgate_policy::{Policy, Tls};
use tokio::time::Instant;

use crate::link::Link;
use crate::upstream::Peer;
use crate::upstream::profile::{Profile, Routes};

/// A policy as it is in force: immutable, with what is needed to reach the origins of its rules.
pub struct Snapshot {
    /// Counts the swaps since the start; the first policy is 1.
    pub generation: u64,
    /// The rules.
    pub policy: Policy,
    /// How each rule's origins are reached.
    pub routes: Routes,
}

impl Snapshot {
    /// How the origins of the rule are reached; of no rule (audit mode), by the defaults.
    #[must_use]
    pub fn profile(&self, rule: Option<&str>) -> Arc<Profile> {
        self.routes.of(rule)
    }
}

/// What a lease was granted for, in the terms in which it is judged again.
#[derive(Clone, Debug)]
pub enum Grant {
    /// A request, from its verdict to the end of its response, or of the upgraded stream behind it.
    Request {
        /// Where it goes.
        destination: Destination,
        /// Its method.
        method: Method,
        /// Its path, and the query that is not judged.
        path: PathAndQuery,
    },
    /// An opaque tunnel.
    Passthrough {
        /// The host of the CONNECT.
        host: Host,
        /// Its port.
        port: u16,
    },
}

impl Grant {
    /// Whether `policy` would grant it too, with the addresses that were judged for it.
    fn holds_under(&self, policy: &Policy, judged: &[IpAddr]) -> bool {
        let rule = match self {
            Self::Request { destination, method, path } => {
                let verdict = policy.judge_request(destination, method, path.path());
                if verdict.outcome.denied().is_some() {
                    return false;
                }
                verdict.rule
            }
            Self::Passthrough { host, port } => match policy.judge_connect(host, *port).https {
                Some(rule) if matches!(rule.tls, Tls::Passthrough { .. }) => Some(rule),
                _ => return false,
            },
        };
        let private_cidrs = rule.as_ref().map_or(&[][..], |rule| &rule.private_cidrs);
        judged.iter().all(|address| address::judge(*address, private_cidrs).is_ok())
    }
}

/// Holds the policy in force and the open leases.
pub struct Enforcement {
    state: Mutex<State>,
}

struct State {
    current: Arc<Snapshot>,
    leases: HashMap<u64, Arc<Shared>>,
    next_lease: u64,
}

struct Shared {
    grant: Grant,
    link: Arc<Link>,
    judged: OnceLock<Arc<[IpAddr]>>,
    revoked: AtomicBool,
    waker: AtomicWaker,
    begun: Instant,
    /// When something last moved, and how long nothing may; in milliseconds, the first since `begun`.
    moved_ms: AtomicU64,
    idle_ms: AtomicU64,
    overdue: AtomicBool,
}

/// What a stream has after its idle time to end by itself.
const OVERDUE: Duration = Duration::from_secs(5);
/// No idle time is set.
const NO_END: u64 = u64::MAX;

impl Enforcement {
    /// Begins with `policy`.
    #[must_use]
    pub fn new(policy: Policy, routes: Routes) -> Self {
        let current = Arc::new(Snapshot { generation: 1, policy, routes });
        Self { state: Mutex::new(State { current, leases: HashMap::new(), next_lease: 0 }) }
    }

    /// The policy in force now.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.lock().current)
    }

    /// Puts another policy in force and judges all that is open. Returns how many leases were revoked.
    pub fn swap(&self, policy: Policy, routes: Routes) -> usize {
        let mut state = self.lock();
        let generation = state.current.generation + 1;
        state.current = Arc::new(Snapshot { generation, policy, routes });
        let State { current, leases, .. } = &*state;
        let standing = leases.values().filter(|lease| !lease.revoked.load(Ordering::Acquire));
        let holds = |lease: &Shared| lease.grant.holds_under(&current.policy, lease.judged());
        standing.filter(|lease| !holds(lease)).inspect(|lease| lease.revoke()).count()
    }

    /// Severs the connections of streams that were revoked and still run: their clients take nothing, so that nobody
    /// asks the stream. Returns how many there were.
    pub fn sever_revoked(&self) -> usize {
        let state = self.lock();
        let left = state.leases.values().filter(|lease| lease.revoked.load(Ordering::Acquire));
        left.inspect(|lease| lease.link.sever()).count()
    }

    /// Severs the connections of streams whose idle time was over a while ago.
    pub fn sever_idle(&self) {
        for lease in self.lock().leases.values().filter(|lease| lease.is_overdue()) {
            lease.overdue.store(true, Ordering::Release);
            lease.link.sever();
        }
    }

    /// A lease for what `generation` allowed, on the client's connection behind `link`.
    ///
    /// # Errors
    /// [`Stale`] when another policy has come into force since: judge again.
    pub fn grant(self: &Arc<Self>, generation: u64, grant: Grant, link: &Arc<Link>) -> Result<Lease, Stale> {
        let mut state = self.lock();
        if state.current.generation != generation {
            return Err(Stale);
        }
        let key = state.next_lease;
        state.next_lease += 1;
        let shared = Arc::new(Shared::new(grant, Arc::clone(link)));
        state.leases.insert(key, Arc::clone(&shared));
        Ok(Lease { shared, key, generation, enforcement: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn new(grant: Grant, link: Arc<Link>) -> Self {
        Self {
            grant,
            link,
            judged: OnceLock::new(),
            revoked: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            begun: Instant::now(),
            moved_ms: AtomicU64::new(0),
            idle_ms: AtomicU64::new(NO_END),
            overdue: AtomicBool::new(false),
        }
    }

    fn judged(&self) -> &[IpAddr] {
        self.judged.get().map_or(&[], |judged| judged)
    }

    fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn moved_at(&self) -> Instant {
        self.begun + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed))
    }

    fn is_overdue(&self) -> bool {
        let idle = self.idle_ms.load(Ordering::Relaxed);
        idle != NO_END && self.moved_at().elapsed() > Duration::from_millis(idle) + OVERDUE
    }
}

/// The policy changed between the verdict and the lease.
#[derive(Debug, PartialEq, Eq)]
pub struct Stale;

/// Held by an open stream for as long as it runs; ends with it.
pub struct Lease {
    shared: Arc<Shared>,
    key: u64,
    generation: u64,
    enforcement: Arc<Enforcement>,
}

impl Lease {
    /// Notes where the stream goes: a policy that no longer admits the addresses that were judged revokes the lease.
    pub fn leads_to(&self, peer: &Peer) {
        // A request that is sent again keeps the first one; both were admitted.
        let _ = self.shared.judged.set(Arc::clone(&peer.judged));
        // A swap since the verdict did not know of the addresses.
        let current = self.enforcement.current();
        if current.generation != self.generation && !self.shared.grant.holds_under(&current.policy, &peer.judged) {
            self.shared.revoke();
        }
    }

    /// Ready when the policy no longer allows the stream. One task at a time may wait.
    pub fn poll_revoked(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_revoked() {
            return Poll::Ready(());
        }
        self.shared.waker.register(context.waker());
        if self.is_revoked() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ends when the policy no longer allows the stream.
    pub async fn revoked(&self) {
        std::future::poll_fn(|context| self.poll_revoked(context)).await;
    }

    /// Something moved in the stream.
    pub fn progress(&self) {
        let now = u64::try_from(self.shared.begun.elapsed().as_millis()).unwrap_or(NO_END);
        self.shared.moved_ms.store(now, Ordering::Relaxed);
    }

    /// When something last moved in the stream, or it began.
    #[must_use]
    pub fn moved_at(&self) -> Instant {
        self.shared.moved_at()
    }

    /// Lets the connection be severed when nothing has moved for longer than `idle` and the stream has not noticed.
    pub fn bound_idle(&self, idle: Duration) {
        let idle = u64::try_from(idle.as_millis()).unwrap_or(NO_END);
        self.shared.idle_ms.store(idle, Ordering::Relaxed);
    }

    /// Whether the connection was severed because nothing moved.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.shared.overdue.load(Ordering::Acquire)
    }

    /// Whether the policy no longer allows the stream.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.shared.revoked.load(Ordering::Acquire)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.enforcement.lock().leases.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use sandgate_policy::destination::Scheme;

    use super::*;
    use crate::upstream::profile::Profiles;

    fn policy(destinations: &str) -> (Policy, Routes) {
        let policy = Policy::parse(format!("version: 1\ndestinations: [{destinations}]").as_bytes()).unwrap();
        let routes = Profiles::new(Arc::new(rustls::RootCertStore::empty())).routes(&policy).unwrap();
        (policy, routes)
    }

    fn enforcement(destinations: &str) -> Arc<Enforcement> {
        let (policy, routes) = policy(destinations);
        Arc::new(Enforcement::new(policy, routes))
    }

    fn origin(address: &str) -> Peer {
        Peer::origin(address.parse().unwrap())
    }

    fn lease(enforcement: &Arc<Enforcement>, host: &str, path: &'static str) -> Lease {
        let destination = Destination { scheme: Scheme::Https, host: Host::parse(host).unwrap(), port: 443 };
        let grant = Grant::Request { destination, method: Method::GET, path: PathAndQuery::from_static(path) };
        enforcement.grant(enforcement.current().generation, grant, &Arc::default()).unwrap()
    }

    fn swap(enforcement: &Enforcement, destinations: &str) -> usize {
        let (policy, routes) = policy(destinations);
        enforcement.swap(policy, routes)
    }

    #[test]
    fn a_swap_revokes_what_the_new_policy_would_refuse_and_nothing_else() {
        let enforcement = enforcement("{id: a, host: a.test}, {id: b, host: b.test}");
        let (gone, denied, kept) = (
            lease(&enforcement, "a.test", "/"),
            lease(&enforcement, "b.test", "/x"),
            lease(&enforcement, "b.test", "/y"),
        );
        assert_eq!(swap(&enforcement, "{id: b, host: b.test, deny: [{paths: [/x]}]}"), 2);
        assert!(gone.is_revoked() && denied.is_revoked() && !kept.is_revoked());
    }

    #[test]
    fn an_address_that_is_no_longer_listed_revokes_too() {
        let enforcement = enforcement("{id: a, host: a.test, private_cidrs: [10.0.0.0/8]}");
        let (private, public) = (lease(&enforcement, "a.test", "/"), lease(&enforcement, "a.test", "/"));
        private.leads_to(&origin("10.1.2.3:443"));
        public.leads_to(&origin("1.1.1.1:443"));
        assert_eq!(swap(&enforcement, "{id: a, host: a.test}"), 1);
        assert!(private.is_revoked() && !public.is_revoked());
    }

    #[test]
    fn an_address_that_was_dialled_while_the_policy_changed_is_judged_by_the_new_one() {
        let enforcement = enforcement("{id: a, host: a.test, private_cidrs: [10.0.0.0/8]}");
        let late = lease(&enforcement, "a.test", "/");
        assert_eq!(swap(&enforcement, "{id: a, host: a.test}"), 0);
        late.leads_to(&origin("10.1.2.3:443"));
        assert!(late.is_revoked());
    }

    #[test]
    fn a_verdict_of_an_older_policy_gets_no_lease() {
        let enforcement = enforcement("{id: a, host: a.test}");
        let before = enforcement.current().generation;
        swap(&enforcement, "");
        let grant = Grant::Passthrough { host: Host::parse("a.test").unwrap(), port: 443 };
        assert_eq!(enforcement.grant(before, grant, &Arc::default()).err(), Some(Stale));
    }

    #[test]
    fn a_lease_that_ended_is_not_judged_any_more() {
        let enforcement = enforcement("{id: a, host: a.test}");
        drop(lease(&enforcement, "a.test", "/"));
        assert_eq!(swap(&enforcement, ""), 0);
    }
}
