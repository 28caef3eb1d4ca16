//! How an origin is started: its certificate, protocols and addresses. Defaults are those of a well-behaved server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, watch};

use super::journal::Journal;
use super::{NAMES, Options, Origin, Protocols, Shared, listener, tls};
use crate::pki::{Issued, TestCa};

/// What an origin is started with.
pub struct Builder {
    options: Options,
    ca: Option<TestCa>,
    names: Vec<String>,
    certificate: Option<Issued>,
    client_roots: Vec<CertificateDer<'static>>,
    tickets: bool,
    keeps_requests: bool,
    ipv6: bool,
    address: SocketAddr,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            options: Options { protocols: Protocols::Both, max_streams: None, files: None },
            ca: None,
            names: Vec::new(),
            certificate: None,
            client_roots: Vec::new(),
            tickets: false,
            keeps_requests: true,
            ipv6: false,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
        }
    }

    /// Signs the origin's certificate with this CA instead of a new one.
    #[must_use]
    pub fn ca(mut self, ca: &TestCa) -> Self {
        self.ca = Some(ca.clone());
        self
    }

    /// Adds names to the origin's certificate.
    #[must_use]
    pub fn names(mut self, names: &[&str]) -> Self {
        self.names.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// Shows this certificate instead of a right one.
    #[must_use]
    pub fn certificate(mut self, certificate: Issued) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Speaks only these protocols.
    #[must_use]
    pub fn protocols(mut self, protocols: Protocols) -> Self {
        self.options.protocols = protocols;
        self
    }

    /// Accepts no client without a certificate from this root.
    #[must_use]
    pub fn require_client_certificate(mut self, root: &CertificateDer<'static>) -> Self {
        self.client_roots.push(root.clone());
        self
    }

    /// Lets clients resume TLS sessions, which they cannot otherwise.
    #[must_use]
    pub fn session_tickets(mut self) -> Self {
        self.tickets = true;
        self
    }

    /// Allows so many concurrent streams per connection (`SETTINGS_MAX_CONCURRENT_STREAMS`).
    #[must_use]
    pub fn max_streams(mut self, streams: u32) -> Self {
        self.options.max_streams = Some(streams);
        self
    }

    /// Serves the files below this directory where no other route answers.
    #[must_use]
    pub fn files(mut self, directory: &Path) -> Self {
        self.options.files = Some(directory.to_owned());
        self
    }

    /// Listens on `[::1]` with the same port too.
    #[must_use]
    pub fn also_ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// Listens on this port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.address.set_port(port);
        self
    }

    /// Listens on this address instead of 127.0.0.1, for tests whose clients are in other network namespaces.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address.set_ip(address);
        self
    }

    /// Counts requests but keeps no record of them, for benchmarks.
    #[must_use]
    pub fn without_requests(mut self) -> Self {
        self.keeps_requests = false;
        self
    }

    /// Starts listening.
    ///
    /// # Panics
    /// Where a port cannot be bound, or outside of a tokio runtime.
    pub async fn start(self) -> Origin {
        let ca = self.ca.unwrap_or_default();
        let names: Vec<&str> =
            NAMES.iter().copied().chain(["127.0.0.1", "::1"]).chain(self.names.iter().map(String::as_str)).collect();
        let certificate = self.certificate.unwrap_or_else(|| ca.issue(&names));
        let acceptor = (self.options.protocols != Protocols::Plain)
            .then(|| tls::acceptor(certificate, self.options.protocols, self.client_roots, self.tickets));
        let v4 = TcpListener::bind(self.address).await;
        let v4 = v4.unwrap_or_else(|error| panic!("cannot listen on {}: {error}", self.address));
        let address = v4.local_addr().expect("a bound socket has an address");
        let mut listeners = vec![v4];
        if self.ipv6 {
            let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, address.port())).await;
            listeners.push(v6.expect("[::1] has the port that 127.0.0.1 had free"));
        }
        let shared = Arc::new(Shared {
            options: self.options,
            journal: Arc::new(Journal::new(self.keeps_requests)),
            released: watch::Sender::new(0),
            git: OnceCell::new(),
        });
        let listen =
            |listener| tokio::spawn(listener::listen(listener, acceptor.clone(), Arc::clone(&shared))).abort_handle();
        Origin { tasks: listeners.into_iter().map(listen).collect(), shared, ca, address }
    }
}
