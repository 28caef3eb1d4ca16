//! What one review costs, from its bytes to the answer's, without a server: ordinary pods, and pods as large as an API
//! server takes them. Prints a table of processor time, which other programs on the machine change little; judges nothing.
//!
//! `cargo bench -p sandgate-webhook --bench decide`, with the part of a name to see only those.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark has nobody else to tell")]

#[path = "pods/ordinary.rs"]
mod ordinary;
#[path = "../tests/adversarial/pods.rs"]
mod pods;

use std::env;
use std::hint::black_box;
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use sandgate_webhook::admission::{Answer, Request};
use sandgate_webhook::config::Config;
use sandgate_webhook::decision::Decision;
use sandgate_webhook::mode::Mode;
use sandgate_webhook::namespace::Namespace;
use sandgate_webhook::rendering::Rendering;
use sandgate_webhook::situation::Situation;
use sandgate_webhook::{mutate, policies, validate};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long one figure is measured, at most, unless a single review takes longer.
const TIME: Duration = Duration::from_millis(300);
const MODES: [Mode; 2] = [Mode::Enabled, Mode::Required];

type Decide = fn(&Situation<'_>, &Request) -> Decision;

/// What a [`Situation`] borrows.
struct Cluster {
    namespace: Namespace,
    config: Config,
    rendering: Rendering,
    accepted: Vec<Rendering>,
}

impl Cluster {
    fn new() -> Self {
        let config = pods::config();
        let rendering = Rendering::new(&config, &["10.96.0.10:53".parse().unwrap()]);
        let namespace = Namespace { name: "team".to_owned(), ..Namespace::default() };
        Self { namespace, accepted: pods::accepted(&rendering), config, rendering }
    }

    fn situation(&self, mode: Mode, all: bool) -> Situation<'_> {
        let accepted = if all { &self.accepted[..] } else { &[] };
        Situation { mode, namespace: &self.namespace, config: &self.config, rendering: &self.rendering, accepted }
    }

    fn injected(&self, pod: &Value) -> Value {
        let decision = mutate::create(&self.situation(Mode::Required, false), pod).unwrap();
        let mut pod = pod.clone();
        json_patch::patch(&mut pod, &decision.patch).unwrap();
        pod
    }
}

fn main() {
    // `cargo test --all-targets` starts benchmarks too, without the argument.
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    let part = env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    let cluster = Cluster::new();
    let plain =
        cluster.injected(&json!({"metadata": {}, "spec": {"containers": [{"name": "workload", "image": "i"}]}}));
    println!("| review | KiB | accepted renderings | mutate | validate |\n|---|---|---|---|---|");
    for (name, pod) in [("the Manager's pod", ordinary::manager()), ("20 containers", ordinary::twenty())] {
        let injected = cluster.injected(&pod);
        for (state, pod) in [("", pod), (", injected", injected)] {
            for all in [false, true] {
                cluster.measure(&part, &format!("{name}{state}"), &pods::created(pod.clone()), all);
            }
        }
    }
    for (name, request) in pods::reviews(&cluster.rendering, &plain) {
        cluster.measure(&part, name, &request, true);
    }
    for (name, request) in pods::policies().into_iter().filter(|(name, _)| name.contains(&part)) {
        let (situation, body) = (cluster.situation(Mode::Unlabelled, false), bytes(&request));
        let decide: Decide =
            |situation, request| policies::validate_policy(situation.namespace, situation.config, request);
        println!("| {name} | {} | | | {} |", body.len() / 1024, shown(cost(|| answer(&situation, decide, &body))));
    }
}

impl Cluster {
    /// Both calls in the slower of the two modes.
    fn measure(&self, part: &str, name: &str, request: &Request, all: bool) {
        if !name.contains(part) {
            return;
        }
        let body = bytes(request);
        let slower = |decide: Decide| {
            MODES.iter().map(|mode| cost(|| answer(&self.situation(*mode, all), decide, &body))).max().unwrap()
        };
        let accepted = if all { self.accepted.len() } else { 0 };
        let (mutate, validate) = (slower(mutate::mutate), slower(validate::validate));
        println!("| {name} | {} | {accepted} | {} | {} |", body.len() / 1024, shown(mutate), shown(validate));
    }
}

/// What an endpoint does between reading a body and sending one.
fn answer(situation: &Situation<'_>, decide: Decide, body: &[u8]) -> String {
    let request = match Request::read(body) {
        Ok(request) => request,
        // It holds more than any pod does; this much was read for that.
        Err(bad) => return bad.message,
    };
    let decision = decide(situation, &request);
    Answer::new(&request.uid, &decision, Some(situation.mode.name()), "0123456789ab").to_json().to_string()
}

fn bytes(request: &Request) -> Vec<u8> {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": request.uid, "kind": {"group": "", "version": "v1", "kind": request.kind.trim_start_matches("v1/")},
            "resource": {"group": "", "version": "v1", "resource": request.resource}, "subResource": request.sub_resource,
            "namespace": request.namespace, "operation": request.operation,
            "object": request.object, "oldObject": request.old_object,
        },
    })
    .to_string()
    .into_bytes()
}

/// The processor time of one run: the mean of many.
fn cost(mut run: impl FnMut() -> String) -> Duration {
    black_box(run());
    let (began, before, mut runs) = (Instant::now(), busy(), 0);
    while runs == 0 || began.elapsed() < TIME {
        black_box(run());
        runs += 1;
    }
    (busy() - before) / runs
}

/// What this thread has run until now. The kernel keeps it in nanoseconds, and writes it up a few hundred times a second.
fn busy() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
}

fn shown(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..10_000 => format!("{micros} µs"),
        micros => format!("{} ms", micros / 1000),
    }
}
