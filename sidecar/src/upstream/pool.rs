//! The pool: which connection a request gets, and when a new one is made.
//!
//! Connections are keyed by destination and profile. HTTP/2 connections are shared up to the origin's stream limit, HTTP/1.1
//! ones are handed out one request at a time.

mod group;

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use sandgate_policy::destination::Destination;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

pub use self::group::{Channel, Http1Lease, Http2Stream};
use self::group::{Group, Groups, Key, PoolLimits, Reuse};
use super::connect::{self, Made, Want};
use super::dial::Dialer;
use super::profile::Profile;
use super::socket::Socket;
use super::{Failure, Peer};
use crate::metrics::Metrics;
use crate::refusal::Code;
use crate::settings::Settings;

/// All connections to origins.
pub struct Upstream {
    dialer: Dialer,
    metrics: Arc<Metrics>,
    limits: PoolLimits,
    groups: Arc<Groups>,
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
            match group.reuse_or_wait().await {
                Reuse::Channel(channel) => return Ok(channel),
                Reuse::Connect => return self.connect(&group, destination, profile, want).await,
                Reuse::ConnectAlone => {
                    let _alone = group.connecting.lock().await;
                    // Another request may have made what this one waited for, or failed to.
                    match group.reuse() {
                        Reuse::Channel(channel) => return Ok(channel),
                        Reuse::ConnectAlone => {
                            return match group.failure_since(arrived) {
                                Some(failure) => Err(failure),
                                None => self.connect(&group, destination, profile, want).await,
                            };
                        }
                        Reuse::Connect | Reuse::Wait(_) => {}
                    }
                }
                Reuse::Wait(_) => {}
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
                // Nobody waits for the connection of an upgrade.
                if want == Want::Any {
                    group.lock().failed = Some((Instant::now(), failure.clone()));
                }
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
        let mut groups = self.lock();
        groups.retain(|_, group| {
            let mut state = group.lock();
            state.idle.retain(|idle| !idle.connection.sender.is_closed() && idle.since.elapsed() < limit);
            state.http2.retain(|connection| !connection.is_closed() && !connection.is_idle_for(limit));
            !state.idle.is_empty() || !state.http2.is_empty() || Arc::strong_count(group) > 1
        });
        // After many hosts the table would stay as large as it ever was.
        if groups.len() < groups.capacity() / 4 {
            groups.shrink_to_fit();
        }
    }

    /// Forgets every connection whose profile is not among `profiles`. What runs on them goes on under its lease.
    pub fn retain_profiles(&self, profiles: impl Fn(u64) -> bool) {
        self.lock().retain(|key, group| {
            let stays = profiles(key.profile);
            if !stays {
                group.retire();
            }
            stays
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
