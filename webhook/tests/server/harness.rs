//! A webhook in this process, over real TLS on loopback: the real endpoints on a fixed set of namespaces.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use hyper::body::Incoming;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use sandgate_service::open_files;
use sandgate_testkit::client::{Client, ClientTls, Fetched, bytes_body};
use sandgate_testkit::pki::TestCa;
use sandgate_webhook::config::{Config, Server};
use sandgate_webhook::endpoints::{self, InForce, Reviews};
use sandgate_webhook::metrics::Metrics;
use sandgate_webhook::namespace::Namespace;
use sandgate_webhook::namespaces::Namespaces;
use sandgate_webhook::rendering::Rendering;
use sandgate_webhook::renderings::Renderings;
use sandgate_webhook::server::{self, Bounds, Running};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What the certificate is for.
pub(crate) const NAME: &str = "sandgate-webhook.sandgate-system.svc";
/// How long anything may take that has to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Webhook {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) running: Running,
    ca: TestCa,
}

/// A webhook with this configuration, which knows namespace `team`.
pub(crate) fn start(config: Config) -> Webhook {
    open_files::raise_limit().unwrap();
    let descriptors = open_files::limit();
    let bounds = Bounds::new(&config.server, descriptors);
    start_within(config, bounds)
}

/// The same with these bounds of connections.
pub(crate) fn start_within(config: Config, bounds: Bounds) -> Webhook {
    let metrics = Arc::new(Metrics::new());
    let rendering = Rendering::new(&config, &["10.96.0.10:53".parse().unwrap()]);
    let in_force = InForce { hash: config.hash(), config, rendering };
    let namespaces = Namespaces::fixed(vec![Namespace { name: "team".to_owned(), ..Namespace::default() }]);
    let in_force = Arc::new(ArcSwap::from_pointee(in_force));
    let reviews = Reviews::new(in_force, namespaces, Renderings::fixed(Vec::new()), Arc::clone(&metrics));
    let ca = TestCa::new();
    let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let running =
        server::start(listener, resolver(&ca), endpoints::router(reviews), bounds, Arc::clone(&metrics)).unwrap();
    Webhook { address: running.address(), metrics, running, ca }
}

fn resolver(ca: &TestCa) -> Arc<SingleCertAndKey> {
    let issued = ca.issue(&[NAME]);
    let key = CertifiedKey::new(issued.chain, any_supported_type(&issued.key).unwrap());
    Arc::new(SingleCertAndKey::from(key))
}

impl Webhook {
    pub(crate) fn tls(&self) -> ClientTls {
        ClientTls::new(&self.ca.root_pem())
    }

    pub(crate) fn ca_pem(&self) -> String {
        self.ca.root_pem()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection that has done its handshake.
    pub(crate) async fn connect_tls(&self, alpn: &[&str]) -> TlsStream<TcpStream> {
        self.tls().alpn(alpn).handshake(NAME, self.connect().await).await.unwrap()
    }

    pub(crate) async fn http1(&self) -> Client {
        Client::http1(self.connect_tls(&["http/1.1"]).await).await.unwrap()
    }

    pub(crate) async fn http2(&self) -> Client {
        Client::http2(self.connect_tls(&["h2"]).await).await.unwrap()
    }

    /// One review on a connection of its own, the way an API server does it.
    pub(crate) async fn ask(&self, path: &str, review: &Value) -> Value {
        answered(&post(&mut self.http2().await, path, review.to_string()).await, review)
    }

    /// The value of a series, zero where it is not there.
    pub(crate) fn count(&self, series: &str) -> f64 {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    pub(crate) fn closed(&self, reason: &str) -> f64 {
        self.count(&format!("sandgate_webhook_connections_closed_total{{reason=\"{reason}\"}}"))
    }

    pub(crate) fn rejected(&self, reason: &str) -> f64 {
        self.count(&format!("sandgate_webhook_requests_rejected_total{{reason=\"{reason}\"}}"))
    }
}

/// A POST of JSON, as both protocols take it.
pub(crate) fn request(path: &str, body: impl Into<bytes::Bytes>) -> Request<sandgate_testkit::client::Body> {
    let builder = Request::post(format!("https://{NAME}{path}")).header("host", NAME);
    builder.header("content-type", "application/json").body(bytes_body(body)).unwrap()
}

pub(crate) async fn post(client: &mut Client, path: &str, body: impl Into<bytes::Bytes>) -> Fetched {
    let fetched = tokio::time::timeout(DEADLINE, client.fetch(request(path, body)));
    fetched.await.expect("an answer comes in time").unwrap()
}

/// The `response` of an answer to `review`.
pub(crate) fn answered(fetched: &Fetched, review: &Value) -> Value {
    assert_eq!(fetched.status, 200, "{}", fetched.text());
    let mut answer = fetched.json();
    assert_eq!((&answer["apiVersion"], &answer["kind"]), (&"admission.k8s.io/v1".into(), &"AdmissionReview".into()));
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    answer["response"].take()
}

/// What `object` becomes by the patch of an answer that lets it in.
pub(crate) fn patched(object: &Value, answer: &Value) -> Value {
    assert_eq!(answer["allowed"], true, "{answer}");
    let mut object = object.clone();
    if let Some(patch) = answer["patch"].as_str() {
        let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
    }
    object
}

/// A plain pod.
pub(crate) fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "plain", "namespace": "team"},
        "spec": {"containers": [{"name": "workload", "image": "workload:1"}]},
    })
}

/// The review of a pod's creation.
pub(crate) fn review(object: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "name": "plain", "namespace": "team", "operation": "CREATE", "dryRun": false,
            "object": object, "oldObject": null, "userInfo": {"username": "someone"},
        },
    })
}

pub(crate) fn config(change: impl FnOnce(&mut Server)) -> Config {
    let mut config = Config::default();
    change(&mut config.server);
    config
}

pub(crate) async fn sent(client: &mut Client, path: &str, body: impl Into<bytes::Bytes>) -> Response<Incoming> {
    tokio::time::timeout(DEADLINE, client.send(request(path, body))).await.expect("a head comes in time").unwrap()
}
