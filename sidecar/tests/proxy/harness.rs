//! Starts the program as an operator would, beside an origin of the testkit.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sandgate_testkit::client::{
    Client, ClientTls, Fetched, RawReply, eventually, http_get, https_through, read_all, tunnel,
};
use sandgate_testkit::origin::{Origin, Protocols};
use sandgate_testkit::pki::TestCa;
use sandgate_testkit::sidecar::Sidecar;
use serde_json::Value;
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

/// How long something may take that a test waits for: generous, because tests share their machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

impl Setup {
    /// Starts the program in a directory that was prepared, with a policy file that may be missing or broken.
    pub(crate) async fn start_in(dir: TempDir, arguments: &[&str]) -> Self {
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (policy, trust) = (path("policy.yaml"), path("trust"));
        std::fs::create_dir_all(&trust).expect("the trust directory");
        let mut all = vec!["--no-env", "--policy", &policy, "--policy-poll", "50ms", "--trust-dir", &trust];
        all.extend(arguments);
        let sidecar = Sidecar::start(Path::new(PROGRAM), &all, &[]).await;
        Self { sidecar, dir }
    }

    /// Writes the policy file as it is, whole.
    pub(crate) fn set_policy_text(&self, text: &str) {
        let aside = self.dir.path().join("policy.yaml.new");
        std::fs::write(&aside, text).expect("the policy is written");
        std::fs::rename(aside, self.dir.path().join("policy.yaml")).expect("the policy is put in place");
    }

    /// Puts another policy in place and waits until it is in force.
    pub(crate) async fn enforce(&self, destinations: &str) {
        let before = self.times_in_force();
        self.set_policy(destinations);
        eventually(DEADLINE, || self.times_in_force() > before).await;
    }

    fn times_in_force(&self) -> usize {
        self.sidecar.stderr().matches("another policy is in force").count()
    }

    /// A client over HTTP/1.1 in a tunnel to `origin.test`.
    pub(crate) async fn client(&self, origin: &Origin) -> Client {
        https_through(self.sidecar.proxy(), "origin.test", origin.port(), &self.client_tls()).await.expect("a tunnel")
    }

    /// The same over HTTP/2.
    pub(crate) async fn http2_client(&self, origin: &Origin) -> Client {
        let tls = self.client_tls().alpn(&["h2"]);
        https_through(self.sidecar.proxy(), "origin.test", origin.port(), &tls).await.expect("a tunnel")
    }

    /// TLS in a tunnel to `origin.test`, to write what no client would.
    pub(crate) async fn tls_stream(&self, origin: &Origin) -> TlsStream<TcpStream> {
        let stream = tunnel(self.sidecar.proxy(), &format!("origin.test:{}", origin.port())).await.expect("a tunnel");
        self.client_tls().handshake("origin.test", stream).await.expect("a handshake")
    }

    /// The CAs in the trust files.
    pub(crate) fn trusted(&self) -> Vec<CertificateDer<'static>> {
        let text = std::fs::read(self.dir.path().join("trust/ca.crt")).expect("the trust files are there");
        CertificateDer::pem_slice_iter(&text).map(|certificate| certificate.expect("PEM")).collect()
    }

    /// The status and the report of `/readyz`.
    pub(crate) async fn readyz(&self) -> (u16, Value) {
        let fetched = http_get(self.sidecar.admin(), "/readyz").await.expect("the health port answers");
        (fetched.status.as_u16(), fetched.json())
    }

    /// A series of `/metrics`, with its labels as they stand there.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = http_get(self.sidecar.admin(), "/metrics").await.expect("the health port answers").text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
        line.map(|value| value.parse().expect("a number"))
    }

    /// Waits until a series is as `expected` says.
    pub(crate) async fn wait_for_metric(&self, series: &str, expected: impl Fn(f64) -> bool) {
        until(series, async || self.metric(series).await.is_some_and(&expected)).await;
    }
}

/// Waits until `condition`, which has to ask somebody, holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let held = async {
        while !condition().await {
            ticks.tick().await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, held).await.is_ok(), "{what} was not as expected within {DEADLINE:?}");
}

/// `https://origin.test:PORT/path`.
pub(crate) fn url(origin: &Origin, path: &str) -> String {
    format!("https://origin.test:{}{path}", origin.port())
}

/// The code of a refusal.
pub(crate) fn code(fetched: &Fetched) -> String {
    fetched.json()["error"].as_str().unwrap_or_default().to_owned()
}

/// An origin for `origin.test` at its defaults.
pub(crate) async fn start_origin() -> Origin {
    Origin::builder().names(&["origin.test"]).start().await
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
