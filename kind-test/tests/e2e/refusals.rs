//! Every refusal as kubectl shows it: the webhook's name, the field, and what to do.

use sandgate_kind_test::objects::{container, labelled, pod, with};
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::stage::{Stage, config_map};
use sandgate_kind_test::tests;
use serde_json::{Value, json};

pub(crate) const TESTS: &[Test] = tests!(Shared:
    each_refusal_is_shown_by_kubectl_with_the_field_and_what_to_do,
    what_is_refused_where_it_is_required_is_let_in_where_nobody_asks,
    all_that_is_wrong_with_a_pod_is_named_at_once,
    a_deployment_is_applied_with_a_warning_and_its_replica_set_tells_the_refusal,
    a_broken_policy_is_refused_with_its_lines,
);

/// A pod with a change of its workload.
fn workload(changes: &Value) -> Value {
    let mut pod = pod("one");
    pod["spec"]["containers"][0] = with(container("workload"), changes);
    pod
}

fn spec(changes: &Value) -> Value {
    with(pod("one"), &json!({"spec": changes}))
}

fn annotated(key: &str, value: &str) -> Value {
    with(pod("one"), &json!({"metadata": {"annotations": {key: value}}}))
}

/// Pods that a required namespace refuses, what the refusal says, and whether they are valid without the webhook.
fn refused() -> Vec<(Value, &'static [&'static str], bool)> {
    let volume = |kind: &Value| spec(&json!({"volumes": [with(json!({"name": "own"}), kind)]}));
    let mounted = |kind: &Value, path: &str| {
        let mut pod = volume(kind);
        pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "own", "mountPath": path}]);
        pod
    };
    let secret = json!({"secret": {"secretName": "sandbox-proxy-ca"}});
    let from = json!([{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "sandbox-proxy-ca", "key": "tls.key"}}}]);
    let mut foreign = pod("one");
    foreign["spec"]["containers"][0]["name"] = "auth-proxy".into();
    let mut foreign_volume = spec(&json!({"volumes": [{"name": "sandgate-ca", "emptyDir": {}}]}));
    foreign_volume["spec"]["containers"][0]["volumeMounts"] = json!([]);
    vec![
        (labelled(pod("one"), "yes"), &["label sandgate.dev/inject is \"yes\"", "write \"true\" or \"false\""], false),
        (labelled(pod("one"), "false"), &["requires the sidecar", "remove the label"], true),
        (spec(&json!({"hostNetwork": true})), &["uses the node's network (hostNetwork: true)"], true),
        (foreign, &["not the sidecar that Sandgate makes", "rename the container or leave it out"], true),
        (foreign_volume, &["volume \"sandgate-ca\"", "the name is Sandgate's"], true),
        (
            workload(&json!({"volumeMounts": [{"name": "sandgate-ca", "mountPath": "/key"}]})),
            &["uses Sandgate's volume \"sandgate-ca\" in volumeMounts"],
            false,
        ),
        (
            workload(&json!({"ports": [{"containerPort": 8080}]})),
            &["declares port 8080", "let it listen elsewhere"],
            true,
        ),
        (workload(&json!({"ports": [{"containerPort": 8081}]})), &["declares port 8081"], true),
        (volume(&secret), &["names the Secret \"sandbox-proxy-ca\"", "leave it out"], true),
        (workload(&json!({"env": from})), &["names the Secret \"sandbox-proxy-ca\" in env"], true),
        (workload(&json!({"envFrom": [{"secretRef": {"name": "sandbox-proxy-ca"}}]})), &["in envFrom"], true),
        (
            annotated("sandgate.dev/policy", "own"),
            &["names the policy \"own\"", "sandgate.dev/pod-policy=allowed"],
            true,
        ),
        (annotated("sandgate.dev/sidecar-resources", "much"), &["sandgate.dev/sidecar-resources"], true),
        (
            annotated("sandgate.dev/sidecar-resources", "{\"limits\":{\"memory\":\"1Mi\"}}"),
            &["limits", "memory", "1Mi"],
            true,
        ),
        (
            volume(&json!({"hostPath": {"path": "/"}})),
            &["directory of the node (hostPath)", "use another kind of volume"],
            true,
        ),
        (
            volume(&json!({"nfs": {"server": "nfs.example.com", "path": "/"}})),
            &["mounted by the node itself (nfs)"],
            true,
        ),
        (
            workload(&json!({"securityContext": {"privileged": true}})),
            &["privileged", "against Pod Security \"baseline\""],
            true,
        ),
        (
            workload(&json!({"securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}})),
            &["SYS_PTRACE", "leave them out"],
            true,
        ),
        (spec(&json!({"hostPID": true})), &["shares a namespace of the node (hostPID: true)"], true),
        (workload(&json!({"ports": [{"containerPort": 80, "hostPort": 80}]})), &["hostPort", "use a Service"], true),
        (spec(&json!({"shareProcessNamespace": true})), &["shareProcessNamespace is true"], true),
        (workload(&json!({"securityContext": {"runAsUser": 10101}})), &["runs as the sidecar's UID 10101"], true),
        (
            mounted(&json!({"emptyDir": {}}), "/etc//proxy-ca"),
            &["over the proxy's trust files", "choose a path outside"],
            true,
        ),
        (mounted(&json!({"emptyDir": {}}), "/etc/x/../proxy-ca/java"), &["over the proxy's trust files"], true),
    ]
}

fn each_refusal_is_shown_by_kubectl_with_the_field_and_what_to_do(stage: &Stage) {
    let space = stage.bare_namespace("required", &json!({}));
    for (pod, parts, _) in refused() {
        let printed = space.try_apply(&pod);
        printed.refused_with(&[
            "Error from server",
            "admission webhook \"required.inject.sandgate.dev\" denied the request",
        ]);
        printed.refused_with(parts);
    }
    assert_eq!(space.pods(""), Vec::<Value>::new());
}

fn what_is_refused_where_it_is_required_is_let_in_where_nobody_asks(stage: &Stage) {
    let space = stage.bare_namespace("", &json!({}));
    for (pod, _, valid) in refused() {
        let printed = space.kubectl_with("create --dry-run=server -f -", &pod.to_string());
        assert_eq!(printed.succeeded, valid, "{pod}: {}", printed.errors);
    }
}

fn all_that_is_wrong_with_a_pod_is_named_at_once(stage: &Stage) {
    let space = stage.bare_namespace("required", &json!({}));
    let pod = with(
        workload(&json!({"ports": [{"containerPort": 8080}], "securityContext": {"privileged": true}})),
        &json!({"spec": {"shareProcessNamespace": true, "hostIPC": true}}),
    );
    space.try_apply(&pod).refused_with(&["port 8080", "privileged", "shareProcessNamespace", "hostIPC"]);
}

fn a_deployment_is_applied_with_a_warning_and_its_replica_set_tells_the_refusal(stage: &Stage) {
    let space = stage.bare_namespace("required", &json!({}));
    let spec = json!({
        "volumes": [{"name": "host", "hostPath": {"path": "/"}}], "containers": [container("workload")],
    });
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app"}, "spec": {
        "selector": {"matchLabels": {"app": "app"}},
        "template": {"metadata": {"labels": {"app": "app"}}, "spec": spec},
    }});
    let printed = space.try_apply(&deployment).accepted();
    printed.says(&["Warning: pods will be refused: volumes[0] \"host\" is a directory of the node (hostPath)"]);
    sandgate_kind_test::wait::eventually("the ReplicaSet has the refusal as an event", || {
        let events = space.kubectl("describe replicaset").accepted().output;
        let told = events.contains("FailedCreate") && events.contains("volumes[0] \"host\" is a directory of the node");
        if told { Ok(()) } else { Err(events) }
    });
}

fn a_broken_policy_is_refused_with_its_lines(stage: &Stage) {
    let space = stage.bare_namespace("enabled", &json!({}));
    let broken = "version: 1\ndestinations:\n  - id: one\n    hosts: api.example.com\n  - id: one\n    host: '*'\n";
    let printed = space.try_apply(&config_map("sandgate-policy", "policy.yaml", broken));
    printed.refused_with(&["policies.validate.sandgate.dev", "line 4", "hosts", "line 6"]);
    let _good =
        space.try_apply(&config_map("sandgate-policy", "policy.yaml", "version: 1\ndestinations: []\n")).accepted();
}
