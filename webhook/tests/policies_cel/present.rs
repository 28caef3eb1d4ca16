//! No pod without a native sidecar.

use sandgate_testkit::api_server::Kubectl;

use crate::cluster::{Cluster, Namespace, refused};

fn pod(namespace: &Namespace<'_>, user: &Kubectl, spec: &str) -> Result<String, String> {
    let manifest = format!("apiVersion: v1\nkind: Pod\nmetadata: {{generateName: any-}}\nspec: {spec}\n");
    namespace.create(user, &manifest)
}

#[test]
fn a_pod_without_the_sidecar_is_refused_to_everybody_and_told_that_the_webhook_did_not_run() {
    let namespace = Cluster::shared().namespace("present-refused", "required");
    let without = [
        "{containers: [{name: workload, image: any}]}",
        "{containers: [{name: workload, image: any}], initContainers: [{name: other, image: any, restartPolicy: Always}]}",
        // Neither of these is a native sidecar.
        "{containers: [{name: auth-proxy, image: any}]}",
        "{containers: [{name: workload, image: any}], initContainers: [{name: auth-proxy, image: any}]}",
    ];
    let parts = ["the Sandgate webhook did not run", "namespace present-refused requires", "kubectl apply -k"];
    for spec in without {
        for user in namespace.everybody() {
            refused(pod(&namespace, user, spec), "sidecar-present", &parts);
        }
    }
}

#[test]
fn a_pod_with_the_sidecar_passes_wherever_it_stands() {
    let namespace = Cluster::shared().namespace("present-passes", "required");
    let sidecar = "{name: auth-proxy, image: any, restartPolicy: Always}";
    for initial in [sidecar.to_owned(), format!("{{name: other, image: any}}, {sidecar}")] {
        let spec = format!("{{containers: [{{name: workload, image: any}}], initContainers: [{initial}]}}");
        pod(&namespace, &namespace.cluster.edit, &spec).unwrap();
    }
}

#[test]
fn other_namespaces_and_those_of_the_cluster_itself_are_left_alone() {
    let cluster = Cluster::shared();
    let plain = "{containers: [{name: workload, image: any}]}";
    for (name, label) in [("present-none", ""), ("present-enabled", "enabled"), ("present-disabled", "disabled")] {
        let namespace = cluster.namespace(name, label);
        pod(&namespace, &cluster.edit, plain).unwrap();
    }
    // Somebody labels what must start without any webhook.
    let nodes = cluster.namespace("kube-node-lease", "required");
    pod(&nodes, &cluster.admin, plain).unwrap();
}
