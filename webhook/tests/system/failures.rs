//! The webhook is down, or its configurations are gone.

use std::sync::MutexGuard;

use serde_json::json;

use crate::stage::{Space, Stage, eventually, labelled, plain};
use crate::templates;

/// A namespace with a pod that runs since the webhook was there.
fn with_pod<'a>(stage: &'a MutexGuard<'_, Stage>, name: &str, mode: &str) -> Space<'a> {
    let space = stage.namespace(name, mode);
    space.pod(&plain("running")).accepted();
    space
}

/// Running pods live on: labels, finalizers and conditions change.
#[track_caller]
fn lives_on(space: &Space<'_>) {
    space.kubectl("label pod running moved=yes --overwrite").accepted();
    let finalizers = |list: serde_json::Value| {
        space.stage.patch(&space.path("pods/running"), &json!({"metadata": {"finalizers": list}})).accepted();
    };
    finalizers(json!(["example.com/hold"]));
    finalizers(json!(null));
    let status = json!({"status": {"phase": "Running"}});
    space.stage.patch(&space.path("pods/running/status"), &status).accepted();
}

#[test]
fn while_the_webhook_is_down_pods_that_want_it_are_refused_by_name_and_everything_else_goes_on() {
    let mut stage = Stage::alone();
    let names = [("enabled", "down-enabled"), ("required", "down-required")];
    for (mode, name) in names {
        with_pod(&stage, name, mode);
    }
    stage.end_all();
    for (mode, name) in names {
        let space = Space { stage: &stage, name: name.to_owned() };
        let answer = space.pod(&plain("new"));
        answer.refused_with(&[
            &format!("failed calling webhook \"{mode}.inject.sandgate.dev\""),
            &format!("https://sandgate-webhook.sandgate-system.svc:{}/mutate/{mode}", stage.service.port),
        ]);
        assert_eq!(answer.status, 500);
        lives_on(&space);
        let debug = space.kubectl("debug pod/running --image=busybox --attach=false --profile=restricted");
        debug.refused_with(&["failed calling webhook"]);
        // Templates wait for nobody, and so does an ordinary ConfigMap.
        let deployment = templates::deployment("any", "containers: [{name: workload, image: busybox}]");
        space.kubectl_with("apply -f -", &deployment).accepted();
        space.kubectl("create configmap ordinary").accepted();
        space.kubectl("create configmap sandgate-policy").refused_with(&["policies.validate.sandgate.dev"]);
        space.kubectl("delete pod running --force").accepted();
    }
    for name in ["kube-system", "down-unlabelled"] {
        if name != "kube-system" {
            stage.namespace(name, "");
        }
        let space = Space { stage: &stage, name: name.to_owned() };
        space.pod(&labelled("free", if name == "kube-system" { "true" } else { "false" })).accepted();
        space.kubectl("delete pod free --force").accepted();
    }
}

#[test]
fn without_the_mutating_configuration_a_pod_without_a_genuine_sidecar_does_not_get_in() {
    let stage = Stage::alone();
    let required = with_pod(&stage, "unmutated-required", "required");
    let enabled = with_pod(&stage, "unmutated-enabled", "enabled");
    stage.admin.run("delete mutatingwebhookconfiguration sandgate-webhook").accepted();
    eventually("nobody puts the sidecar in", || {
        let answer = enabled.create("pods?dryRun=All", &plain("new"));
        let sidecar = answer.is_accepted() && answer.body["spec"].get("initContainers").is_some();
        if answer.is_accepted() && !sidecar { Ok(()) } else { Err(answer.message().to_owned()) }
    });
    required.pod(&plain("new")).refused_with(&["sidecar-present.sandgate.dev", "the Sandgate webhook did not run"]);
    let answer = enabled.pod(&plain("new"));
    assert!(answer.is_accepted() && answer.warned().contains("webhook was not called"), "{}", answer.warned());
    // The admission policy looks for the name, and the webhook that still validates at everything else.
    let mut forged = plain("forged");
    forged["spec"]["initContainers"] = json!([{"name": "auth-proxy", "image": "busybox", "restartPolicy": "Always"}]);
    for (space, mode) in [(&required, "required"), (&enabled, "enabled")] {
        let called = format!("\"{mode}.validate.sandgate.dev\" denied the request");
        space.pod(&forged).refused_with(&[&called, "is not the sidecar that Sandgate makes"]);
    }
    lives_on(&required);
}

#[test]
fn without_the_webhook_configurations_required_namespaces_are_kept_by_the_admission_policies() {
    let stage = Stage::alone();
    let required = with_pod(&stage, "gone-required", "required");
    let enabled = with_pod(&stage, "gone-enabled", "enabled");
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        stage.admin.run(&format!("delete {kind} sandgate-webhook")).accepted();
    }
    eventually("nobody is called", || {
        let answer = enabled.create("pods?dryRun=All", &plain("new"));
        let sidecar = answer.is_accepted() && answer.body["spec"].get("initContainers").is_some();
        if answer.is_accepted() && !sidecar { Ok(()) } else { Err(answer.message().to_owned()) }
    });
    eventually("the other configuration is gone too", || {
        let answer = required.pod(&plain("new"));
        let message = answer.refused().to_owned();
        if message.contains("sidecar-present.sandgate.dev") { Ok(()) } else { Err(message) }
    });
    required.pod(&plain("new")).refused_with(&[
        "the Sandgate webhook did not run",
        "namespace gone-required requires",
        "Ask a cluster admin",
        "kubectl apply -k",
    ]);
    enabled.pod(&plain("new")).accepted();
    lives_on(&required);
    let image = required.kubectl("set image pod/running auth-proxy=other");
    image.refused_with(&["the sidecar auth-proxy of a running pod can't be changed"]);
    required.kubectl("set image pod/running workload=busybox:2").accepted();
    let target = "debug pod/running --image=busybox --attach=false --profile=restricted --target=auth-proxy";
    required.kubectl(target).refused_with(&["an ephemeral container can't target auth-proxy"]);
    required.kubectl("exec running -c auth-proxy -- true").refused_with(&["nobody enters the sidecar"]);
    required.kubectl("delete pod running --force").accepted();
}
