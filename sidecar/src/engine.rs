//! What every connection needs: settings, the policy in force, origins, certificates, and where things are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sandgate_policy::Addition;
use sandgate_policy::destination::Destination;

use crate::audit::Audit;
use crate::enforcement::Enforcement;
use crate::leaf::LeafCache;
use crate::limits::Limiter;
use crate::link::Link;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::upstream::Upstream;

/// The shared state of a running sidecar.
pub struct Engine {
    /// As the operator gave them.
    pub settings: Arc<Settings>,
    /// The policy in force, and what is open under it.
    pub enforcement: Arc<Enforcement>,
    /// Connections to origins.
    pub upstream: Upstream,
    /// Certificates of intercepted hosts.
    pub leaves: Arc<LeafCache>,
    /// Rates and concurrency of rules.
    pub limiter: Limiter,
    /// Where decisions are written.
    pub audit: Audit,
    /// Where they are counted.
    pub metrics: Arc<Metrics>,
    /// Numbers requests and connections from 1.
    pub numbers: Numbers,
}

impl Engine {
    /// What to say of an addition to the policy: nothing where it would not help, as the host is an address of this pod.
    #[must_use]
    pub fn helpful(&self, addition: Option<Addition>, destination: &Destination) -> Option<Arc<Addition>> {
        let is_here = |address| self.upstream.dialer().is_here(address, destination.port);
        addition.filter(|_| !destination.host.address().is_some_and(is_here)).map(Arc::new)
    }
}

/// Numbers that are unique since the start.
#[derive(Default)]
pub struct Numbers {
    connections: AtomicU64,
    requests: AtomicU64,
    ended: AtomicU64,
}

impl Numbers {
    /// The next connection's number.
    pub fn connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A connection has ended.
    pub fn end_connection(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that have not ended.
    pub fn open_connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed) - self.ended.load(Ordering::Relaxed)
    }

    /// The next request's number.
    pub fn request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Where a request came in.
#[derive(Clone)]
pub struct Inbound {
    /// The client's connection.
    pub connection: u64,
    /// What is shared with that connection.
    pub link: Arc<Link>,
    /// The destination of the tunnel that it came through; `None` for a plain request in absolute form.
    pub tunnel: Option<Destination>,
}
