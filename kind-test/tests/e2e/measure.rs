//! What the sidecar costs. Runs only where it is asked for: `make e2e TEST=measure`. docs/kind-test.md has the figures.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sandgate_kind_test::api::{self, RUNTIME};
use sandgate_kind_test::objects::{labelled, pod, pod_running};
use sandgate_kind_test::report::say;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::Space;
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::{eventually, throughout};

pub(crate) const TESTS: &[Test] = tests!(Measurement:
    the_time_that_the_sidecar_adds_to_the_start_of_a_pod,
    memory_and_processor_time_of_an_idle_sidecar,
);

/// How many pods of each kind.
const PODS: usize = 20;
/// How long a sidecar is left alone.
const IDLE: Duration = Duration::from_secs(60);

fn the_time_that_the_sidecar_adds_to_the_start_of_a_pod(stage: &Stage) {
    let space = stage.namespace("enabled");
    let (mut with, mut without, mut between) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..PODS {
        let name = format!("with-{number}");
        with.push(start_of(&space, &name, "true"));
        between.push(between_the_containers(&space, &name));
        without.push(start_of(&space, &format!("without-{number}"), "false"));
    }
    let request = "from the request that creates a pod to its workload's first line";
    say(&format!("{request}, with the sidecar: {}", quantiles(&mut with)));
    say(&format!("{request}, without: {}", quantiles(&mut without)));
    say(&format!("from the sidecar's first line to the workload's: {}", quantiles(&mut between)));
}

/// Seconds from before the creation to the time that the workload prints. Both are clocks of the machine with the node.
fn start_of(space: &Space, name: &str, inject: &str) -> f64 {
    let pod = labelled(pod_running(name, "date -u +%s.%N' '%H:%M:%S.%N"), inject);
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    RUNTIME.block_on(api::create(&space.path("pods"), &pod)).unwrap();
    space.ended(name, "Succeeded");
    space.logs(name, "workload").split(' ').next().unwrap().parse::<f64>().unwrap() - begun
}

/// Seconds from the first line of the sidecar's log to the workload's.
fn between_the_containers(space: &Space, name: &str) -> f64 {
    let log = space.sidecar_logs(name);
    let sidecar = log.split("\"timestamp\":\"").nth(1).unwrap_or_else(|| panic!("{log}"));
    let time = sidecar.split(['T', 'Z']).nth(1).unwrap();
    let workload = space.logs(name, "workload");
    (second_of_the_day(workload.split(' ').nth(1).unwrap()) - second_of_the_day(time)).rem_euclid(86_400.0)
}

/// Of a time such as 21:58:55.532840.
fn second_of_the_day(time: &str) -> f64 {
    time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

fn quantiles(times: &mut [f64]) -> String {
    times.sort_by(f64::total_cmp);
    let (median, p95) = (f64::midpoint(times[PODS / 2 - 1], times[PODS / 2]), times[PODS * 95 / 100 - 1]);
    format!("median {median:.2} s, p95 {p95:.2} s of {PODS}")
}

fn memory_and_processor_time_of_an_idle_sidecar(stage: &Stage) {
    let space = stage.namespace("required");
    space.start(&pod("one"));
    let (start, _) = usage(&space);
    throughout(IDLE, "the sidecar idles", || Ok(()));
    let (end, memory) = eventually("the kubelet has looked again", || {
        let now = usage(&space);
        if now.0 > start { Ok(now) } else { Err(format!("{now:?}")) }
    });
    let (used, memory) = ((end - start) / 1e9, memory / 1024.0 / 1024.0);
    say(&format!(
        "an idle sidecar: {memory:.1} MiB working set, {used:.2} s of processor time in {} s",
        IDLE.as_secs()
    ));
}

/// Nanoseconds of processor time so far, and bytes of memory in use, of the sidecar of pod `one` as its kubelet counts them.
fn usage(space: &Space) -> (f64, f64) {
    let node = space.pod("one")["spec"]["nodeName"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
    eventually("the kubelet counts the sidecar", || {
        let summary = api::get(&path).map_err(|refusal| refusal.message)?;
        let pods = summary["pods"].as_array().cloned().unwrap_or_default();
        let pod = pods.iter().find(|pod| pod["podRef"]["namespace"] == space.name.as_str());
        let all = pod.and_then(|pod| pod["containers"].as_array()).cloned().unwrap_or_default();
        let sidecar = all.iter().find(|container| container["name"] == "auth-proxy").ok_or("not yet")?;
        let number = |at: &str| sidecar.pointer(at).and_then(serde_json::Value::as_f64).ok_or(format!("no {at}"));
        Ok((number("/cpu/usageCoreNanoSeconds")?, number("/memory/workingSetBytes")?))
    })
}
