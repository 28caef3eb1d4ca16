//! `kubectl apply` of what makes pods.

use crate::stage::Stage;

/// A Deployment whose pods are like this.
pub(crate) fn deployment(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{a: b}}}}\n  \
         template:\n    metadata: {{labels: {{a: b}}}}\n    spec: {{{spec}}}\n"
    )
}

const ORDINARY: &str = "containers: [{name: workload, image: busybox}]";
const OWN_PROXY: &str =
    "containers: [{name: workload, image: busybox, env: [{name: HTTPS_PROXY, value: 'http://own:1'}]}]";
const HOST: &str = "hostNetwork: true, containers: [{name: workload, image: busybox}]";

#[test]
fn kubectl_apply_of_a_deployment_prints_the_warnings_of_its_pods() {
    let stage = Stage::shared();
    let space = stage.namespace("templates-enabled", "enabled");
    let printed = space.kubectl_with("apply -f -", &deployment("ordinary", ORDINARY)).accepted();
    assert_eq!(printed.errors, "");
    let printed = space.kubectl_with("apply -f -", &deployment("own-proxy", OWN_PROXY)).accepted();
    crate::answer::contains(&printed.errors, &["Warning: container \"workload\" keeps its own", "HTTPS_PROXY"]);
    let printed = space.kubectl_with("apply -f -", &deployment("host", HOST)).accepted();
    crate::answer::contains(&printed.errors, &["Warning: no sidecar: the pod uses the node's network"]);
    let space = stage.namespace("templates-required", "required");
    let printed = space.kubectl_with("apply -f -", &deployment("own-proxy", OWN_PROXY)).accepted();
    crate::answer::contains(&printed.errors, &["replaced its own", "Warning: egress is advisory"]);
}

#[test]
fn kubectl_apply_of_a_deployment_whose_pods_will_be_refused_says_so_and_is_accepted() {
    let space = Stage::shared().namespace("templates-refused", "required");
    let printed = space.kubectl_with("apply -f -", &deployment("host", HOST)).accepted();
    crate::answer::contains(&printed.errors, &["Warning: pods will be refused: the pod uses the node's network"]);
    assert_eq!(printed.output, "deployment.apps/host created");
    let job = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: host}\nspec:\n  schedule: '* * * * *'\n  jobTemplate:\n    \
               spec: {template: {spec: {restartPolicy: Never, shareProcessNamespace: true, containers: [{name: c, image: c}]}}}\n";
    let printed = space.kubectl_with("apply -f -", job).accepted();
    crate::answer::contains(&printed.errors, &["Warning: pods will be refused: ", "shareProcessNamespace"]);
    let misspelt = Stage::shared().namespace("templates-invalid", "Enabled");
    let printed = misspelt.kubectl_with("apply -f -", &deployment("ordinary", ORDINARY)).accepted();
    crate::answer::contains(&printed.errors, &["pods will be refused: the label sandgate.dev/inject of namespace"]);
}
