//! Start order and drain. Placeholder: it listens and serves nothing.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::audit::Observer;
use crate::settings::Settings;

/// A started sidecar.
pub struct Running {
    addresses: Vec<SocketAddr>,
    _listeners: Vec<TcpListener>,
}

impl Running {
    /// Where the proxy listens.
    #[must_use]
    pub fn proxy_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Ends it.
    pub async fn drain(self) {}

    /// Why it cannot go on; waits for ever while it can.
    pub async fn failed(&mut self) -> anyhow::Error {
        std::future::pending().await
    }
}

/// Starts everything.
///
/// # Errors
/// Whatever cannot be started.
pub async fn start(settings: Settings, _observer: Option<Observer>) -> anyhow::Result<Running> {
    let (mut addresses, mut listeners) = (Vec::new(), Vec::new());
    for address in settings.listen {
        let listener = TcpListener::bind(address).await?;
        addresses.push(listener.local_addr()?);
        listeners.push(listener);
    }
    Ok(Running { addresses, _listeners: listeners })
}
