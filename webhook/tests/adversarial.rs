//! Pods as large as an API server takes them, long where their authors may choose. A decision that is quadratic in
//! something takes minutes here, one that is not, seconds; no time is asserted.

#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect fails")]

#[path = "adversarial/pods.rs"]
mod pods;

use std::fmt::Write as _;

use sandgate_webhook::mode::Mode;
use sandgate_webhook::namespace::Namespace;
use sandgate_webhook::rendering::Rendering;
use sandgate_webhook::situation::Situation;
use sandgate_webhook::{mutate, policies, validate};
use serde_json::json;

#[test]
fn pods_that_are_long_in_one_thing_get_their_decision() {
    let (config, namespace) = (pods::config(), Namespace { name: "team".to_owned(), ..Namespace::default() });
    let rendering = Rendering::new(&config, &["10.96.0.10:53".parse().unwrap()]);
    let accepted = pods::accepted(&rendering);
    let situation = Situation {
        mode: Mode::Required,
        namespace: &namespace,
        config: &config,
        rendering: &rendering,
        accepted: &accepted,
    };
    let mut injected = json!({"metadata": {}, "spec": {"containers": [{"name": "workload", "image": "i"}]}});
    let decision = mutate::create(&situation, &injected).unwrap();
    json_patch::patch(&mut injected, &decision.patch).unwrap();
    let mut decided = String::new();
    for (name, request) in pods::reviews(&rendering, &injected) {
        let mutated = mutate::mutate(&situation, &request).reason.code();
        let validated = validate::validate(&situation, &request).reason.code();
        writeln!(decided, "{name}: {mutated}, {validated}").unwrap();
    }
    for (name, request) in pods::policies() {
        let reason = policies::validate_policy(&namespace, &config, &request).reason.code();
        writeln!(decided, "{name}: {reason}").unwrap();
    }
    assert_eq!(decided, include_str!("adversarial/decisions.txt"));
}
