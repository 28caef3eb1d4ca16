//! Namespaces with more of Kubernetes' own controls: Pod Security, quota, limits.

use sandgate_kind_test::kubectl::kubectl;
use sandgate_kind_test::objects::{container, pod, pod_of, with};
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::{container_of, is_injected};
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::eventually;
use serde_json::{Value, json};

pub(crate) const TESTS: &[Test] = tests!(Shared:
    pod_security_restricted_admits_an_injected_pod_that_runs,
    a_quota_and_a_limit_range_admit_the_examples_sandboxes_and_count_the_sidecar,
    a_guaranteed_pod_stays_guaranteed,
    resources_of_a_whole_pod_are_raised_by_the_sidecars_and_it_runs,
    the_workload_can_be_resized_and_the_sidecar_can_not,
    an_in_cluster_client_reaches_the_api_server_where_it_is_direct_and_not_where_it_is_refused,
);

fn ask() -> String {
    format!("curl -sS https://{}/zen", Origins::shared().allowed())
}

/// What Pod Security "restricted" asks of a container.
fn restricted(name: &str) -> Value {
    with(
        container(name),
        &json!({"securityContext": {
            "allowPrivilegeEscalation": false, "runAsNonRoot": true, "runAsUser": 1000,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
        }}),
    )
}

fn pod_security_restricted_admits_an_injected_pod_that_runs(stage: &Stage) {
    let space = stage.namespace("required");
    let enforce = ["label", "namespace", &space.name, "pod-security.kubernetes.io/enforce=restricted"];
    let _labelled = kubectl(&enforce, "").accepted();
    // It holds: a pod that says nothing is refused by it, not by the webhook.
    space.try_apply(&pod("plain")).refused_with(&["violates PodSecurity \"restricted"]);
    let pod = space.start(&pod_of("one", json!({"containers": [restricted("workload")]})));
    assert!(is_injected(&pod));
    assert_eq!(space.sh("one", &ask()).accepted().output, "Keep it logically awesome.");
}

fn a_quota_and_a_limit_range_admit_the_examples_sandboxes_and_count_the_sidecar(stage: &Stage) {
    let space = stage.namespace("required");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/examples/required-namespace/limits.yaml");
    let _applied = space.kubectl(&format!("apply -f {example}")).accepted();
    eventually("the quota is counted", || {
        let quota = space.get("resourcequotas/sandboxes").map_err(|refusal| refusal.message)?;
        if quota["status"]["used"]["pods"].is_string() { Ok(()) } else { Err(quota.to_string()) }
    });
    let injected = space.start(&pod("one"));
    // The LimitRange fills in the workload and leaves the sidecar as it is.
    assert_eq!(container_of(&injected, "workload")["resources"]["limits"]["memory"], "2Gi");
    assert_eq!(container_of(&injected, "auth-proxy")["resources"]["limits"]["memory"], "128Mi");
    eventually("the quota counts both", || {
        let used = space.get("resourcequotas/sandboxes").unwrap()["status"]["used"]["limits.memory"].take();
        if used == "2176Mi" { Ok(()) } else { Err(used.to_string()) }
    });
    let _tight = space.kubectl("create quota tight --hard=limits.memory=3Gi").accepted();
    eventually("a pod too many is refused as docs/webhook.md shows it", || {
        let printed = space.kubectl_with("create --dry-run=server -f -", &pod("two").to_string());
        if printed.errors.contains("exceeded quota: tight, requested: limits.memory=2176Mi, used: limits.memory=2176Mi")
        {
            Ok(())
        } else {
            Err(format!("{printed:?}"))
        }
    });
}

fn a_guaranteed_pod_stays_guaranteed(stage: &Stage) {
    let space = stage.namespace("required");
    let mut guaranteed = pod("one");
    let same = json!({"cpu": "100m", "memory": "64Mi"});
    guaranteed["spec"]["containers"][0]["resources"] = json!({"requests": same, "limits": same});
    assert_eq!(space.start(&guaranteed)["status"]["qosClass"], "Guaranteed");
}

fn resources_of_a_whole_pod_are_raised_by_the_sidecars_and_it_runs(stage: &Stage) {
    let space = stage.namespace("required");
    let own = json!({"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}});
    let printed = space.try_apply(&with(pod("one"), &json!({"spec": {"resources": own}}))).accepted();
    printed.says(&["spec.resources"]);
    let raised = space.ready("one")["spec"]["resources"].take();
    // 96 and 256 MiB.
    assert_eq!(raised["requests"], json!({"cpu": "30m", "memory": "100663296"}));
    assert_eq!(raised["limits"], json!({"cpu": "1500m", "memory": "268435456"}));
}

fn the_workload_can_be_resized_and_the_sidecar_can_not(stage: &Stage) {
    let space = stage.namespace("required");
    let mut one = pod("one");
    one["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "20m"}, "limits": {"cpu": "200m"}});
    space.start(&one);
    let resize = |list: &str, name: &str| {
        let container = json!([{"name": name, "resources": {"limits": {"cpu": "300m"}}}]);
        let patch = json!({"spec": {list: container}}).to_string();
        kubectl(&["-n", &space.name, "patch", "pod", "one", "--subresource=resize", "-p", &patch], "")
    };
    let _resized = resize("containers", "workload").accepted();
    eventually("the workload has its new limit", || {
        let quota = space.sh("one", "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null");
        if quota.output.contains("30000") { Ok(()) } else { Err(quota.output) }
    });
    resize("initContainers", "auth-proxy").refused_with(&["sidecar auth-proxy of a running pod can't be changed"]);
}

fn an_in_cluster_client_reaches_the_api_server_where_it_is_direct_and_not_where_it_is_refused(stage: &Stage) {
    let script = "curl -sS --cacert /var/run/secrets/kubernetes.io/serviceaccount/ca.crt \
        https://$KUBERNETES_SERVICE_HOST/version 2>&1; echo \" $NO_PROXY\"";
    for (mode, reached) in [("enabled", true), ("required", false)] {
        let space = stage.namespace(mode);
        let start = space.start(&pod("one"));
        let printed = space.sh("one", script).accepted().output;
        assert_eq!(printed.contains("gitVersion"), reached, "{mode}: {printed}");
        assert_eq!(printed.contains("403"), !reached, "{mode}: {printed}");
        assert!(!printed.contains("$(KUBERNETES_SERVICE_HOST)"), "{printed}");
        assert!(is_injected(&start));
    }
}
