//! Starts the program as an operator would, beside an origin of the testkit.

use std::path::Path;
use std::time::Duration;

use sandgate_testkit::client::{ClientTls, RawReply, eventually, https_through, read_all, tunnel};
use sandgate_testkit::origin::{Origin, Protocols};
use sandgate_testkit::pki::TestCa;
use sandgate_testkit::sidecar::Sidecar;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_sandgate-sidecar");

/// A sidecar in a directory of its own, with a CA made at start and the policy in a file.
pub(crate) struct Setup {
    /// The running program.
    pub(crate) sidecar: Sidecar,
    /// Holds `policy.yaml`, `trust/` and `origin-ca.pem`.
    pub(crate) dir: TempDir,
}

impl Setup {
    /// Starts the program with a policy of these destinations (the YAML below `destinations:`), trusting `ca` for
    /// origins. `arguments` come after those of the setup.
    pub(crate) async fn start(ca: &TestCa, destinations: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        ca.write_root(&dir.path().join("origin-ca.pem"));
        write_policy(dir.path(), destinations);
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (policy, trust, roots) = (path("policy.yaml"), path("trust"), path("origin-ca.pem"));
        std::fs::create_dir(&trust).expect("the trust directory");
        let mut all = vec!["--no-env", "--ca", "generate", "--policy", &policy, "--policy-poll", "50ms"];
        all.extend(["--trust-dir", &trust, "--upstream-ca", &roots]);
        all.extend(arguments);
        let sidecar = Sidecar::start(Path::new(PROGRAM), &all, &[]).await;
        Self { sidecar, dir }
    }

    /// Puts another policy in place, whole.
    pub(crate) fn set_policy(&self, destinations: &str) {
        write_policy(self.dir.path(), destinations);
    }

    /// TLS as a client in the pod has it: trusting the sidecar's CA.
    pub(crate) fn client_tls(&self) -> ClientTls {
        let ca = std::fs::read_to_string(self.dir.path().join("trust/ca.crt")).expect("the trust files are there");
        ClientTls::new(&ca)
    }
}

fn write_policy(dir: &Path, destinations: &str) {
    let text = format!("version: 1\ndestinations:\n{destinations}");
    let aside = dir.join("policy.yaml.new");
    std::fs::write(&aside, text).expect("the policy is written");
    std::fs::rename(aside, dir.join("policy.yaml")).expect("the policy is put in place");
}

/// A destination for an origin on loopback: `origin.test` at its port.
pub(crate) fn allow(origin: &Origin) -> String {
    format!(
        "  - id: origin\n    host: origin.test\n    ports: [{}]\n    private_cidrs: [127.0.0.0/8, \"::1/128\"]\n",
        origin.port()
    )
}

/// `--resolve` for an origin on loopback.
pub(crate) fn resolve(origin: &Origin) -> String {
    format!("origin.test:{}:127.0.0.1", origin.port())
}

/// A sidecar in front of an origin that speaks HTTP/1.1 only, so that every byte of framing shows there.
pub(crate) async fn beside_http1() -> (Origin, Setup) {
    beside(Protocols::Http1).await
}

/// A sidecar in front of an origin with these protocols.
pub(crate) async fn beside(protocols: Protocols) -> (Origin, Setup) {
    let origin = Origin::builder().protocols(protocols).start().await;
    let scheme = if protocols == Protocols::Plain { "    scheme: http\n" } else { "" };
    let policy = allow(&origin) + scheme;
    let setup = Setup::start(origin.ca(), &policy, &["--resolve", &resolve(&origin)]).await;
    (origin, setup)
}

impl Setup {
    /// An intercepted tunnel to the origin, with these protocols offered.
    pub(crate) async fn intercepted(&self, origin: &Origin, alpn: &[&str]) -> TlsStream<TcpStream> {
        let stream = tunnel(self.sidecar.proxy(), &format!("origin.test:{}", origin.port())).await;
        let stream = stream.expect("the policy allows the origin");
        let handshake = self.client_tls().alpn(alpn).handshake("origin.test", stream).await;
        handshake.expect("the client trusts the sidecar's CA")
    }

    /// Sends bytes through an intercepted tunnel to the origin, ends that direction, and reads to the end.
    pub(crate) async fn raw_in_tunnel(&self, origin: &Origin, bytes: &[u8]) -> RawReply {
        let mut stream = self.intercepted(origin, &["http/1.1"]).await;
        send_and_end(&mut stream, bytes).await
    }

    /// Another policy, in force when this returns.
    pub(crate) async fn enforce(&self, destinations: &str) {
        let before = self.swaps();
        self.set_policy(destinations);
        eventually(DEADLINE, || self.swaps() > before).await;
    }

    fn swaps(&self) -> usize {
        self.sidecar.stderr().matches("another policy is in force").count()
    }

    /// The program still serves: one request goes through.
    pub(crate) async fn serves(&self, origin: &Origin) {
        let proxy = self.sidecar.proxy();
        let client = https_through(proxy, "origin.test", origin.port(), &self.client_tls()).await;
        let mut client = client.expect("the policy allows the origin");
        let fetched = client.get(&format!("https://origin.test:{}/zen", origin.port())).await;
        assert_eq!(fetched.expect("the origin answers").status, 200);
    }
}

/// Sends bytes, ends that direction, and reads to the end, which must come.
pub(crate) async fn send_and_end(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) -> RawReply {
    // A peer that refuses early may close before it has read everything; what it said still counts.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let reply = read_all(stream, DEADLINE).await;
    assert!(reply.closed, "the connection stays open after {:?}", reply.text());
    reply
}

/// The status of the first response in a raw reply; `None` where there is none.
pub(crate) fn status_of(reply: &RawReply) -> Option<u16> {
    reply.text().strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

/// How long anything may take that is expected to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
