//! The sidecar of a running pod stays as it is, and everything else may change as ever.

use sandgate_testkit::api_server::Kubectl;

use crate::cluster::{Cluster, Namespace, refused};

const CHANGED: [&str; 3] = ["auth-proxy of a running pod can't be changed", "delete the pod", "VerticalPodAutoscaler"];

/// Of a pod as a whole.
const POD_LIMITS: &str = "resources: {requests: {cpu: 100m, memory: 40Mi}, limits: {cpu: '2', memory: 200Mi}}";

fn with_pod(name: &str) -> Namespace<'static> {
    let namespace = Cluster::shared().namespace(name, "required");
    let pod = namespace.pod("pod", "");
    namespace.create(&namespace.cluster.edit, &pod).unwrap();
    namespace
}

fn resize(
    namespace: &Namespace<'_>,
    user: &Kubectl,
    pod: &str,
    list: &str,
    container: &str,
    cpu: &str,
) -> Result<String, String> {
    let patch =
        format!(r#"{{"spec":{{"{list}":[{{"name":"{container}","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}}}"#);
    namespace.run(user, &["patch", "pod", pod, "--subresource=resize", "-p", &patch])
}

/// Adds an ephemeral container to the pod, with these further fields.
fn ephemeral(namespace: &Namespace<'_>, user: &Kubectl, name: &str, fields: &str) -> Result<String, String> {
    let patch = format!(r#"{{"spec":{{"ephemeralContainers":[{{"name":"{name}","image":"any"{fields}}}]}}}}"#);
    namespace.run(user, &["patch", "pod", "pod", "--subresource=ephemeralcontainers", "-p", &patch])
}

#[test]
fn another_image_of_the_sidecar_is_refused_to_everybody() {
    let namespace = with_pod("unchanged-image");
    for user in namespace.everybody() {
        let changed = namespace.run(user, &["set", "image", "pod/pod", "auth-proxy=evil"]);
        refused(changed, "sidecar-unchanged", &CHANGED);
        namespace.run(user, &["set", "image", "pod/pod", "workload=newer", "setup=newer"]).unwrap();
        let both = namespace.run(user, &["set", "image", "pod/pod", "workload=newest", "auth-proxy=evil"]);
        refused(both, "sidecar-unchanged", &CHANGED);
    }
}

#[test]
fn in_an_enabled_namespace_it_may_be_changed() {
    let namespace = Cluster::shared().namespace("unchanged-enabled", "enabled");
    let edit = &namespace.cluster.edit;
    namespace.create(edit, &namespace.pod("pod", "")).unwrap();
    namespace.run(edit, &["set", "image", "pod/pod", "auth-proxy=other"]).unwrap();
}

#[test]
fn a_resize_of_the_sidecar_is_refused_to_everybody_and_one_of_the_workload_passes() {
    let namespace = with_pod("unchanged-resize");
    for user in namespace.everybody() {
        for cpu in ["1m", "900m"] {
            let resized = resize(&namespace, user, "pod", "initContainers", "auth-proxy", cpu);
            refused(resized, "sidecar-unchanged", &CHANGED);
        }
        // The same amount in another spelling is no change.
        resize(&namespace, user, "pod", "initContainers", "auth-proxy", "0.010").unwrap();
    }
    resize(&namespace, &namespace.cluster.edit, "pod", "containers", "workload", "20m").unwrap();
}

#[test]
fn limits_of_the_whole_pod_which_hold_for_the_sidecar_too_are_not_lowered_and_none_is_added() {
    let namespace = Cluster::shared().namespace("unchanged-pod-limits", "required");
    let resized = |user: &Kubectl, pod: &str, limits: &str| {
        let patch = format!(r#"{{"spec":{{"resources":{{"limits":{{{limits}}}}}}}}}"#);
        namespace.run(user, &["patch", "pod", pod, "--subresource=resize", "-p", &patch])
    };
    let bounded = namespace.pod("bounded", "").replacen("spec:\n", &format!("spec:\n  {POD_LIMITS}\n"), 1);
    for pod in [&namespace.pod("free", ""), &bounded] {
        namespace.create(&namespace.cluster.edit, pod).unwrap();
    }
    for user in namespace.everybody() {
        for (pod, limits) in [
            ("free", r#""memory":"40Mi""#),
            ("bounded", r#""memory":"199Mi""#),
            ("bounded", r#""cpu":"100m""#),
            ("bounded", r#""memory":"300Mi","cpu":"999m""#),
        ] {
            refused(
                resized(user, pod, limits),
                "sidecar-unchanged",
                &["limits of the whole pod", "auth-proxy", "raise"],
            );
        }
        // The same amounts in another spelling, and more.
        resized(user, "bounded", r#""cpu":"2000m","memory":"209715200""#).unwrap();
    }
    resized(&namespace.cluster.edit, "bounded", r#""cpu":"3","memory":"1Gi""#).unwrap();
    resize(&namespace, &namespace.cluster.edit, "bounded", "containers", "workload", "20m").unwrap();
}

#[test]
fn labels_annotations_finalizers_owners_and_deletion_pass_while_no_webhook_is_there() {
    let namespace = with_pod("unchanged-metadata");
    let edit = &namespace.cluster.edit;
    namespace.run(edit, &["label", "pod", "pod", "sandgate.dev/inject=false", "claimed-by=somebody"]).unwrap();
    namespace.run(edit, &["annotate", "pod", "pod", "a=b"]).unwrap();
    let owner = r#"{"apiVersion":"v1","kind":"ConfigMap","name":"any","uid":"cb3e0c0e-4a5c-4b0a-8b0e-111111111111"}"#;
    for (field, value) in
        [("finalizers", r#"["example.com/hold"]"#), ("finalizers", "null"), ("ownerReferences", owner)]
    {
        let value = if field == "ownerReferences" { format!("[{value}]") } else { value.to_owned() };
        let patch = format!(r#"{{"metadata":{{"{field}":{value}}}}}"#);
        namespace.run(&namespace.cluster.admin, &["patch", "pod", "pod", "--type=merge", "-p", &patch]).unwrap();
    }
    namespace.run(edit, &["delete", "pod", "pod", "--now"]).unwrap();
}

#[test]
fn an_ephemeral_container_may_join_the_workload_and_not_the_sidecar() {
    let namespace = with_pod("unchanged-ephemeral");
    for user in namespace.everybody() {
        let joined = ephemeral(&namespace, user, "spy", r#","targetContainerName":"auth-proxy""#);
        refused(joined, "sidecar-unchanged", &["can't target auth-proxy", "--target", "kubectl logs"]);
        let mount = r#","volumeMounts":[{"name":"sandgate-ca","mountPath":"/k"}]"#;
        let mounted = ephemeral(&namespace, user, "thief", mount);
        refused(mounted, "sidecar-unchanged", &["can't mount the volumes of the sidecar", "sandgate-trust"]);
        let file = r#"{"fileKeyRef":{"volumeName":"sandgate-ca","path":"ca.key","key":"k"}}"#;
        let read = ephemeral(&namespace, user, "reader", &format!(r#","env":[{{"name":"KEY","valueFrom":{file}}}]"#));
        refused(read, "sidecar-unchanged", &["can't mount the volumes of the sidecar"]);
        for writable in ["", r#","readOnly":false"#] {
            let mount = format!(r#","volumeMounts":[{{"name":"sandgate-trust","mountPath":"/t"{writable}}}]"#);
            let mounted = ephemeral(&namespace, user, "forger", &mount);
            refused(mounted, "sidecar-unchanged", &["sandgate-trust, read-only"]);
        }
    }
    let edit = &namespace.cluster.edit;
    ephemeral(&namespace, edit, "first", r#","targetContainerName":"workload""#).unwrap();
    let own =
        r#","env":[{"name":"A","value":"b"},{"name":"IP","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}}]"#;
    ephemeral(&namespace, edit, "own-variables", own).unwrap();
    let trust = r#","volumeMounts":[{"name":"sandgate-trust","mountPath":"/etc/proxy-ca","readOnly":true}]"#;
    ephemeral(&namespace, edit, "second", trust).unwrap();
}

#[test]
fn what_a_pod_had_before_its_namespace_required_anything_holds_nothing_up() {
    let namespace = Cluster::shared().namespace("unchanged-before", "");
    let edit = &namespace.cluster.edit;
    namespace.create(edit, &namespace.pod("pod", "")).unwrap();
    ephemeral(&namespace, edit, "spy", r#","targetContainerName":"auth-proxy""#).unwrap();
    let plain =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: plain}\nspec: {containers: [{name: auth-proxy, image: any}]}";
    namespace.create(edit, plain).unwrap();

    let labelled = ["label", "namespace", "unchanged-before", "sandgate.dev/inject=required"];
    namespace.cluster.admin.run(&labelled).unwrap();
    for (number, pod) in ["pod", "plain", "pod", "plain"].iter().enumerate() {
        namespace.run(edit, &["label", "pod", pod, &format!("try-{number}=yes")]).unwrap();
    }
    ephemeral(&namespace, edit, "other", r#","targetContainerName":"workload""#).unwrap();
}
