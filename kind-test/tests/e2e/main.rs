//! Sandgate on a real Kubernetes, with kubelets and controllers. `cargo test -p sandgate-kind-test --test e2e -- NAME` runs
//! those tests whose names contain NAME, in the cluster that KUBECONFIG names.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod manager;
mod traffic;

use std::process::ExitCode;

use sandgate_kind_test::{runner, sandgate};

fn main() -> ExitCode {
    // Words are part of names: `a refused host` finds `a_refused_host_...`.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let filter = filter.trim().replace(' ', "_");
    sandgate::wait_until_ready();
    sandgate::provide_runtime_class();
    runner::run(&[manager::TESTS, traffic::TESTS], &filter)
}
