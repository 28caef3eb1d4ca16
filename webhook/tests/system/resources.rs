//! What the sidecar costs: quotas, limit ranges, classes of service, resources of the pod.

use serde_json::{Value, json};

use crate::stage::{Space, Stage, eventually, is_injected, plain};

fn with_resources(name: &str, requests: Value, limits: Value) -> Value {
    let mut pod = plain(name);
    pod["spec"]["containers"][0]["resources"] = json!({"requests": requests, "limits": limits});
    pod
}

/// A quota as its controller leaves it, which is not here.
fn quota(space: &Space<'_>, hard: Value) {
    let object = json!({"metadata": {"name": "quota"}, "spec": {"hard": hard}});
    space.create("resourcequotas", &object).accepted();
    let none: serde_json::Map<String, Value> =
        hard.as_object().unwrap().keys().map(|key| (key.clone(), "0".into())).collect();
    let status = json!({"status": {"hard": hard, "used": none}});
    space.stage.patch(&space.path("resourcequotas/quota/status"), &status).accepted();
}

#[test]
fn a_quota_counts_the_sidecar_and_names_what_is_missing() {
    let space = Stage::shared().namespace("quota", "required");
    // Room for the workload and one sidecar: 10m and 32Mi, 1 CPU and 128Mi.
    quota(
        &space,
        json!({"requests.cpu": "110m", "requests.memory": "96Mi", "limits.cpu": "2", "limits.memory": "256Mi"}),
    );
    let amounts = (json!({"cpu": "100m", "memory": "64Mi"}), json!({"cpu": "1", "memory": "128Mi"}));
    eventually("the quota is known", || {
        let answer = space.create("pods?dryRun=All", &plain("nothing"));
        if answer.is_accepted() { Err("a pod without amounts is accepted".to_owned()) } else { Ok(()) }
    });
    let refused = space.pod(&with_resources("large", json!({"cpu": "101m", "memory": "64Mi"}), amounts.1.clone()));
    refused.refused_with(&[
        "exceeded quota: quota, requested: ",
        "requests.cpu=111m",
        "limited: ",
        "requests.cpu=110m",
    ]);
    assert_eq!(refused.status, 403);
    is_injected(space.pod(&with_resources("fits", amounts.0.clone(), amounts.1.clone())).accepted());
    let second = space.pod(&with_resources("second", amounts.0, amounts.1));
    second.refused_with(&[
        "exceeded quota: quota",
        "requested: limits.cpu=2,limits.memory=256Mi",
        "used: limits.cpu=2",
        "limited: ",
    ]);
}

#[test]
fn a_limit_range_refuses_the_sidecar_by_its_amounts_until_the_namespaces_annotation_fits_it() {
    let stage = Stage::shared();
    let space = stage.namespace("limit-range", "required");
    let limits = json!([{"type": "Container", "max": {"cpu": "500m", "memory": "1Gi"}, "min": {"memory": "48Mi"},
        "default": {"cpu": "200m", "memory": "64Mi"}, "defaultRequest": {"cpu": "100m", "memory": "64Mi"}}]);
    let range = json!({"metadata": {"name": "limits"}, "spec": {"limits": limits}});
    space.create("limitranges", &range).accepted();
    eventually("the limit range is known", || {
        let answer = space.create("pods?dryRun=All", &plain("pod"));
        if answer.is_accepted() { Err("it is accepted".to_owned()) } else { Ok(()) }
    });
    let parts =
        ["maximum cpu usage per Container is 500m, but limit is 1", "minimum memory usage per Container is 48Mi"];
    space.pod(&plain("pod")).refused_with(&parts);
    let fitting = r#"{"requests":{"memory":"48Mi"},"limits":{"cpu":"500m"}}"#;
    let annotation = json!({"metadata": {"annotations": {"sandgate.dev/sidecar-resources": fitting}}});
    stage.patch("/api/v1/namespaces/limit-range", &annotation).accepted();
    let pod = eventually("the annotation is followed", || {
        let answer = space.create("pods?dryRun=All", &plain("pod"));
        if answer.is_accepted() { Ok(answer.body) } else { Err(answer.message().to_owned()) }
    });
    is_injected(&pod);
    // The workload's are the range's, the sidecar's are the annotation's.
    assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"], json!({"cpu": "200m", "memory": "64Mi"}));
    let expected = json!({"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}});
    assert_eq!(pod["spec"]["initContainers"][0]["resources"], expected);
}

#[test]
fn a_guaranteed_pod_stays_guaranteed_and_the_others_become_burstable() {
    let stage = Stage::shared();
    for mode in ["enabled", "required"] {
        let space = stage.namespace(&format!("classes-{mode}"), mode);
        let amounts = json!({"cpu": "500m", "memory": "64Mi"});
        let guaranteed = space.pod(&with_resources("guaranteed", amounts.clone(), amounts.clone()));
        assert_eq!(guaranteed.accepted()["status"]["qosClass"], "Guaranteed");
        is_injected(&guaranteed.body);
        let limits_alone = space.pod(&with_resources("limits", json!({}), amounts.clone()));
        assert_eq!(limits_alone.accepted()["status"]["qosClass"], "Guaranteed");
        let best_effort = space.pod(&plain("best-effort"));
        assert_eq!(best_effort.accepted()["status"]["qosClass"], "Burstable");
        let requests_alone = space.pod(&with_resources("burstable", amounts, json!({})));
        assert_eq!(requests_alone.accepted()["status"]["qosClass"], "Burstable");
    }
}

#[test]
fn resources_of_the_pod_are_raised_by_the_sidecars_and_stay_valid() {
    let space = Stage::shared().namespace("pod-level", "required");
    let mut pod = plain("burstable");
    pod["spec"]["resources"] =
        json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}});
    let answer = space.pod(&pod);
    let resources = &answer.accepted()["spec"]["resources"];
    assert_eq!(resources["requests"], json!({"cpu": "110m", "memory": (96 << 20).to_string()}));
    assert_eq!(resources["limits"], json!({"cpu": "1500m", "memory": (256 << 20).to_string()}));
    crate::answer::contains(&answer.warned(), &["spec.resources was raised for the sidecar"]);
    let mut pod = plain("guaranteed");
    let amounts = json!({"cpu": "500m", "memory": "128Mi"});
    pod["spec"]["resources"] = json!({"requests": amounts, "limits": amounts});
    let answer = space.pod(&pod);
    is_injected(answer.accepted());
    assert_eq!(answer.body["status"]["qosClass"], "Guaranteed");
}
