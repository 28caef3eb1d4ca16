//! People at work on a pod that runs: logs, exec, ephemeral containers.

use sandgate_kind_test::kubectl::Printed;
use sandgate_kind_test::objects::{WORKLOAD_IMAGE, pod};
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::{Space, container_of, status_of};
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::eventually;

pub(crate) const TESTS: &[Test] = tests!(Shared:
    exec_and_logs_without_a_container_reach_the_workload,
    debug_with_the_restricted_profile_gets_a_container_whose_requests_pass_the_policy,
    plain_debug_is_refused_where_the_sidecar_is_required_and_works_where_it_is_not,
    a_copy_of_a_pod_by_debug_has_a_sidecar_of_its_own,
);

fn exec_and_logs_without_a_container_reach_the_workload(stage: &Stage) {
    let space = stage.namespace("required");
    let mut one = pod("one");
    one["spec"]["containers"][0]["command"] = serde_json::json!(["sh", "-c", "echo the workload speaks; exec idle"]);
    space.start(&one);
    let printed = space.kubectl("exec one -- hostname").accepted();
    assert_eq!((printed.output.as_str(), printed.errors.as_str()), ("one", ""));
    assert_eq!(space.kubectl("logs one").accepted().output, "the workload speaks");
    // The sidecar's log can be read, and has an audit line for each request.
    let _asked = space.sh("one", &format!("curl -sS https://{}/zen", Origins::shared().allowed())).accepted();
    space.kubectl("logs one -c auth-proxy").accepted().shows(&["\"path\":\"/zen\""]);
}

/// `kubectl debug` of pod `one` with a script; other options come before it.
fn debug(space: &Space, name: &str, options: &str, script: &str) -> Printed {
    let line = format!("debug pod/one --image={WORKLOAD_IMAGE} --attach=false --container={name} {options} --");
    let words: Vec<&str> =
        ["-n", &space.name].into_iter().chain(line.split_whitespace()).chain(["sh", "-c", script]).collect();
    sandgate_kind_test::kubectl::kubectl(&words, "")
}

/// What an ephemeral container printed, once it has ended.
fn printed_by(space: &Space, name: &str) -> String {
    eventually("the ephemeral container has ended", || {
        let status = status_of(&space.pod("one"), name);
        if status["state"]["terminated"].is_object() { Ok(()) } else { Err(status.to_string()) }
    });
    space.logs("one", name)
}

fn debug_with_the_restricted_profile_gets_a_container_whose_requests_pass_the_policy(stage: &Stage) {
    let space = stage.namespace("required");
    let mut one = pod("one");
    one["spec"]["securityContext"] = serde_json::json!({"runAsUser": 1000});
    space.start(&one);
    let origins = Origins::shared();
    let script = format!(
        "curl -sS https://{}/zen; curl -sS http://{}/; test -s /etc/proxy-ca/ca.crt && echo trusted",
        origins.allowed(),
        origins.elsewhere()
    );
    let _started = debug(&space, "debugger", "--profile=restricted", &script).accepted();
    let printed = printed_by(&space, "debugger");
    for part in ["Keep it logically awesome.", "host_not_allowed", "trusted"] {
        assert!(printed.contains(part), "{printed}");
    }
    let _started =
        debug(&space, "targeted", "--profile=restricted --target=workload", "cat /proc/1/cmdline").accepted();
    assert!(printed_by(&space, "targeted").contains("idle"));
}

fn plain_debug_is_refused_where_the_sidecar_is_required_and_works_where_it_is_not(stage: &Stage) {
    let required = stage.namespace("required");
    required.start(&pod("one"));
    let refused = debug(&required, "debugger", "", "true");
    refused.refused_with(&["required.inject.sandgate.dev", "\"debugger\"", "SYS_PTRACE", "--profile=restricted"]);
    let enabled = stage.namespace("enabled");
    enabled.start(&pod("one"));
    let ask = format!("curl -sS https://{}/zen", Origins::shared().allowed());
    let _started = debug(&enabled, "debugger", "", &ask).accepted();
    assert_eq!(printed_by(&enabled, "debugger"), "Keep it logically awesome.");
}

fn a_copy_of_a_pod_by_debug_has_a_sidecar_of_its_own(stage: &Stage) {
    let space = stage.namespace("required");
    space.start(&pod("one"));
    let copy = "--copy-to=copy --profile=restricted --share-processes=false --set-image=workload=";
    let image = format!("{copy}{WORKLOAD_IMAGE}");
    let line = format!("debug pod/one {image} --attach=false");
    let _copied = space.kubectl(&line).accepted();
    let ready = space.ready("copy");
    assert_eq!(container_of(&ready, "auth-proxy")["image"], container_of(&space.pod("one"), "auth-proxy")["image"]);
    let fingerprint = "openssl x509 -in /etc/proxy-ca/ca.crt -noout -fingerprint";
    let [one, copy] = ["one", "copy"].map(|name| space.sh(name, fingerprint).accepted().output);
    assert_ne!(one, copy);
}
