//! A sidecar beside an origin on loopback, and clients through it: what tests of the way to the origin share.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::io;
use std::path::Path;
use std::time::Duration;

use sandgate_testkit::client::{Client, ClientTls, Fetched, RawReply, https_through, read_all, tunnel};
use sandgate_testkit::origin::websocket::{Frame, TEXT};
use sandgate_testkit::origin::{Builder, Origin, Protocols};
use sandgate_testkit::pki::TestCa;
use sandgate_testkit::raw_origin::{RawConnection, RawOrigin};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::Setup;

/// Generous, because tests share their machine; what it bounds takes milliseconds.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// Both HTTP versions by their ALPN names.
pub(crate) const VERSIONS: [&str; 2] = ["h2", "http/1.1"];
/// Origins that speak one version only.
pub(crate) const ORIGINS: [Protocols; 2] = [Protocols::Http2, Protocols::Http1];

/// A sidecar whose policy allows one origin.
pub(crate) struct Beside {
    pub(crate) origin: Origin,
    pub(crate) setup: Setup,
    tls: ClientTls,
}

impl Beside {
    /// `arguments` come after those that lead `origin.test` to the origin.
    pub(crate) async fn start(origin: Builder, arguments: &[&str]) -> Self {
        let origin = origin.start().await;
        let setup = setup(&origin.ca().clone(), origin.port(), "", arguments).await;
        let tls = setup.client_tls();
        Self { origin, setup, tls }
    }

    /// A client of its own that speaks one version.
    pub(crate) async fn client(&self, alpn: &str) -> Client {
        client_with(&self.setup, self.origin.port(), &self.tls, alpn).await
    }

    /// The stream inside a tunnel's TLS, for HTTP/1.1 by hand.
    pub(crate) async fn stream(&self) -> TlsStream<TcpStream> {
        stream(&self.setup, self.origin.port()).await
    }

    /// The absolute URI of a path at the origin.
    pub(crate) fn uri(&self, path: &str) -> String {
        uri(self.origin.port(), path)
    }

    /// Sends bytes through a tunnel and reads until it is closed. The request should ask for that.
    pub(crate) async fn raw(&self, request: &str) -> RawReply {
        raw(&self.setup, self.origin.port(), request).await
    }
}

/// A sidecar whose policy allows one scripted origin.
pub(crate) struct BesideRaw {
    pub(crate) origin: RawOrigin,
    pub(crate) setup: Setup,
    tls: ClientTls,
}

impl BesideRaw {
    pub(crate) async fn start<F, R>(protocols: Protocols, arguments: &[&str], script: F) -> Self
    where
        F: Fn(RawConnection) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let ca = TestCa::new();
        let origin = RawOrigin::tls(&ca, protocols, script).await;
        let setup = setup(&ca, origin.port(), "", arguments).await;
        let tls = setup.client_tls();
        Self { origin, setup, tls }
    }

    pub(crate) async fn client(&self, alpn: &str) -> Client {
        client_with(&self.setup, self.origin.port(), &self.tls, alpn).await
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        uri(self.origin.port(), path)
    }

    pub(crate) async fn raw(&self, request: &str) -> RawReply {
        raw(&self.setup, self.origin.port(), request).await
    }
}

/// A sidecar that leads `origin.test:port` to loopback, with `more` lines in its destination.
pub(crate) async fn setup(ca: &TestCa, port: u16, more: &str, arguments: &[&str]) -> Setup {
    let resolve = format!("origin.test:{port}:127.0.0.1");
    let arguments = [&["--resolve", &resolve], arguments].concat();
    Setup::start(ca, &destination("origin.test", port, more), &arguments).await
}

/// A destination on loopback.
pub(crate) fn destination(host: &str, port: u16, more: &str) -> String {
    format!("  - id: origin\n    host: {host}\n    ports: [{port}]\n    private_cidrs: [127.0.0.0/8]\n{more}")
}

pub(crate) fn uri(port: u16, path: &str) -> String {
    format!("https://origin.test:{port}{path}")
}

async fn client_with(setup: &Setup, port: u16, tls: &ClientTls, alpn: &str) -> Client {
    let tls = tls.clone().alpn(&[alpn]);
    https_through(setup.sidecar.proxy(), "origin.test", port, &tls).await.unwrap()
}

/// A client of its own that speaks one version.
pub(crate) async fn client(setup: &Setup, port: u16, alpn: &str) -> Client {
    client_with(setup, port, &setup.client_tls(), alpn).await
}

/// The stream inside a tunnel's TLS, for HTTP/1.1 by hand.
pub(crate) async fn stream(setup: &Setup, port: u16) -> TlsStream<TcpStream> {
    let tunnel = tunnel(setup.sidecar.proxy(), &format!("origin.test:{port}")).await.unwrap();
    setup.client_tls().alpn(&["http/1.1"]).handshake("origin.test", tunnel).await.unwrap()
}

async fn raw(setup: &Setup, port: u16, request: &str) -> RawReply {
    let mut stream = stream(setup, port).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    read_all(&mut stream, DEADLINE).await
}

/// The stable code of a refusal.
pub(crate) fn code(refused: &Fetched) -> String {
    refused.json()["error"].as_str().expect("a refusal names its code").to_owned()
}

/// Sends a text frame and expects it back.
pub(crate) async fn echo(stream: &mut TlsStream<TcpStream>, text: &str) -> io::Result<()> {
    let frame = Frame::new(TEXT, text);
    stream.write_all(&frame.encode(Some([9, 8, 7, 6]))).await?;
    stream.flush().await?;
    assert_eq!(Frame::read(stream).await?, frame);
    Ok(())
}

/// Replaces a file whole, as a mount or an editor does.
pub(crate) fn replace(path: &Path, content: &str) {
    let aside = path.with_extension("new");
    std::fs::write(&aside, content).unwrap();
    std::fs::rename(aside, path).unwrap();
}
