//! A real API server for tests: etcd and kube-apiserver on loopback, with a CA, users and RBAC, without a node. Neither
//! process outlives the test that started it, not even one that is killed.
//!
//! There are no controllers: nobody makes the ServiceAccount `default`, without which no pod is admitted, deletes what
//! is in a namespace, or counts for a ResourceQuota. Webhooks may be named by `url`, or by a Service of type
//! `ExternalName` with `externalName: localhost`: then `clientConfig.service.port` is a port of loopback, and the
//! certificate is still verified for the Service's name.

mod kubectl;
mod runner;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

pub use self::kubectl::{Kubectl, kustomize};
use self::runner::Runner;
use crate::pki::{Issued, TestCa};

/// How long it may take to be ready: it takes 4 s on an idle machine, and tests share theirs.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(100);
/// How often another port is tried where somebody took the chosen one first.
const ATTEMPTS: usize = 3;
/// What every client certificate of an administrator has.
const ADMIN_GROUP: &str = "system:masters";
/// A running API server with an empty etcd. Dropping it stops both, waits until they are gone, and removes their files.
pub struct ApiServer {
    directory: PathBuf,
    port: u16,
    ca: TestCa,
    runner: Mutex<Runner>,
    kubeconfigs: AtomicUsize,
}

impl ApiServer {
    /// Starts one, and waits until it is ready: default admission plugins (among them PodSecurity, ServiceAccount,
    /// ResourceQuota, the two webhook plugins and ValidatingAdmissionPolicy), RBAC.
    ///
    /// # Panics
    /// Where the programs are missing, or it is not ready in two minutes; then with the logs of both.
    #[must_use]
    pub fn start() -> Self {
        for attempt in 1.. {
            let server = Self::spawn();
            match server.wait_ready() {
                Ok(()) => return server,
                Err(problem) => {
                    let logs = server.logs();
                    assert!(
                        attempt < ATTEMPTS && logs.contains("address already in use"),
                        "the API server is not ready: {problem}\n{logs}"
                    );
                }
            }
        }
        unreachable!("the last attempt returned or panicked")
    }

    /// One for all tests of a test binary: started by the first that asks, and stopped when the process ends.
    ///
    /// # Panics
    /// As [`ApiServer::start`].
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<ApiServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The CA that signed the server's and its users' certificates, as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.ca.root_pem()
    }

    /// A client certificate of `user` in `groups`; `system:authenticated` is added by the API server.
    ///
    /// # Panics
    /// With more than two groups.
    #[must_use]
    pub fn client_certificate(&self, user: &str, groups: &[&str]) -> Issued {
        self.ca.issue_client(user, groups)
    }

    /// A kubeconfig of `user` in `groups`, by a client certificate. It stays there as long as the API server. The name
    /// of a ServiceAccount, `system:serviceaccount:NAMESPACE:NAME`, does too.
    ///
    /// # Panics
    /// With more than two groups.
    #[must_use]
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> PathBuf {
        let certificate = self.client_certificate(user, groups);
        let encode = |text: &str| STANDARD.encode(text);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "clusters": [{"name": "test", "cluster": {
                "server": self.url(), "certificate-authority-data": encode(&self.ca_pem())}}],
            "users": [{"name": user, "user": {
                "client-certificate-data": encode(&certificate.chain_pem()),
                "client-key-data": encode(certificate.key_pem())}}],
        });
        let number = self.kubeconfigs.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("kubeconfig-{number}.json"));
        write(&path, &config.to_string());
        path
    }

    /// A kubeconfig of one who may do everything.
    #[must_use]
    pub fn admin(&self) -> PathBuf {
        self.kubeconfig("admin", &[ADMIN_GROUP])
    }

    /// kubectl as `user` in `groups`.
    ///
    /// # Panics
    /// With more than two groups.
    #[must_use]
    pub fn user(&self, user: &str, groups: &[&str]) -> Kubectl {
        // A cache of its own: the one in the home directory goes by port, and another API server had that before.
        Kubectl { kubeconfig: self.kubeconfig(user, groups), cache: self.directory.join("cache") }
    }

    /// Ends kube-apiserver and leaves etcd alone: an outage. What clients have open breaks.
    pub fn stop_api_server(&self) {
        self.runner().command("stop");
    }

    /// Ends the outage: returns when kube-apiserver is ready again, on the same port.
    ///
    /// # Panics
    /// As [`ApiServer::start`].
    pub fn start_api_server(&self) {
        self.runner().command("start");
        if let Err(problem) = self.wait_ready() {
            panic!("the API server is not ready again: {problem}\n{}", self.logs());
        }
    }

    /// The process ids of etcd and, unless it is stopped, kube-apiserver.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.runner().processes().to_vec()
    }

    /// Where keys, kubeconfigs, data and logs are, until it is dropped.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What both processes logged so far: much, and for people.
    #[must_use]
    pub fn logs(&self) -> String {
        let log = |name: &str| {
            let text = fs::read_to_string(self.directory.join(name)).unwrap_or_else(|error| error.to_string());
            format!("--- {name}\n{text}")
        };
        [log("etcd.log"), log("kube-apiserver.log")].concat()
    }

    fn spawn() -> Self {
        let programs = programs();
        // The shell removes it, because only that is still there when this process is killed.
        let directory = tempfile::Builder::new().prefix("sandgate-api-server-").tempdir();
        let directory = directory.expect("the system has a directory for temporary files").keep();
        let ca = TestCa::named("Sandgate Test Kubernetes");
        write_keys(&directory, &ca);
        let port = free_port();
        let runner = Mutex::new(Runner::start(&directory, &programs, port));
        Self { directory, port, ca, runner, kubeconfigs: AtomicUsize::new(0) }
    }

    fn runner(&self) -> std::sync::MutexGuard<'_, Runner> {
        self.runner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Asks until `/readyz` says 200; gives up after the deadline, or when one of the processes is gone.
    fn wait_ready(&self) -> Result<(), String> {
        let client = self.readiness_client();
        let processes = self.processes();
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let problem = match self.get_readyz(&client) {
                Ok(response) if response.starts_with("HTTP/1.1 200") => return Ok(()),
                Ok(response) => response,
                Err(error) => error.to_string(),
            };
            if processes.iter().any(|id| has_ended(*id)) {
                return Err(format!("a process ended: {problem}"));
            }
            if Instant::now() > deadline {
                return Err(format!("after {START_DEADLINE:?}: {problem}"));
            }
            thread::park_timeout(POLL);
        }
    }

    fn readiness_client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.root().clone()).expect("the root of the test CA is a certificate");
        let admin = self.client_certificate("admin", &[ADMIN_GROUP]);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("the provider has the default versions").with_root_certificates(roots);
        Arc::new(config.with_client_auth_cert(admin.chain, admin.key).expect("the key is the certificate's"))
    }

    fn get_readyz(&self, client: &Arc<ClientConfig>) -> io::Result<String> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(START_DEADLINE))?;
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let connection = ClientConnection::new(Arc::clone(client), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        stream.write_all(b"GET /readyz?verbose HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response)?;
        Ok(String::from_utf8_lossy(&response).into_owned())
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.runner().end();
    }
}

/// kubectl of the API server's version.
///
/// # Panics
/// Where it was not built.
#[must_use]
pub fn kubectl() -> PathBuf {
    programs().join("kubectl")
}

/// The directory with etcd, kube-apiserver and kubectl.
fn programs() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kubernetes/bin");
    for program in ["etcd", "kube-apiserver", "kubectl"] {
        let path = directory.join(program);
        assert!(path.exists(), "there is no {}: run make api-server", path.display());
    }
    directory.canonicalize().expect("it has just been found")
}

fn write_keys(directory: &Path, ca: &TestCa) {
    let write = |name: &str, text: &str| write(&directory.join(name), text);
    let server = ca.issue(&["127.0.0.1", "localhost", "kubernetes.default.svc"]);
    write("ca.crt", &ca.root_pem());
    write("server.crt", &server.chain_pem());
    write("server.key", server.key_pem());
    let key = rcgen::KeyPair::generate().expect("the system has randomness");
    write("service-accounts.key", &key.serialize_pem());
    write("service-accounts.pub", &key.public_key_pem());
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// A port that nobody has now; somebody may take it before it is used.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a listener has an address").port()
}

/// Whether a process is gone, or waits only for its parent to notice.
#[must_use]
pub fn has_ended(id: u32) -> bool {
    fs::read_link(format!("/proc/{id}/exe")).is_err()
}
