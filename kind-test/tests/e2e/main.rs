//! Sandgate on a real Kubernetes, with kubelets and controllers. `cargo test -p sandgate-kind-test --test e2e -- NAME` runs
//! those tests whose names contain NAME, in the cluster that KUBECONFIG names.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod alone;
mod attacks;
mod debugging;
mod jobs;
mod limits;
mod manager;
mod measure;
mod modes;
mod neighbour;
mod policy;
mod refusals;
mod start;
mod traffic;

use std::process::ExitCode;

use sandgate_kind_test::report::say;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::{Space, status_of};
use sandgate_kind_test::wait::eventually;
use sandgate_kind_test::{runner, sandgate};
use serde_json::Value;

fn main() -> ExitCode {
    match prepared() {
        Ok(Some((tests, at_once))) => runner::run(&tests, at_once),
        Ok(None) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(64)
        }
    }
}

/// The tests that were asked for and how many run at a time, with Sandgate ready for them; none where they are only to be
/// listed.
fn prepared() -> Result<Option<(Vec<Test>, usize)>, String> {
    let (options, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    if options.iter().any(|option| option != "--list") || words.len() > 1 {
        return Err("usage: e2e [--list] [WORDS OF A TEST'S NAME]".to_owned());
    }
    // Words are part of names: `a refused host` finds `a_refused_host_...`.
    let chosen = runner::choose(&all(), &words.concat().trim().replace(' ', "_"))?;
    if !options.is_empty() {
        chosen.iter().for_each(|test| say(test.name));
        return Ok(None);
    }
    let at_once = runner::at_once()?;
    sandgate::look_for()?;
    sandgate::wait_until_ready();
    sandgate::provide_runtime_class();
    Ok(Some((chosen, at_once)))
}

fn all() -> Vec<&'static [Test]> {
    // Those that wait longest first: beside all others they cost no time.
    let mut tests = vec![policy::TESTS];
    tests.extend(attacks::TESTS);
    tests.extend([
        manager::TESTS,
        traffic::TESTS,
        start::TESTS,
        jobs::TESTS,
        modes::TESTS,
        refusals::TESTS,
        limits::TESTS,
        debugging::TESTS,
        neighbour::TESTS,
    ]);
    tests.extend(alone::TESTS);
    tests.push(measure::TESTS);
    tests
}

/// A spec that the API server made, without what only it may write.
pub(crate) fn cleaned(mut spec: Value) -> Value {
    let volumes = spec["volumes"].as_array_mut().unwrap();
    volumes.retain(|volume| !volume["name"].as_str().unwrap().starts_with("kube-api-access"));
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().unwrap() {
            let mounts = container["volumeMounts"].as_array_mut().unwrap();
            mounts.retain(|mount| !mount["name"].as_str().unwrap().starts_with("kube-api-access"));
        }
    }
    spec
}

/// Waits until the sidecar of a pod was restarted so many times, and is ready.
#[track_caller]
pub(crate) fn restarted(space: &Space, pod: &str, times: u32) {
    eventually("the sidecar was restarted", || {
        let status = status_of(&space.pod(pod), "auth-proxy");
        if status["restartCount"] == times && status["ready"] == true { Ok(()) } else { Err(status.to_string()) }
    });
}
