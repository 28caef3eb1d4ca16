//! Nobody enters the sidecar. There is no kubelet here: what admission lets through fails at the node that the pod does
//! not have, and so the two are told apart.

use crate::cluster::{Cluster, Namespace, refused};

const NO_NODE: &str = "does not have a host assigned";
const MESSAGE: [&str; 2] = ["nobody enters the sidecar auth-proxy", "kubectl logs -c auth-proxy"];

fn with_pod(name: &str, metadata: &str) -> Namespace<'static> {
    let namespace = Cluster::shared().namespace(name, "required");
    let pod = namespace.pod("pod", metadata);
    namespace.create(&namespace.cluster.edit, &pod).unwrap();
    namespace
}

/// As programs call it, without kubectl's ideas of a container.
fn raw(namespace: &Namespace<'_>, sub_resource: &str, query: &str) -> Result<String, String> {
    let path = format!("/api/v1/namespaces/{}/pods/pod/{sub_resource}?stdout=true&{query}", namespace.name);
    namespace.run(&namespace.cluster.edit, &["create", "--raw", &path, "-f", "/dev/null"])
}

#[test]
fn exec_and_attach_into_the_sidecar_are_refused_to_everybody() {
    let namespace = with_pod("entered-refused", "");
    for user in namespace.everybody() {
        let exec = namespace.run(user, &["exec", "pod", "-c", "auth-proxy", "--", "true"]);
        refused(exec, "sidecar-entered", &MESSAGE);
        refused(namespace.run(user, &["attach", "pod", "-c", "auth-proxy"]), "sidecar-entered", &MESSAGE);
    }
    refused(raw(&namespace, "exec", "command=true&container=auth-proxy"), "sidecar-entered", &MESSAGE);
    refused(raw(&namespace, "attach", "container=auth-proxy"), "sidecar-entered", &MESSAGE);
    // A GET is a CONNECT too.
    let path = format!("/api/v1/namespaces/{}/pods/pod/exec?command=true&container=auth-proxy", namespace.name);
    refused(namespace.run(&namespace.cluster.edit, &["get", "--raw", &path]), "sidecar-entered", &MESSAGE);
}

#[test]
fn other_containers_may_be_entered() {
    let namespace = with_pod("entered-others", "");
    for user in namespace.everybody() {
        for container in ["workload", "setup"] {
            let exec = namespace.run(user, &["exec", "pod", "-c", container, "--", "true"]).unwrap_err();
            assert!(exec.contains(NO_NODE), "{exec}");
            let attach = namespace.run(user, &["attach", "pod", "-c", container]).unwrap_err();
            assert!(attach.contains(NO_NODE), "{attach}");
        }
    }
}

#[test]
fn no_name_never_means_the_sidecar() {
    // kubectl reads the annotation and names the container, which is then refused as if typed.
    let annotated = with_pod("entered-annotated", "annotations: {kubectl.kubernetes.io/default-container: auth-proxy}");
    let exec = annotated.run(&annotated.cluster.edit, &["exec", "pod", "--", "true"]);
    refused(exec, "sidecar-entered", &MESSAGE);
    // The API server does not read it: of `containers` it takes the only one.
    for (sub_resource, query) in [("exec", "command=true"), ("exec", "command=true&container="), ("attach", "")] {
        let error = raw(&annotated, sub_resource, query).unwrap_err();
        assert!(error.contains(NO_NODE), "{error}");
    }
    // Of several it takes none.
    let several = Cluster::shared().namespace("entered-several", "required");
    let pod = several.pod("pod", "").replace("  containers:\n", "  containers:\n  - {name: second, image: any}\n");
    several.create(&several.cluster.edit, &pod).unwrap();
    let error = raw(&several, "exec", "command=true").unwrap_err();
    assert!(error.contains("a container name must be specified"), "{error}");
}

#[test]
fn in_an_enabled_namespace_the_sidecar_is_its_users_own_affair() {
    let namespace = Cluster::shared().namespace("entered-enabled", "enabled");
    let pod = namespace.pod("pod", "");
    namespace.create(&namespace.cluster.edit, &pod).unwrap();
    let exec = namespace.run(&namespace.cluster.edit, &["exec", "pod", "-c", "auth-proxy", "--", "true"]).unwrap_err();
    assert!(exec.contains(NO_NODE), "{exec}");
}
