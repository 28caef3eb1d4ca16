//! The connections to one destination: which of them a request gets, and which of those that are unused are kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sandgate_policy::destination::Destination;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::metrics::{Metrics, Open, Protocol};
use crate::upstream::connect::{Http1Connection, Http2Connection, Made, Want};
use crate::upstream::{Failure, Peer};

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
    pub(super) freed: Notify,
    /// Held while a connection is made that others may be able to share.
    pub(super) connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct GroupState {
    pub(super) idle: Vec<Idle>,
    pub(super) http2: Vec<Arc<Http2Connection>>,
    speaks_http1: bool,
    pub(super) failed: Option<(Instant, Failure)>,
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
    /// As many HTTP/2 connections as may be, and no stream free.
    Wait,
    /// A connection is so new that nobody knows how many streams it has.
    Settle,
}

impl Group {
    pub(super) fn new(limits: PoolLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            limits,
            metrics,
            state: Mutex::default(),
            freed: Notify::new(),
            connecting: tokio::sync::Mutex::default(),
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
            return Reuse::Channel(Channel::Http1(Http1Lease { connection, used, group: Arc::clone(self) }));
        }
        if state.http2.iter().any(|connection| connection.is_settling()) {
            return Reuse::Settle;
        }
        state.missing(self.limits.http2)
    }

    pub(super) fn keep(&self, connection: Http1Connection) {
        let limits = &self.limits;
        let has_room = |state: &GroupState| state.idle.len() < limits.http1_idle;
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
                if want == Want::Any {
                    self.lock().speaks_http1 = true;
                }
                Channel::Http1(Http1Lease { connection, used: None, group: Arc::clone(self) })
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
    fn missing(&self, most_http2: usize) -> Reuse {
        if self.speaks_http1 {
            Reuse::Connect
        } else if self.http2.len() >= most_http2 {
            Reuse::Wait
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
    group: Arc<Group>,
}

impl Http1Lease {
    /// Whether the connection was used before, and has brought no byte since: the origin may have closed it while it
    /// was idle.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.used == Some(self.connection.meter.read())
    }

    /// Gives the connection back once its response has been read to the end.
    pub fn recycle(self) {
        if !self.connection.sender.is_closed() {
            self.group.keep(self.connection);
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
