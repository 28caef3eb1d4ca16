//! The connections to one destination: which of them a request gets, and which of those that are unused are kept.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sandgate_policy::destination::Destination;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep};

use crate::metrics::{Metrics, Open, Protocol};
use crate::upstream::connect::{Http1Connection, Http2Connection, Made, Want};
use crate::upstream::{Failure, Peer};

/// How often a new connection is looked at until its origin has said how many streams it allows, which takes a round trip.
const SETTINGS_LOOK: Duration = Duration::from_millis(1);
/// How often connections without a free stream are looked at: whether they have ended, or allow more by now.
const STREAMS_LOOK: Duration = Duration::from_millis(50);

/// Locked before the state of any group.
pub(super) type Groups = Mutex<HashMap<Key, Arc<Group>>>;

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) destination: Destination,
    pub(super) profile: u64,
}

/// The bounds of the pool.
#[derive(Clone)]
pub(super) struct PoolLimits {
    pub(super) handshake_timeout: Duration,
    /// The life of an unused connection.
    pub(super) idle: Duration,
    /// Idle HTTP/1.1 connections to one destination.
    pub(super) http1_idle: usize,
    /// Idle HTTP/1.1 connections to all destinations.
    pub(super) http1_idle_in_all: usize,
    /// HTTP/2 connections to one destination: one is the rule, more are for origins that allow few streams.
    pub(super) http2: usize,
    pub(super) idle_count: Arc<AtomicUsize>,
    /// Where the longest idle one is found.
    pub(super) groups: Weak<Groups>,
    /// Sockets that may be opened yet. Where there is none, somebody may be waiting for one.
    pub(super) places: Arc<Semaphore>,
}

/// The connections to one destination under one profile.
pub(super) struct Group {
    limits: PoolLimits,
    metrics: Arc<Metrics>,
    state: Mutex<GroupState>,
    /// Wakes one of those who wait for each stream that ends, and all of them for anything else that helps them.
    freed: Notify,
    /// Held while a connection is made that others may be able to share.
    pub(super) connecting: tokio::sync::Mutex<()>,
    /// Held by the one who looks for those who wait.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct GroupState {
    pub(super) idle: Vec<Idle>,
    pub(super) http2: Vec<Arc<Http2Connection>>,
    speaks_http1: bool,
    /// Why the last connection that others wanted to share could not be made.
    pub(super) failed: Option<(Instant, Failure)>,
    /// The pool has forgotten the group: what requests still have of it is not kept.
    is_retired: bool,
}

/// In the order in which they became idle.
pub(super) struct Idle {
    pub(super) connection: Http1Connection,
    pub(super) since: Instant,
    _counted: Counted,
}

/// An idle connection's place among those that the pool may keep, and in the metrics.
struct Counted {
    _place: IdlePlace,
    _metric: Open,
}

struct IdlePlace(Arc<AtomicUsize>);

impl Drop for IdlePlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl PoolLimits {
    /// A place for one more idle connection, if there is one.
    fn count_idle(&self) -> Option<IdlePlace> {
        let more = |idle| (idle < self.http1_idle_in_all).then_some(idle + 1);
        let counted = self.idle_count.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        counted.ok().map(|_| IdlePlace(Arc::clone(&self.idle_count)))
    }

    /// Makes a place. Without it, connections to hosts that nobody asks for any more would keep all others out.
    fn close_longest_idle(&self) {
        let Some(groups) = self.groups.upgrade() else { return };
        let groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |group: &Arc<Group>| Some((group.lock().idle.first()?.since, Arc::clone(group)));
        let longest = groups.values().filter_map(since).min_by_key(|(since, _)| *since);
        if let Some((_, group)) = longest {
            let mut state = group.lock();
            if !state.idle.is_empty() {
                state.idle.remove(0);
            }
        }
    }
}

/// What a request finds in its group.
pub(super) enum Reuse {
    Channel(Channel),
    /// Nothing to reuse, and nothing to share: the origin speaks HTTP/1.1.
    Connect,
    /// Nothing to reuse; one request makes a connection, the others see whether they can share it.
    ConnectAlone,
    /// Nothing yet, and another look is worth while after this time.
    Wait(Duration),
}

impl Group {
    pub(super) fn new(limits: PoolLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            limits,
            metrics,
            state: Mutex::default(),
            freed: Notify::new(),
            connecting: tokio::sync::Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn reuse(self: &Arc<Self>) -> Reuse {
        let mut state = self.lock();
        state.http2.retain(|connection| !connection.is_closed());
        if let Some(connection) = state.http2.iter().find(|connection| connection.reserve()) {
            let stream = Http2Stream { connection: Arc::clone(connection), group: Arc::clone(self) };
            return Reuse::Channel(Channel::Http2(stream));
        }
        state.idle.retain(|idle| !idle.connection.sender.is_closed());
        if let Some(ready) = state.idle.iter().rposition(|idle| idle.connection.sender.is_ready()) {
            let connection = state.idle.remove(ready).connection;
            let used = Some(connection.meter.read());
            let group = Some(Arc::clone(self));
            return Reuse::Channel(Channel::Http1(Http1Lease { connection, used, group }));
        }
        state.missing(self.limits.http2)
    }

    /// A channel, or what to do for one, as soon as it is not waiting.
    pub(super) async fn reuse_or_wait(self: &Arc<Self>) -> Reuse {
        loop {
            // Listens before it looks, so that a stream that ends in between is not missed.
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            match self.reuse() {
                Reuse::Wait(look) => tokio::select! {
                    () = freed => {}
                    () = self.look(look) => {}
                },
                found => return found,
            }
        }
    }

    /// Looks again and again, one for all who wait: hyper tells nobody when an origin's SETTINGS arrive, nor when a
    /// connection has ended.
    async fn look(&self, every: Duration) {
        let _looking = self.looking.lock().await;
        loop {
            sleep(every).await;
            let mut state = self.lock();
            state.http2.retain(|connection| !connection.is_closed());
            let is_free = state.http2.iter().any(|connection| connection.has_free_stream());
            if is_free || !matches!(state.missing(self.limits.http2), Reuse::Wait(same) if same == every) {
                return self.freed.notify_waiters();
            }
        }
    }

    /// The pool forgets the group. What it has is closed, and so is what comes back.
    pub(super) fn retire(&self) {
        let mut state = self.lock();
        state.is_retired = true;
        state.idle.clear();
    }

    pub(super) fn keep(&self, connection: Http1Connection) {
        let limits = &self.limits;
        let has_room = |state: &GroupState| !state.is_retired && state.idle.len() < limits.http1_idle;
        // Looked at before any other connection has to go for this one.
        if limits.places.available_permits() == 0 || !has_room(&self.lock()) {
            return;
        }
        let counted = limits.count_idle().or_else(|| {
            // One that was just used is likelier to be used again than any other.
            limits.close_longest_idle();
            limits.count_idle()
        });
        let Some(counted) = counted else { return };
        let mut state = self.lock();
        if has_room(&state) {
            let counted = Counted { _place: counted, _metric: self.metrics.upstream_idle(Protocol::Http1) };
            state.idle.push(Idle { connection, since: Instant::now(), _counted: counted });
        }
    }

    pub(super) fn adopt(self: &Arc<Self>, made: Made, want: Want) -> Channel {
        match made {
            Made::Http1(connection) => {
                // Made for an upgrade it says nothing of what the origin speaks, and is for no other request: that
                // may go over HTTP/2.
                let group = (want == Want::Any).then(|| Arc::clone(self));
                if group.is_some() {
                    self.lock().speaks_http1 = true;
                }
                Channel::Http1(Http1Lease { connection, used: None, group })
            }
            Made::Http2(connection) => {
                let mut state = self.lock();
                state.speaks_http1 = false;
                state.http2.push(Arc::clone(&connection));
                Channel::Http2(Http2Stream { connection, group: Arc::clone(self) })
            }
        }
    }

    pub(super) fn failure_since(&self, arrived: Instant) -> Option<Failure> {
        let state = self.lock();
        state.failed.as_ref().filter(|(at, _)| *at >= arrived).map(|(_, failure)| failure.clone())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GroupState {
    /// What to do where nothing can be reused.
    fn missing(&self, most_http2: usize) -> Reuse {
        if self.http2.iter().any(|connection| connection.is_settling()) {
            Reuse::Wait(SETTINGS_LOOK)
        } else if self.speaks_http1 {
            Reuse::Connect
        } else if self.http2.len() >= most_http2 {
            Reuse::Wait(STREAMS_LOOK)
        } else {
            Reuse::ConnectAlone
        }
    }
}

/// The right to send one request to an origin.
pub enum Channel {
    /// On an HTTP/1.1 connection of its own.
    Http1(Http1Lease),
    /// As a stream of an HTTP/2 connection.
    Http2(Http2Stream),
}

impl Channel {
    /// Where the request goes.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        match self {
            Self::Http1(lease) => &lease.connection.peer,
            Self::Http2(stream) => &stream.connection.peer,
        }
    }
}

/// An HTTP/1.1 connection for one request. Dropping it closes the connection; [`Http1Lease::recycle`] keeps it.
pub struct Http1Lease {
    /// The connection.
    pub connection: Http1Connection,
    /// Bytes read from it when this lease began, if it had carried a request before.
    used: Option<u64>,
    /// Where it may go back to.
    group: Option<Arc<Group>>,
}

impl Http1Lease {
    /// Whether the connection was used before, and has brought no byte since: the origin may have closed it while it
    /// was idle.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.used == Some(self.connection.meter.read())
    }

    /// Gives the connection back once its response has been read to the end. One that was made for an upgrade is closed.
    pub fn recycle(self) {
        if let Some(group) = self.group.filter(|_| !self.connection.sender.is_closed()) {
            group.keep(self.connection);
        }
    }
}

/// A stream of an HTTP/2 connection. Dropping it lets another request have its place.
pub struct Http2Stream {
    /// The connection.
    pub connection: Arc<Http2Connection>,
    group: Arc<Group>,
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        self.connection.release();
        self.group.freed.notify_one();
    }
}
