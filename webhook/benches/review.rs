//! How fast reviews are answered: a server on one thread and one core in a process of its own, and a client on another
//! core, over TLS on connections that stay open, as an API server has them. Prints a table; judges nothing.
//!
//! `cargo bench -p sandgate-webhook --bench review`, on a machine that does nothing else, takes about four minutes. It needs
//! two cores and taskset (util-linux).
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark has nobody else to tell")]

#[path = "pods/ordinary.rs"]
mod ordinary;

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
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
use sandgate_webhook::mode::Mode;
use sandgate_webhook::mutate;
use sandgate_webhook::namespace::Namespace;
use sandgate_webhook::namespaces::Namespaces;
use sandgate_webhook::rendering::Rendering;
use sandgate_webhook::renderings::Renderings;
use sandgate_webhook::server::{self, Bounds};
use sandgate_webhook::situation::Situation;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Tells the program that it is the server.
const SERVER: &str = "SANDGATE_BENCH_SERVER";
const NAME: &str = "sandgate-webhook.sandgate-system.svc";
const CONNECTIONS: usize = 4;
/// Requests at once on each connection, at saturation.
const STREAMS: usize = 8;
const WARM_UP: Duration = Duration::from_secs(1);
/// Every figure is the median of so many runs, with the least and the most beside it.
const RUNS: usize = 5;
const TIME: Duration = Duration::from_millis(1500);
/// As long at a rate, so that a hundredth is more requests than come while a virtual machine is not run for a moment.
const TIME_AT_RATE: Duration = Duration::from_secs(5);
/// The kernel's, in which it tells processor time (`getconf CLK_TCK`).
const TICKS_A_SECOND: f64 = 100.0;
/// The processors of the server and of the client.
const CORES: [&str; 2] = ["0", "1"];
/// Requests a second where latency is measured.
const RATE: u32 = 1000;

fn main() {
    if env::var_os(SERVER).is_some() {
        return Builder::new_current_thread().enable_all().build().unwrap().block_on(serve());
    }
    // `cargo test --all-targets` starts benchmarks too, without the argument.
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    pin();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    println!(
        "| review | KiB | reviews/s, one core busy | CPU of one | p50 at {RATE}/s | p95 at {RATE}/s | p99 at {RATE}/s | turned away | memory |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    runtime.block_on(measure("nothing, for comparison", NOTHING, Bytes::new()));
    for (name, pod) in [("the Manager's pod", ordinary::manager()), ("20 containers", ordinary::twenty())] {
        let done = injected(&pod);
        for (call, state, pod) in
            [("/mutate", "", &pod), ("/mutate", ", injected", &done), ("/validate", ", injected", &done)]
        {
            runtime.block_on(measure(&format!("{call}, {name}{state}"), &format!("{call}/enabled"), review(pod)));
        }
    }
}

/// Keeps the client off the server's processor.
fn pin() {
    let pid = std::process::id().to_string();
    let mut taskset = Command::new("taskset");
    taskset.args(["--all-tasks", "--cpu-list", "--pid", CORES[1], &pid]).stdout(Stdio::null());
    assert!(taskset.status().unwrap().success());
}

fn rendering(config: &Config) -> Rendering {
    Rendering::new(config, &["10.96.0.10:53".parse().unwrap()])
}

/// The pod as the server leaves it.
fn injected(pod: &Value) -> Value {
    let (config, namespace) = (Config::default(), Namespace { name: "team".to_owned(), ..Namespace::default() });
    let (mode, rendering) = (Mode::Enabled, &rendering(&config));
    let situation = Situation { mode, namespace: &namespace, config: &config, rendering, accepted: &[] };
    let mut pod = pod.clone();
    let decision = mutate::create(&situation, &pod).unwrap();
    json_patch::patch(&mut pod, &decision.patch).unwrap();
    pod
}

async fn serve() {
    let config = Config::default();
    open_files::raise_limit().unwrap();
    let bounds = Bounds::new(&config.server, open_files::limit());
    let rendering = rendering(&config);
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
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", CORES[0]]).arg(env::current_exe().unwrap());
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

    /// Processor time until now, in seconds.
    fn busy(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS_A_SECOND
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

/// A path that there is not, whose answer is no work: what is measured of it is the way there and back, and the machine.
const NOTHING: &str = "/nothing";

/// Whether it was answered; 429 where the server has too much to do.
async fn ask(client: &mut Client, path: &str, body: &Bytes) -> bool {
    let request = Request::post(format!("https://{NAME}{path}")).header("content-type", "application/json");
    let answer = client.fetch(request.body(bytes_body(body.clone())).unwrap()).await.unwrap();
    let answered = match path {
        NOTHING => answer.status == 404,
        _ => answer.status == 200 && answer.text().contains("\"allowed\":true"),
    };
    assert!(answered || answer.status == 429, "{}", answer.text());
    answered
}

/// The bytes of a review of `pod`.
fn review(pod: &Value) -> Bytes {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "team", "operation": "CREATE", "object": pod, "oldObject": null,
        },
    });
    Bytes::from(review.to_string())
}

async fn measure(name: &str, path: &str, body: Bytes) {
    let server = Server::start();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(server.connect().await);
    }
    saturate(&clients, path, &body, WARM_UP).await;
    let mut runs: [Vec<f64>; 5] = Default::default();
    let mut away = 0;
    for _ in 0..RUNS {
        let (busy, began) = (server.busy(), Instant::now());
        let answered = saturate(&clients, path, &body, TIME).await;
        runs[0].push(answered / began.elapsed().as_secs_f64());
        runs[1].push((server.busy() - busy) * 1e6 / answered);
        let (turned, mut latencies) = at_a_rate(&clients, path, &body).await;
        away += turned;
        latencies.sort_unstable();
        let quantile = |hundredths: usize| latencies[(latencies.len() - 1) * hundredths / 100].as_secs_f64() * 1e6;
        runs[2].push(quantile(50));
        runs[3].push(quantile(95));
        runs[4].push(quantile(99));
    }
    let [each_second, cpu, p50, p95, p99] = runs.map(median);
    println!(
        "| {name} | {:.1} | {each_second} | {cpu} µs | {p50} µs | {p95} µs | {p99} µs | {away} | {:.0} MiB |",
        body.len() as f64 / 1024.0,
        server.memory(),
    );
}

/// `median (least–most)`.
fn median(mut figures: Vec<f64>) -> String {
    figures.sort_unstable_by(f64::total_cmp);
    format!("{:.0} ({:.0}–{:.0})", figures[figures.len() / 2], figures[0], figures[figures.len() - 1])
}

/// As many as the server answers in this time.
async fn saturate(clients: &[Client], path: &str, body: &Bytes, time: Duration) -> f64 {
    let began = Instant::now();
    let asking: Vec<_> = clients
        .iter()
        .flat_map(|client| (0..STREAMS).map(|_| clone(client)))
        .map(|mut client| {
            let (path, body) = (path.to_owned(), body.clone());
            tokio::spawn(async move {
                let mut answered = 0_u32;
                while began.elapsed() < time {
                    answered += u32::from(ask(&mut client, &path, &body).await);
                }
                answered
            })
        })
        .collect();
    let mut answered = 0.0;
    for asked in asking {
        answered += f64::from(asked.await.unwrap());
    }
    answered
}

/// [`RATE`] a second, whether or not the ones before are answered: how many were turned away, and what each other took.
async fn at_a_rate(clients: &[Client], path: &str, body: &Bytes) -> (usize, Vec<Duration>) {
    let (mut asking, mut due) = (Vec::new(), pace());
    for client in clients.iter().cycle() {
        let Some(sent) = due.recv().await else { break };
        let (mut client, path, body) = (clone(client), path.to_owned(), body.clone());
        asking.push(tokio::spawn(async move { ask(&mut client, &path, &body).await.then(|| sent.elapsed()) }));
    }
    let mut latencies = Vec::new();
    for asked in asking {
        latencies.push(asked.await.unwrap());
    }
    let all = latencies.len();
    let answered: Vec<Duration> = latencies.into_iter().flatten().collect();
    (all - answered.len(), answered)
}

/// The moments at which to send. The runtime's own timers have whole milliseconds: two would be sent at once, and then none.
#[allow(clippy::disallowed_methods, reason = "a time is awaited, not a condition")]
fn pace() -> UnboundedReceiver<Instant> {
    let (sender, due) = unbounded_channel();
    std::thread::spawn(move || {
        let began = Instant::now();
        for number in 0.. {
            let at = Duration::from_secs(1) / RATE * number;
            if at >= TIME_AT_RATE {
                break;
            }
            std::thread::sleep(at.saturating_sub(began.elapsed()));
            sender.send(Instant::now()).unwrap();
        }
    });
    due
}
