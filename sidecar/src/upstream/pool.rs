//! The pool: which connection a request gets, and when a new one is made.
//!
//! Connections are keyed by destination and profile. HTTP/2 connections are shared up to the origin's stream limit, HTTP/1.1
//! ones are handed out one request at a time.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sandgate_policy::destination::Destination;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep};

use super::connect::{self, Http1Connection, Http2Connection, Made, Want};
use super::dial::Dialer;
use super::profile::Profile;
use super::socket::Socket;
use super::{Failure, Peer};
use crate::metrics::{Metrics, Open, Protocol};
use crate::refusal::Code;
use crate::settings::Settings;

/// How often a new connection is looked at until its origin has said how many streams it allows: hyper tells nobody when
/// the SETTINGS arrive, and they take a round trip.
const SETTLE_LOOK: Duration = Duration::from_millis(1);

/// The bounds of the pool.
#[derive(Clone)]
struct PoolLimits {
    handshake_timeout: Duration,
    /// The life of an unused connection.
    idle: Duration,
    /// Idle HTTP/1.1 connections to one destination.
    http1_idle: usize,
    /// Idle HTTP/1.1 connections to all destinations.
    http1_idle_in_all: usize,
    /// HTTP/2 connections to one destination: one is the rule, more are for origins that allow few streams.
    http2: usize,
    idle_count: Arc<AtomicUsize>,
    /// Where the longest idle one is found.
    groups: Weak<Groups>,
    /// Sockets that may be opened yet. Where there is none, somebody may be waiting for one.
    places: Arc<Semaphore>,
}

/// All connections to origins.
pub struct Upstream {
    dialer: Dialer,
    metrics: Arc<Metrics>,
    limits: PoolLimits,
    groups: Arc<Groups>,
}

/// Locked before the state of any group.
type Groups = Mutex<HashMap<Key, Arc<Group>>>;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    destination: Destination,
    profile: u64,
}

impl Upstream {
    /// A pool over `dialer`, bounded as `settings` say.
    #[must_use]
    pub fn new(dialer: Dialer, settings: &Settings, metrics: Arc<Metrics>) -> Self {
        let groups = Arc::<Groups>::default();
        let limits = PoolLimits {
            handshake_timeout: settings.handshake_timeout,
            idle: settings.pool_idle_timeout,
            http1_idle: settings.pool_per_host,
            http1_idle_in_all: settings.pool_size,
            http2: settings.pool_h2_connections,
            idle_count: Arc::default(),
            groups: Arc::downgrade(&groups),
            places: Arc::clone(dialer.places()),
        };
        Self { dialer, metrics, limits, groups }
    }

    /// Connects an opaque tunnel to its origin. The pool keeps nothing of it.
    ///
    /// # Errors
    /// As [`Dialer::dial`].
    pub async fn dial(&self, destination: &Destination, profile: &Profile) -> Result<(Socket, Peer), Failure> {
        self.make_room();
        self.dialer.dial(destination, &profile.private_cidrs).await
    }

    /// Closes what is idle where a new connection would have to wait for it.
    fn make_room(&self) {
        if self.limits.places.available_permits() == 0 {
            self.close_idle(Duration::ZERO);
        }
    }

    /// Knows what may be dialled.
    #[must_use]
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// A channel for one request to `destination`: an idle or shared connection, or a new one.
    ///
    /// # Errors
    /// [`Failure`] of the connection that had to be made.
    pub async fn channel(&self, destination: &Destination, profile: &Profile, want: Want) -> Result<Channel, Failure> {
        let group = self.group(destination, profile);
        if want == Want::Upgrade {
            return self.connect(&group, destination, profile, want).await;
        }
        let arrived = Instant::now();
        loop {
            match group.reuse() {
                Reuse::Channel(channel) => return Ok(channel),
                Reuse::Connect => return self.connect(&group, destination, profile, want).await,
                Reuse::Wait => {
                    // Listens before it looks again, so that a stream freed in between is not missed.
                    let mut freed = pin!(group.freed.notified());
                    freed.as_mut().enable();
                    match group.reuse() {
                        Reuse::Channel(channel) => return Ok(channel),
                        _ => freed.await,
                    }
                }
                Reuse::Settle => sleep(SETTLE_LOOK).await,
                Reuse::ConnectAlone => {
                    let _alone = group.connecting.lock().await;
                    if let Some(failure) = group.failure_since(arrived) {
                        return Err(failure);
                    }
                    // Another request may have made what this one waited for.
                    match group.reuse() {
                        Reuse::Channel(channel) => return Ok(channel),
                        Reuse::ConnectAlone => return self.connect(&group, destination, profile, want).await,
                        Reuse::Connect | Reuse::Wait | Reuse::Settle => {}
                    }
                }
            }
        }
    }

    /// Takes a connection to an origin that somebody else made, without TLS, and keeps it for a request.
    ///
    /// # Errors
    /// As hyper's handshake.
    pub async fn keep<S>(
        &self,
        destination: &Destination,
        profile: &Profile,
        stream: S,
        peer: Peer,
    ) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Made::Http1(connection) = connect::http1(stream, peer, &self.metrics).await? {
            self.group(destination, profile).keep(connection);
        }
        Ok(())
    }

    async fn connect(
        &self,
        group: &Arc<Group>,
        destination: &Destination,
        profile: &Profile,
        want: Want,
    ) -> Result<Channel, Failure> {
        self.make_room();
        let timeout = self.limits.handshake_timeout;
        // Boxed, for most requests find a connection, and each would carry the state of making one.
        let made = Box::pin(connect::connect(&self.dialer, destination, profile, want, timeout, &self.metrics));
        match made.await {
            Ok(made) => Ok(group.adopt(made, want)),
            Err(failure) => {
                if failure.code == Code::Overloaded {
                    self.metrics.descriptors_exhausted();
                }
                group.lock().failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    fn group(&self, destination: &Destination, profile: &Profile) -> Arc<Group> {
        let key = Key { destination: destination.clone(), profile: profile.id };
        let new = || Arc::new(Group::new(self.limits.clone(), Arc::clone(&self.metrics)));
        Arc::clone(self.lock().entry(key).or_insert_with(new))
    }

    /// Closes what was idle for too long, and forgets destinations without connections.
    pub fn sweep(&self) {
        self.close_idle(self.limits.idle);
        self.make_room();
    }

    fn close_idle(&self, limit: Duration) {
        self.lock().retain(|_, group| {
            let mut state = group.lock();
            state.idle.retain(|idle| !idle.connection.sender.is_closed() && idle.since.elapsed() < limit);
            state.http2.retain(|connection| !connection.is_closed() && !connection.is_idle_for(limit));
            !state.idle.is_empty() || !state.http2.is_empty() || Arc::strong_count(group) > 1
        });
    }

    /// Forgets every connection whose profile is not among `profiles`. What runs on them goes on under its lease.
    pub fn retain_profiles(&self, profiles: impl Fn(u64) -> bool) {
        self.lock().retain(|key, _| profiles(key.profile));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections to one destination under one profile.
struct Group {
    limits: PoolLimits,
    metrics: Arc<Metrics>,
    state: Mutex<GroupState>,
    freed: Notify,
    /// Held while a connection is made that others may be able to share.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct GroupState {
    idle: Vec<Idle>,
    http2: Vec<Arc<Http2Connection>>,
    speaks_http1: bool,
    failed: Option<(Instant, Failure)>,
}

/// In the order in which they became idle.
struct Idle {
    connection: Http1Connection,
    since: Instant,
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
enum Reuse {
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
    fn new(limits: PoolLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            limits,
            metrics,
            state: Mutex::default(),
            freed: Notify::new(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    fn reuse(self: &Arc<Self>) -> Reuse {
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

    fn keep(&self, connection: Http1Connection) {
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

    fn adopt(self: &Arc<Self>, made: Made, want: Want) -> Channel {
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

    fn failure_since(&self, arrived: Instant) -> Option<Failure> {
        let state = self.lock();
        state.failed.as_ref().filter(|(at, _)| *at >= arrived).map(|(_, failure)| failure.clone())
    }

    fn lock(&self) -> MutexGuard<'_, GroupState> {
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
