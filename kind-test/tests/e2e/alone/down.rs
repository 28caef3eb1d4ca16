//! The webhook is down, or its configurations are gone.

use std::time::{Duration, Instant};

use sandgate_kind_test::api;
use sandgate_kind_test::kubectl::kubectl;
use sandgate_kind_test::objects::{labelled, pod};
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::sandgate::{self, disturbed, replicas, system};
use sandgate_kind_test::space::{Space, is_injected};
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::eventually;

pub(crate) const TESTS: &[Test] = tests!(Exclusive:
    while_the_webhook_is_down_labelled_namespaces_fail_closed_and_all_others_are_untouched,
    with_all_replicas_gone_the_cluster_recovers_and_the_webhook_starts_again,
    while_the_configurations_are_gone_required_namespaces_are_kept_by_the_admission_policies,
);

/// A namespace with a pod that runs since the webhook was there.
fn with_pod(stage: &Stage, mode: &str) -> Space {
    let space = stage.namespace(mode);
    space.start(&pod("running"));
    space
}

/// What runs goes on: its traffic, labels, logs, exec, and its end.
#[track_caller]
fn lives_on(space: &Space) {
    let ask = format!("curl -sS https://{}/zen", Origins::shared().allowed());
    assert_eq!(space.sh("running", &ask).accepted().output, "Keep it logically awesome.");
    let _labelled = space.kubectl("label pod running moved=yes --overwrite").accepted();
    for value in ["example.com/hold", ""] {
        let list: Vec<&str> = Some(value).filter(|value| !value.is_empty()).into_iter().collect();
        let patch = serde_json::json!({"metadata": {"finalizers": list}});
        api::merge(&space.path("pods/running"), &patch).unwrap();
    }
}

fn ends(space: &Space) {
    let _deleted = space.kubectl("delete pod running --wait=false").accepted();
    space.gone("running", Duration::from_secs(40));
}

fn stop_all() {
    let _scaled = system("scale deployment/sandgate-webhook --replicas=0").accepted();
    eventually("no replica is left", || {
        let left = replicas().len();
        if left == 0 { Ok(()) } else { Err(format!("{left} are")) }
    });
}

fn while_the_webhook_is_down_labelled_namespaces_fail_closed_and_all_others_are_untouched(stage: &Stage) {
    let labelled_spaces = ["enabled", "required"].map(|mode| (mode, with_pod(stage, mode)));
    let others = ["", "disabled"].map(|mode| stage.namespace(mode));
    disturbed(|| {
        stop_all();
        for (mode, space) in &labelled_spaces {
            let refused = space.try_apply(&pod("new"));
            refused.refused_with(&[&format!("failed calling webhook \"{mode}.inject.sandgate.dev\"")]);
            lives_on(space);
            let _ordinary = space.kubectl("create configmap ordinary").accepted();
            ends(space);
        }
        for space in &others {
            space.start(&pod("new"));
            space.start(&labelled(pod("declines"), "false"));
        }
        let _system = kubectl(&["-n", "kube-system", "create", "--dry-run=server", "-f", "-"], &pod("new").to_string())
            .accepted();
    });
    for (_, space) in &labelled_spaces {
        assert!(is_injected(&space.start(&pod("after"))));
    }
}

fn with_all_replicas_gone_the_cluster_recovers_and_the_webhook_starts_again(stage: &Stage) {
    let space = stage.namespace("required");
    disturbed(|| {
        let _killed = system("delete pods --all --force --grace-period=0").accepted();
        // The cluster's name server starts anew without anybody asking the webhook.
        let _dns = kubectl(&["-n", "kube-system", "delete", "pods", "-l", "k8s-app=kube-dns"], "").accepted();
        let status = ["-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s"];
        let _recovered = kubectl(&status, "").accepted();
        sandgate::wait_until_ready();
        assert!(is_injected(&space.start(&pod("one"))));
    });
}

fn while_the_configurations_are_gone_required_namespaces_are_kept_by_the_admission_policies(stage: &Stage) {
    let required = with_pod(stage, "required");
    let enabled = with_pod(stage, "enabled");
    disturbed(|| {
        for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
            api::delete(&sandgate::configuration_path(kind)).unwrap();
        }
        eventually("nobody is called", || {
            let printed = required.try_apply(&pod("new"));
            if printed.errors.contains("sidecar-present.sandgate.dev") { Ok(()) } else { Err(format!("{printed:?}")) }
        });
        required.try_apply(&pod("new")).refused_with(&["the Sandgate webhook did not run", "kubectl apply -k"]);
        required.kubectl("set image pod/running auth-proxy=other").refused_with(&["can't be changed"]);
        required
            .kubectl("exec running -c auth-proxy -- /sandgate-sidecar")
            .refused_with(&["nobody enters the sidecar"]);
        let target = "debug pod/running --image=sandgate/kind-workload:dev --attach=false --profile=restricted --target=auth-proxy";
        required.kubectl(target).refused_with(&["an ephemeral container can't target auth-proxy"]);
        lives_on(&required);
        assert!(!is_injected(&enabled.start(&pod("without"))), "enabled namespaces are not kept");
        // Without that policy, the pod would get in: it is the policy that keeps it out.
        let binding = "validatingadmissionpolicybinding/sidecar-present.sandgate.dev";
        let _unbound = kubectl(&["delete", binding], "").accepted();
        eventually("a pod without a sidecar gets in", || {
            let printed = required.try_apply(&pod("new"));
            if printed.succeeded { Ok(()) } else { Err(printed.errors) }
        });
        assert!(!is_injected(&required.ready("new")));
    });
    let start = Instant::now();
    assert!(is_injected(&required.start(&pod("after"))));
    assert!(start.elapsed() < Duration::from_secs(30));
}
