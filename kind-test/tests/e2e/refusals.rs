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

/// A pod, what its refusal in a required namespace says, and whether it is valid where nobody asks.
type Case = (Value, &'static [&'static str], bool);

/// A pod with a volume.
fn volume(kind: &Value) -> Value {
    spec(&json!({"volumes": [with(json!({"name": "own"}), kind)]}))
}

/// A pod with an empty volume of its own at a path.
fn mounted(path: &str) -> Value {
    let mut pod = volume(&json!({"emptyDir": {}}));
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "own", "mountPath": path}]);
    pod
}

/// What the labels and annotations say.
fn asking() -> Vec<Case> {
    let resources = "sandgate.dev/sidecar-resources";
    vec![
        (labelled(pod("one"), "yes"), &["label sandgate.dev/inject is \"yes\"", "write \"true\" or \"false\""], false),
        (labelled(pod("one"), "false"), &["requires the sidecar", "remove the label"], true),
        (annotated("sandgate.dev/policy", "own"), &["names the policy \"own\"", "pod-policy=allowed"], true),
        (annotated(resources, "much"), &["sandgate.dev/sidecar-resources"], true),
        (annotated(resources, "{\"limits\":{\"memory\":\"1Mi\"}}"), &["limits", "memory", "1Mi"], true),
    ]
}

/// What clashes with the sidecar's own.
fn clashing() -> Vec<Case> {
    let named = json!({"secretKeyRef": {"name": "sandbox-proxy-ca", "key": "tls.key"}});
    let key = json!({"volumeMounts": [{"name": "sandgate-ca", "mountPath": "/key"}]});
    let own = json!({"volumes": [{"name": "sandgate-ca", "emptyDir": {}}]});
    vec![
        (
            workload(&json!({"name": "auth-proxy"})),
            &["not the sidecar that Sandgate makes", "rename the container"],
            true,
        ),
        (spec(&own), &["volume \"sandgate-ca\"", "the name is Sandgate's"], true),
        (workload(&key), &["uses Sandgate's volume \"sandgate-ca\" in volumeMounts"], false),
        (workload(&json!({"ports": [{"containerPort": 8080}]})), &["port 8080", "let it listen elsewhere"], true),
        (workload(&json!({"ports": [{"containerPort": 8081}]})), &["declares port 8081"], true),
        (
            volume(&json!({"secret": {"secretName": "sandbox-proxy-ca"}})),
            &["\"sandbox-proxy-ca\"", "leave it out"],
            true,
        ),
        (workload(&json!({"env": [{"name": "KEY", "valueFrom": named}]})), &["\"sandbox-proxy-ca\" in env"], true),
        (workload(&json!({"envFrom": [{"secretRef": {"name": "sandbox-proxy-ca"}}]})), &["in envFrom"], true),
    ]
}

/// Ways around the sidecar, or into it.
fn evading() -> Vec<Case> {
    let context = |context: &Value| workload(&json!({"securityContext": context}));
    let nfs = json!({"nfs": {"server": "nfs.example.com", "path": "/"}});
    vec![
        (spec(&json!({"hostNetwork": true})), &["uses the node's network (hostNetwork: true)"], true),
        (spec(&json!({"hostPID": true})), &["shares a namespace of the node (hostPID: true)"], true),
        (spec(&json!({"shareProcessNamespace": true})), &["shareProcessNamespace is true"], true),
        (volume(&json!({"hostPath": {"path": "/"}})), &["directory of the node (hostPath)", "use another kind"], true),
        (volume(&nfs), &["mounted by the node itself (nfs)"], true),
        (context(&json!({"privileged": true})), &["privileged", "against Pod Security \"baseline\""], true),
        (context(&json!({"capabilities": {"add": ["SYS_PTRACE"]}})), &["SYS_PTRACE", "leave them out"], true),
        (context(&json!({"runAsUser": 10101})), &["runs as the sidecar's UID 10101"], true),
        (workload(&json!({"ports": [{"containerPort": 80, "hostPort": 80}]})), &["hostPort", "use a Service"], true),
        (mounted("/etc//proxy-ca"), &["over the proxy's trust files", "choose a path outside"], true),
        (mounted("/etc/x/../proxy-ca/java"), &["over the proxy's trust files"], true),
    ]
}

fn refused() -> impl Iterator<Item = Case> {
    asking().into_iter().chain(clashing()).chain(evading())
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
    printed.refused_with(&[
        "policies.validate.sandgate.dev",
        "policy.yaml:4: destinations[0].hosts: there is no such field; did you mean host?",
        "policy.yaml:6: destinations[1].host: a bare *",
    ]);
    let _good =
        space.try_apply(&config_map("sandgate-policy", "policy.yaml", "version: 1\ndestinations: []\n")).accepted();
}
