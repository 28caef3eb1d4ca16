//! Running pods with the webhook there: who debugs, changes or enters them.

use serde_json::json;

use crate::cluster::Cluster;

#[test]
fn the_sidecar_of_a_running_pod_is_left_alone_and_the_workload_can_be_debugged() {
    let cluster = Cluster::start();
    cluster.namespace("team", "required");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"},
        "spec": {"containers": [{"name": "workload", "image": "any"}]}});
    cluster.create(&cluster.edit, "team", &pod.to_string()).unwrap();
    let run = |arguments: &[&str]| cluster.edit.run(&[&["-n", "team"], arguments].concat());
    let refused = |arguments: &[&str], part: &str| {
        let error = run(arguments).expect_err("it has to be refused");
        assert!(error.contains(part), "{error}");
    };

    refused(&["set", "image", "pod/pod", "auth-proxy=any"], "'sidecar-unchanged.sandgate.dev'");
    let small = r#"{"spec":{"initContainers":[{"name":"auth-proxy","resources":{"requests":{"cpu":"1m"}}}]}}"#;
    refused(&["patch", "pod", "pod", "--subresource=resize", "-p", small], "'sidecar-unchanged.sandgate.dev'");
    refused(&["exec", "pod", "-c", "auth-proxy", "--", "true"], "'sidecar-entered.sandgate.dev'");
    refused(&["attach", "pod", "-c", "auth-proxy"], "'sidecar-entered.sandgate.dev'");
    // No name: the webhook's annotation sends kubectl to the workload.
    refused(&["exec", "pod", "--", "true"], "does not have a host assigned");
    run(&["set", "image", "pod/pod", "workload=newer"]).unwrap();
    run(&["label", "pod", "pod", "a=b"]).unwrap();

    // Plain `kubectl debug` adds SYS_PTRACE.
    let debug = ["debug", "pod", "--image=any", "--target=workload"];
    refused(&[&debug[..], &["-c", "plain"]].concat(), "--profile=restricted");
    run(&[&debug[..], &["-c", "restricted", "--profile=restricted"]].concat()).unwrap();
    let into = ["debug", "pod", "--image=any", "--target=auth-proxy", "--profile=restricted", "-c", "spy"];
    // The webhook is asked before the admission policy is.
    refused(&into, "(targetContainerName \"auth-proxy\")");
    let debugged = cluster.pod("team", "pod");
    let ephemeral = &debugged["spec"]["ephemeralContainers"];
    assert_eq!(ephemeral.as_array().map(Vec::len), Some(1), "{ephemeral}");
    assert!(ephemeral[0]["env"].to_string().contains("HTTPS_PROXY"), "{ephemeral}");
}
