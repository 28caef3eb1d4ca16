//! How a pod starts: what is there when its first container starts, and what happens where something is missing.

use sandgate_kind_test::api;
use sandgate_kind_test::objects::{pod, pod_of, pod_running, running};
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::{Space, container_of, is_ready, status_of};
use sandgate_kind_test::stage::{Stage, config_map};
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::eventually;
use serde_json::{Value, json};

pub(crate) const TESTS: &[Test] = tests!(Shared:
    init_containers_and_containers_start_with_the_proxy_up,
    a_native_sidecar_of_the_pods_own_starts_after_ours_and_uses_the_proxy,
    the_trust_files_are_there_for_the_first_container_and_read_only,
    the_probes_pass_and_the_pod_gets_ready,
    a_gate_that_fails_keeps_the_workload_from_starting_and_an_event_names_the_hook,
    a_broken_policy_does_not_keep_a_pod_from_starting,
    without_a_policy_the_pod_starts_and_everything_is_refused_with_what_is_missing,
    env_beats_env_from,
);

/// A script that asks the allowed origin once and prints what it says.
fn ask() -> String {
    format!("curl -sS https://{}/zen", Origins::shared().allowed())
}

fn init_containers_and_containers_start_with_the_proxy_up(stage: &Stage) {
    let space = stage.namespace("required");
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [running("first", &ask()), running("second", &ask())],
        "containers": [running("workload", &ask())],
    });
    // Several at once, on nodes that are busy then: what comes a moment too early fails now and then.
    let names = ["one", "two", "three", "four", "five", "six"];
    names.iter().for_each(|name| space.apply(&pod_of(name, spec.clone())));
    for name in names {
        space.ended(name, "Succeeded");
        for container in ["first", "second", "workload"] {
            assert_eq!(space.logs(name, container), "Keep it logically awesome.", "{name} {container}");
        }
    }
}

fn a_native_sidecar_of_the_pods_own_starts_after_ours_and_uses_the_proxy(stage: &Stage) {
    let space = stage.namespace("required");
    let mut own = running("own", &format!("{} > /shared/zen && exec idle", ask()));
    own["restartPolicy"] = "Always".into();
    own["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
    own["startupProbe"] = json!({"exec": {"command": ["test", "-s", "/shared/zen"]}, "periodSeconds": 1});
    let mut workload = running("workload", "cat /shared/zen");
    workload["volumeMounts"] = own["volumeMounts"].clone();
    let spec = json!({
        "restartPolicy": "Never", "volumes": [{"name": "shared", "emptyDir": {}}],
        "initContainers": [own], "containers": [workload],
    });
    assert_eq!(space.run(&pod_of("one", spec)), "Keep it logically awesome.");
    let pod = space.pod("one");
    let names: Vec<_> = pod["spec"]["initContainers"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["auth-proxy", "own"]);
}

fn the_trust_files_are_there_for_the_first_container_and_read_only(stage: &Stage) {
    let space = stage.namespace("required");
    let script = "cd /etc/proxy-ca && for file in ca.crt bundle.crt truststore.p12 wgetrc apt.conf; do test -s $file || exit 1; done; \
        openssl x509 -in ca.crt -noout -subject && grep -c BEGIN bundle.crt; \
        openssl pkcs12 -in truststore.p12 -passin pass:changeit -nokeys -legacy 2>/dev/null | grep -c BEGIN; \
        touch more 2>&1; rm -f ca.crt 2>&1; mount -o remount,rw /etc/proxy-ca 2>&1; test -s ca.crt && echo kept";
    let spec = json!({
        "restartPolicy": "Never", "initContainers": [running("first", script)], "containers": [running("workload", "true")],
    });
    space.run(&pod_of("one", spec));
    let printed = space.logs("one", "first");
    for part in ["subject=", "Sandgate", "Read-only file system", "kept"] {
        assert!(printed.contains(part), "without {part}: {printed}");
    }
    let counts: Vec<u32> = printed.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(counts.len() == 2 && counts[0] > 100 && counts[1] == counts[0], "bundle and store: {printed}");
}

fn the_probes_pass_and_the_pod_gets_ready(stage: &Stage) {
    let space = stage.namespace("required");
    let ready = space.start(&pod("one"));
    let sidecar = status_of(&ready, "auth-proxy");
    assert_eq!((&sidecar["ready"], &sidecar["started"]), (&json!(true), &json!(true)), "{sidecar}");
    let asked = format!("curl -sS http://{}:8081/readyz", ready["status"]["podIP"].as_str().unwrap());
    space.sh("one", &format!("{asked} --noproxy '*'")).accepted().shows(&["\"status\":\"ready\""]);
}

fn a_broken_policy_does_not_keep_a_pod_from_starting(stage: &Stage) {
    // One that was written before anybody looked.
    let space = stage.namespace("");
    space.apply(&config_map("early", "policy.yaml", "version: 2\n"));
    let metadata = json!({"metadata": {
        "labels": {"sandgate.dev/inject": "required"}, "annotations": {"sandgate.dev/policy": "early"},
    }});
    api::merge(&format!("/api/v1/namespaces/{}", space.name), &metadata).unwrap();
    eventually("the webhook has heard of it", || {
        let made = space.kubectl_with("create --dry-run=server -o json -f -", &pod("dry").to_string());
        if made.output.contains("\"early\"") { Ok(()) } else { Err(format!("{made:?}")) }
    });
    let started = started(&space, &pod("broken"));
    assert!(!is_ready(&started));
    let refused = space.sh("broken", &format!("curl -sS http://{}/", Origins::shared().allowed())).accepted();
    refused.shows(&["\"error\":\"host_not_allowed\"", "there is no valid policy"]);
    assert!(space.sidecar_logs("broken").contains("version"), "{}", space.sidecar_logs("broken"));
}

/// Applies a pod, and waits until its workload runs, ready or not.
#[track_caller]
fn started(space: &Space, pod: &Value) -> Value {
    space.apply(pod);
    let name = pod["metadata"]["name"].as_str().unwrap();
    eventually("the workload runs", || {
        let pod = space.pod(name);
        let status = status_of(&pod, "workload");
        if status["state"]["running"].is_object() { Ok(pod) } else { Err(pod["status"].to_string()) }
    })
}

fn a_gate_that_fails_keeps_the_workload_from_starting_and_an_event_names_the_hook(stage: &Stage) {
    // The very pod that the webhook makes, with a health port that nobody may bind; where it is not checked.
    let required = stage.namespace("required");
    let dry = required.kubectl_with("create --dry-run=server -o json -f -", &pod("one").to_string()).accepted();
    let mut made: Value = serde_json::from_str(&dry.output).unwrap();
    let arguments = made["spec"]["initContainers"][0]["args"].as_array_mut().unwrap();
    for argument in arguments.iter_mut().filter(|argument| argument.as_str().unwrap().starts_with("--admin-listen=")) {
        *argument = "--admin-listen=[::]:18081".into();
    }
    let unguarded = stage.namespace("");
    unguarded.apply(&pod_of("one", crate::cleaned(made["spec"].take())));
    eventually("an event tells of the hook", || {
        let events = unguarded.events("one");
        if events.contains("FailedPostStartHook") { Ok(()) } else { Err(events) }
    });
    let status = status_of(&unguarded.pod("one"), "workload");
    assert!(status["state"]["waiting"].is_object(), "{status}");
}

fn without_a_policy_the_pod_starts_and_everything_is_refused_with_what_is_missing(stage: &Stage) {
    let space = stage.bare_namespace("required", &json!({}));
    let started = started(&space, &pod("one"));
    let refused = space.sh("one", &format!("curl -sS http://{}/", Origins::shared().allowed())).accepted();
    refused.shows(&["\"error\":\"host_not_allowed\"", "there is no valid policy"]);
    let ready = format!("curl -sS --noproxy '*' http://{}:8081/readyz", started["status"]["podIP"].as_str().unwrap());
    space.sh("one", &ready).accepted().shows(&["not_ready", "policy.yaml"]);
    assert!(space.sidecar_logs("one").contains("policy.yaml"));
}

fn env_beats_env_from(stage: &Stage) {
    let space = stage.namespace("required");
    space.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own"},
        "data": {"HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1", "OTHER": "kept"}}));
    let mut pod = pod_running("one", &format!("echo $OTHER; {}", ask()));
    pod["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "own"}}]);
    assert_eq!(space.run(&pod), "kept\nKeep it logically awesome.");
    assert_eq!(container_of(&space.pod("one"), "workload")["envFrom"][0]["configMapRef"]["name"], "own");
}
