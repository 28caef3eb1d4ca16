//! Connects to an origin: resolves the name once, judges every address, and dials one that passed.
//!
//! The address that was judged is the address that is dialled; nothing resolves the name a second time. An upstream
//! proxy resolves it by itself, so there every address that the name has here must pass.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ipnet::IpNet;
use sandgate_policy::address;
use sandgate_policy::destination::{Destination, Host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::attempts::{connect_first, in_turns};
use super::chain::{Chain, said};
use super::own_addresses::OwnAddresses;
use super::socket::Socket;
use super::{Failure, Peer};
use crate::descriptors::Descriptors;
use crate::refusal::Code;
use crate::resolver::{ResolveError, Resolver};
use crate::settings::upstream_proxy::ProxyUrl;

/// What the addresses of a name are wanted for.
#[derive(Clone, Copy)]
enum Wanted {
    /// To connect to one of them.
    One,
    /// To judge all.
    Every,
}

/// Makes TCP connections to addresses that may be dialled.
pub struct Dialer {
    resolver: Resolver,
    chain: Chain,
    dial_timeout: Duration,
    keepalive: Duration,
    /// Sockets to origins that may be opened yet.
    places: Arc<Semaphore>,
    lookups: Semaphore,
    listeners: OnceLock<Vec<SocketAddr>>,
    own: OwnAddresses,
}

impl Dialer {
    /// `dial_timeout` bounds waiting for a place, resolving and connecting together; `keepalive` is the idle time before
    /// TCP asks whether the origin is still there; `descriptors` bounds how many sockets are open at once.
    #[must_use]
    pub fn new(
        resolver: Resolver,
        chain: Chain,
        dial_timeout: Duration,
        keepalive: Duration,
        descriptors: Descriptors,
    ) -> Self {
        Self {
            resolver,
            chain,
            dial_timeout,
            keepalive,
            places: Arc::new(Semaphore::new(descriptors.origins)),
            lookups: Semaphore::new(descriptors.lookups),
            listeners: OnceLock::new(),
            own: OwnAddresses::default(),
        }
    }

    /// Names the sidecar's own listeners, which are never dialled. Called once, when they are bound.
    pub fn refuse_own_listeners(&self, listeners: Vec<SocketAddr>) {
        // A second call would mean a second set of listeners, which `serve` does not have.
        let _ = self.listeners.set(listeners);
    }

    /// Connects to the destination, at an address that is globally reachable unicast or in `private_cidrs`, or through
    /// an upstream proxy.
    ///
    /// # Errors
    /// [`Failure`] with the code of what failed; refused addresses are 403, the rest 502 to 504.
    pub async fn dial(&self, destination: &Destination, private_cidrs: &[IpNet]) -> Result<(Socket, Peer), Failure> {
        let deadline = Instant::now() + self.dial_timeout;
        let place = timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(Failure::new(Code::Overloaded, "as many connections to origins are open as may be"));
        };
        match self.chain.proxy(destination) {
            Some(proxy) => self.dial_through(proxy, destination, private_cidrs, deadline, place).await,
            None => self.dial_directly(destination, private_cidrs, deadline, place).await,
        }
    }

    async fn dial_directly(
        &self,
        Destination { host, port, .. }: &Destination,
        private_cidrs: &[IpNet],
        deadline: Instant,
        place: OwnedSemaphorePermit,
    ) -> Result<(Socket, Peer), Failure> {
        let addresses = self.resolve(host, *port, deadline, Wanted::One).await?;
        let permitted = self.permitted(&addresses, *port, private_cidrs)?;
        let (socket, address) = self.connect(permitted, *port, deadline, place).await?;
        Ok((socket, Peer::origin(address)))
    }

    /// The proxy's own address is the operator's choice, and no rule of the policy is about it.
    async fn dial_through(
        &self,
        proxy: &ProxyUrl,
        destination: &Destination,
        private_cidrs: &[IpNet],
        deadline: Instant,
        place: OwnedSemaphorePermit,
    ) -> Result<(Socket, Peer), Failure> {
        let judged = self.judged(destination, private_cidrs, deadline).await?;
        let mut addresses = self
            .resolve(&proxy.host, proxy.port, deadline, Wanted::One)
            .await
            .map_err(|error| said(Code::UpstreamProxyDns, proxy, &format!("can't be found: {error}")))?;
        addresses.retain(|address| !self.is_proxy(*address, proxy.port));
        if addresses.is_empty() {
            return Err(said(
                Code::UpstreamProxyLoop,
                proxy,
                "is this proxy itself: whoever runs this sandbox has to set another",
            ));
        }
        let connected = self.connect(addresses, proxy.port, deadline, place).await;
        let (socket, address) = connected.map_err(|failure| match failure.code {
            Code::Overloaded => failure,
            Code::ConnectTimeout => said(Code::UpstreamProxyTimeout, proxy, "did not take the connection in time"),
            _ => said(Code::UpstreamProxyUnreachable, proxy, &format!("can't be connected to: {}", failure.detail)),
        })?;
        let tunnel = self.chain.tunnel(proxy, socket, destination).await;
        Ok((tunnel.map_err(|failure| failure.at(address))?, Peer { address, judged: judged.into(), is_proxy: true }))
    }

    /// All addresses of a name that the policy admits. None where the name has none here: it may be one that the proxy
    /// alone knows. That nobody could be asked in time means nothing, for a client may have seen to that.
    async fn judged(
        &self,
        Destination { host, port, .. }: &Destination,
        private_cidrs: &[IpNet],
        deadline: Instant,
    ) -> Result<Vec<IpAddr>, Failure> {
        let addresses = match self.resolve(host, *port, deadline, Wanted::Every).await {
            Err(ResolveError::NotFound | ResolveError::NoServer) => Vec::new(),
            resolved => resolved?,
        };
        for address in &addresses {
            self.judge(*address, *port, private_cidrs).map_err(|code| match addresses.len() {
                1 => Failure::address(code, *address),
                _ => Failure {
                    refused: Some(*address),
                    ..Failure::new(
                        code,
                        format!("the upstream proxy may take any of its addresses, and one is {address}"),
                    )
                },
            })?;
        }
        match host {
            Host::Name(_) => Ok(addresses),
            Host::Address(_) => {
                let detail = "use a name, or ask whoever runs this sandbox to list the address in --upstream-no-proxy";
                Err(Failure::new(Code::LiteralThroughProxy, detail))
            }
        }
    }

    async fn connect(
        &self,
        addresses: Vec<IpAddr>,
        port: u16,
        deadline: Instant,
        place: OwnedSemaphorePermit,
    ) -> Result<(Socket, SocketAddr), Failure> {
        let (socket, address) = connect_first(in_turns(addresses, port), deadline, place, &self.places).await?;
        socket.configure(self.keepalive);
        Ok((socket, address))
    }

    /// An upstream proxy that is one of the sidecar's own listeners, as far as that is known without asking anybody.
    #[must_use]
    pub fn looping_proxy(&self) -> Option<&ProxyUrl> {
        let is_own =
            |proxy: &&Arc<ProxyUrl>| proxy.host.address().is_some_and(|address| self.is_proxy(address, proxy.port));
        self.chain.proxies().find(is_own).map(|proxy| &**proxy)
    }

    /// The sockets to origins that may be opened yet: each takes a permit for as long as it is open.
    #[must_use]
    pub fn places(&self) -> &Arc<Semaphore> {
        &self.places
    }

    async fn resolve(
        &self,
        host: &Host,
        port: u16,
        deadline: Instant,
        wanted: Wanted,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let lookup = async {
            // A semaphore that nobody closes always gives its permit in the end.
            let _socket = match host {
                Host::Name(_) => self.lookups.acquire().await.ok(),
                Host::Address(_) => None,
            };
            match wanted {
                Wanted::One => self.resolver.addresses(host, port).await,
                Wanted::Every => self.resolver.every_address(host, port).await,
            }
        };
        let resolved = timeout_at(deadline, lookup).await;
        resolved.unwrap_or(Err(ResolveError::Timeout))
    }

    /// The addresses that may be dialled; the refusal of the first one where there is none.
    fn permitted(&self, addresses: &[IpAddr], port: u16, private_cidrs: &[IpNet]) -> Result<Vec<IpAddr>, Failure> {
        let mut refusal = None;
        let mut permitted = Vec::with_capacity(addresses.len());
        for address in addresses {
            match self.judge(*address, port, private_cidrs) {
                Ok(()) => permitted.push(*address),
                Err(code) => {
                    refusal.get_or_insert((code, *address));
                }
            }
        }
        match refusal {
            Some((code, address)) if permitted.is_empty() => Err(Failure::address(code, address)),
            _ => Ok(permitted),
        }
    }

    fn judge(&self, address: IpAddr, port: u16, private_cidrs: &[IpNet]) -> Result<(), Code> {
        if self.is_proxy(address, port) {
            return Err(Code::ProxyLoop);
        }
        if self.own.has(address::plain(address)) {
            Err(Code::OwnAddress)
        } else {
            address::judge(address, private_cidrs)
        }
    }

    /// Whether a connection to the address would end at one of the sidecar's own listeners.
    #[must_use]
    pub fn is_proxy(&self, address: IpAddr, port: u16) -> bool {
        let address = address::plain(address);
        self.listens_on(port) && (address.is_loopback() || address.is_unspecified() || self.own.has(address))
    }

    /// Whether the address is refused whatever a policy lists: it is the proxy, or one of this pod.
    #[must_use]
    pub fn is_here(&self, address: IpAddr, port: u16) -> bool {
        self.is_proxy(address, port) || self.own.has(address::plain(address))
    }

    fn listens_on(&self, port: u16) -> bool {
        self.listeners.get().is_some_and(|listeners| listeners.iter().any(|listener| listener.port() == port))
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        let code = match &error {
            ResolveError::NotFound => Code::NameNotFound,
            ResolveError::Failed(_) | ResolveError::NoServer => Code::DnsFailed,
            ResolveError::Timeout => Code::DnsTimeout,
        };
        Self::new(code, error.to_string())
    }
}
