//! The addresses of this pod, as its interfaces have them now.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a list of the pod's own addresses is believed. Interfaces of a pod do not change; a laptop's do.
const OWN_ADDRESSES_FOR: Duration = Duration::from_secs(10);

/// Knows them for a while.
#[derive(Default)]
pub(super) struct OwnAddresses(Mutex<Option<(Instant, HashSet<IpAddr>)>>);

impl OwnAddresses {
    /// Whether an interface of this pod has the address. Loopback is not among these: a rule may list it.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*own {
            Some((read, addresses)) if read.elapsed() < OWN_ADDRESSES_FOR => addresses.contains(&address),
            _ => own.insert((Instant::now(), own_addresses())).1.contains(&address),
        }
    }
}

fn own_addresses() -> HashSet<IpAddr> {
    let interfaces = match nix::ifaddrs::getifaddrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            tracing::warn!(%error, "the pod's own addresses can't be listed");
            return HashSet::new();
        }
    };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .filter(|address| !address.is_loopback())
        .collect()
}
