//! How fast reviews are answered: a server on one thread in a process of its own, and a client over TLS on connections
//! that stay open, as an API server has them. Prints a table; judges nothing.
//!
//! `cargo bench -p sandgate-webhook --bench review`, on a machine that does nothing else, takes about half a minute.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark has nobody else to tell")]

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::Request;
use mimalloc::MiMalloc;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use sandgate_service::open_files;
use sandgate_testkit::client::{Client, ClientTls, bytes_body};
use sandgate_testkit::pki::TestCa;
use sandgate_webhook::certificate::Resolver;
use sandgate_webhook::config::Config;
use sandgate_webhook::endpoints::{self, InForce, Reviews};
use sandgate_webhook::metrics::Metrics;
use sandgate_webhook::namespace::Namespace;
use sandgate_webhook::namespaces::Namespaces;
use sandgate_webhook::rendering::Rendering;
use sandgate_webhook::renderings::Renderings;
use sandgate_webhook::server::{self, Bounds};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::{MissedTickBehavior, interval};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Tells the program that it is the server.
const SERVER: &str = "SANDGATE_BENCH_SERVER";
const NAME: &str = "sandgate-webhook.sandgate-system.svc";
const CONNECTIONS: usize = 4;
/// Requests at once on each connection, at saturation.
const STREAMS: usize = 8;
const WARM_UP: Duration = Duration::from_secs(1);
const TIME: Duration = Duration::from_secs(5);
/// Requests a second where latency is measured.
const RATE: u32 = 1000;
const MANAGER_POD: &str = include_str!("../tests/golden/manager-pod/pod.yaml");

fn main() {
    if env::var_os(SERVER).is_some() {
        return Builder::new_current_thread().enable_all().build().unwrap().block_on(serve());
    }
    // `cargo test --all-targets` starts benchmarks too, without the argument.
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    println!("| pod | review | requests/s | p50 at {RATE}/s | p99 at {RATE}/s | p99.9 | turned away | CPU | memory |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let manager: Value = serde_saphyr::from_str(MANAGER_POD).unwrap();
    for (name, pod) in [("the Manager's", manager), ("20 containers", twenty())] {
        runtime.block_on(measure(name, &pod));
    }
}

/// A pod of twenty containers with environment, mounts and probes of their own.
fn twenty() -> Value {
    let containers: Vec<Value> = (0..20)
        .map(|number| {
            let env: Vec<Value> =
                (0..20).map(|variable| json!({"name": format!("VARIABLE_{variable}"), "value": "a value"})).collect();
            json!({"name": format!("container-{number}"), "image": "registry.example/team/image:1", "env": env,
                "ports": [{"containerPort": 9000 + number, "protocol": "TCP"}],
                "readinessProbe": {"httpGet": {"path": "/", "port": 9000 + number}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}]})
        })
        .collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "twenty"},
        "spec": {"containers": containers, "volumes": [{"name": "data", "emptyDir": {}}]}})
}

async fn serve() {
    let config = Config::default();
    open_files::raise_limit().unwrap();
    let bounds = Bounds::new(&config.server, open_files::limit());
    let rendering = Rendering::new(&config, &["10.96.0.10:53".parse().unwrap()]);
    let in_force = Arc::new(ArcSwap::from_pointee(InForce { hash: config.hash(), config, rendering }));
    let namespaces = Namespaces::fixed(vec![Namespace { name: "team".to_owned(), ..Namespace::default() }]);
    let metrics = Arc::new(Metrics::new());
    let reviews = Reviews::new(in_force, namespaces, Renderings::fixed(Vec::new()), Arc::clone(&metrics));
    let ca = TestCa::new();
    let issued = ca.issue(&[NAME]);
    let key = CertifiedKey::new(issued.chain, any_supported_type(&issued.key).unwrap());
    let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let running = server::start(listener, Resolver::fixed(key), endpoints::router(reviews), bounds, metrics).unwrap();
    println!("{}\n{}\n", running.address(), ca.root_pem().trim());
    // The client's end is ours.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

struct Server {
    child: Child,
    address: SocketAddr,
    roots: String,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.env(SERVER, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
        let address = lines.next().unwrap().parse().unwrap();
        let roots: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        Self { child, address, roots: roots.join("\n") }
    }

    async fn connect(&self) -> Client {
        let tls = ClientTls::new(&self.roots).alpn(&["h2"]);
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client::http2(tls.handshake(NAME, stream).await.unwrap()).await.unwrap()
    }

    /// Resident memory now, in MiB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() / 1024.0
    }

    /// Processor time until now, in ticks of 10 ms.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn clone(client: &Client) -> Client {
    match client {
        Client::Http2(sender) => Client::Http2(sender.clone()),
        _ => unreachable!("ALPN offers h2 alone"),
    }
}

/// Whether it was answered; 429 where the server has too much to do.
async fn ask(client: &mut Client, body: &bytes::Bytes) -> bool {
    let request = Request::post(format!("https://{NAME}/mutate/enabled")).header("content-type", "application/json");
    let answer = client.fetch(request.body(bytes_body(body.clone())).unwrap()).await.unwrap();
    let answered = answer.status == 200 && answer.text().contains("\"allowed\":true");
    assert!(answered || answer.status == 429, "{}", answer.text());
    answered
}

async fn measure(name: &str, pod: &Value) {
    let server = Server::start();
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "team", "operation": "CREATE", "object": pod, "oldObject": null,
        },
    });
    let body = bytes::Bytes::from(review.to_string());
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(server.connect().await);
    }
    saturate(&clients, &body, WARM_UP).await;
    let each_second = saturate(&clients, &body, TIME).await;
    let (before, began) = (server.ticks(), Instant::now());
    let (away, mut latencies) = at_a_rate(&clients, &body).await;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred ticks")]
    let load = (server.ticks() - before) as f64 / began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let quantile = |thousandths: usize| latencies[(latencies.len() - 1) * thousandths / 1000].as_micros();
    println!(
        "| {name} | {:.1} KiB | {each_second:.0} | {} µs | {} µs | {} µs | {away} | {load:.0} % | {:.0} MiB |",
        body.len() as f64 / 1024.0,
        quantile(500),
        quantile(990),
        quantile(999),
        server.memory(),
    );
}

/// As many as the server answers; how many a second.
async fn saturate(clients: &[Client], body: &bytes::Bytes, time: Duration) -> f64 {
    let began = Instant::now();
    let asking: Vec<_> = clients
        .iter()
        .flat_map(|client| (0..STREAMS).map(|_| clone(client)))
        .map(|mut client| {
            let body = body.clone();
            tokio::spawn(async move {
                let mut answered = 0_u32;
                while began.elapsed() < time {
                    answered += u32::from(ask(&mut client, &body).await);
                }
                answered
            })
        })
        .collect();
    let mut answered = 0.0;
    for asked in asking {
        answered += f64::from(asked.await.unwrap());
    }
    answered / began.elapsed().as_secs_f64()
}

/// [`RATE`] a second, whether or not the ones before are answered: how many were turned away, and what each other took.
async fn at_a_rate(clients: &[Client], body: &bytes::Bytes) -> (usize, Vec<Duration>) {
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (began, mut asking) = (Instant::now(), Vec::new());
    for client in clients.iter().cycle() {
        if began.elapsed() >= TIME {
            break;
        }
        ticks.tick().await;
        let (mut client, body) = (clone(client), body.clone());
        asking.push(tokio::spawn(async move {
            let sent = Instant::now();
            ask(&mut client, &body).await.then(|| sent.elapsed())
        }));
    }
    let mut latencies = Vec::new();
    for asked in asking {
        latencies.push(asked.await.unwrap());
    }
    let all = latencies.len();
    let answered: Vec<Duration> = latencies.into_iter().flatten().collect();
    (all - answered.len(), answered)
}
