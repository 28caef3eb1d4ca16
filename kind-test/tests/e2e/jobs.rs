//! Pods that controllers make: they end, roll and restart as they would without a sidecar.

use std::time::{Duration, Instant};

use sandgate_kind_test::node::kill_sidecar;
use sandgate_kind_test::objects::{WORKLOAD_IMAGE, container, pod, pod_running, running};
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::{is_injected, status_of};
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::eventually;
use serde_json::{Value, json};

pub(crate) const TESTS: &[Test] = tests!(Shared:
    a_job_ends_and_its_pod_with_it,
    a_job_that_fails_fails,
    a_cron_job_ends,
    a_deployment_rolls_from_one_version_to_the_next,
    a_pod_that_is_deleted_ends_within_its_grace_period,
    a_sidecar_that_crashes_is_restarted_under_restart_policy_never_with_the_same_ca,
    the_sidecar_outlives_the_workload_that_says_goodbye,
);

fn ask() -> String {
    format!("curl -sS https://{}/zen", Origins::shared().allowed())
}

/// The template of pods that run a script once.
fn once(script: &str) -> Value {
    json!({"spec": {"restartPolicy": "Never", "containers": [running("workload", script)]}})
}

fn job(name: &str, script: &str) -> Value {
    let spec = json!({"backoffLimit": 0, "template": once(script)});
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})
}

fn a_job_ends_and_its_pod_with_it(stage: &Stage) {
    let space = stage.namespace("required");
    space.apply(&job("one", &ask()));
    let _complete = space.kubectl("wait --for=condition=Complete job/one --timeout=120s").accepted();
    let pods = space.pods("job-name=one");
    let [pod] = &pods[..] else { panic!("one pod: {pods:?}") };
    assert!(is_injected(pod));
    assert_eq!(pod["status"]["phase"], "Succeeded");
    let ended = &status_of(pod, "auth-proxy")["state"]["terminated"];
    assert_eq!(ended["exitCode"], 0, "{ended}");
    let name = pod["metadata"]["name"].as_str().unwrap();
    assert_eq!(space.logs(name, "workload"), "Keep it logically awesome.");
}

fn a_job_that_fails_fails(stage: &Stage) {
    let space = stage.namespace("required");
    space.apply(&job("one", &format!("{} && exit 7", ask())));
    let _failed = space.kubectl("wait --for=condition=Failed job/one --timeout=120s").accepted();
    let pod = &space.pods("job-name=one")[0];
    assert_eq!(pod["status"]["phase"], "Failed");
    assert_eq!(status_of(pod, "workload")["state"]["terminated"]["exitCode"], 7);
}

fn a_cron_job_ends(stage: &Stage) {
    let space = stage.namespace("enabled");
    let mut job = job("unused", &ask());
    let template = json!({"spec": job["spec"].take()});
    space.apply(&json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "minutely"},
        "spec": {"schedule": "* * * * *", "jobTemplate": template}}));
    let name = eventually("the CronJob has a Job that succeeded", || {
        let jobs = sandgate_kind_test::api::get(&format!("/apis/batch/v1/namespaces/{}/jobs", space.name)).unwrap();
        let jobs = jobs["items"].as_array().unwrap();
        let done = jobs.iter().find(|job| job["status"]["succeeded"] == 1);
        done.map(|job| job["metadata"]["name"].as_str().unwrap().to_owned()).ok_or(format!("{jobs:?}"))
    });
    assert!(is_injected(&space.pods(&format!("job-name={name}"))[0]));
}

fn a_deployment_rolls_from_one_version_to_the_next(stage: &Stage) {
    let space = stage.namespace("required");
    let deployment = |version: &str| {
        let mut workload = container("workload");
        workload["env"] = json!([{"name": "VERSION", "value": version}]);
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app"}, "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "app"}},
            "template": {"metadata": {"labels": {"app": "app"}}, "spec": {"containers": [workload]}},
        }})
    };
    for version in ["1", "2"] {
        space.apply(&deployment(version));
        let _rolled = space.kubectl("rollout status deployment/app --timeout=180s").accepted();
    }
    let pods = eventually("the old pods are gone", || {
        let pods = space.pods("app=app");
        if pods.len() == 2 { Ok(pods) } else { Err(format!("{} pods", pods.len())) }
    });
    for pod in pods {
        assert!(is_injected(&pod));
        let printed = space.sh(pod["metadata"]["name"].as_str().unwrap(), &format!("echo $VERSION; {}", ask()));
        assert_eq!(printed.accepted().output, "2\nKeep it logically awesome.");
    }
}

fn a_pod_that_is_deleted_ends_within_its_grace_period(stage: &Stage) {
    let space = stage.namespace("required");
    let mut patient = pod("one");
    patient["spec"]["terminationGracePeriodSeconds"] = 20.into();
    space.start(&patient);
    // A download that is open holds the sidecar no longer than the grace period.
    let open = format!("(curl -sSN https://{}/stall-body >/dev/null 2>&1 &) ; sleep 1", Origins::shared().allowed());
    let _open = space.sh("one", &open).accepted();
    let start = Instant::now();
    let _deleted = space.kubectl("delete pod one --wait=false").accepted();
    space.gone("one", Duration::from_secs(22));
    // The workload ends at once, and the sidecar drains.
    assert!(start.elapsed() < Duration::from_secs(22), "{:?}", start.elapsed());
}

fn a_sidecar_that_crashes_is_restarted_under_restart_policy_never_with_the_same_ca(stage: &Stage) {
    let space = stage.namespace("required");
    let mut one = pod("one");
    one["spec"]["restartPolicy"] = "Never".into();
    let pod = space.start(&one);
    let fingerprint = "openssl x509 -in /etc/proxy-ca/ca.crt -noout -fingerprint";
    let before = space.sh("one", fingerprint).accepted().output;
    kill_sidecar(stage, &pod);
    eventually("the sidecar was restarted", || {
        let status = status_of(&space.pod("one"), "auth-proxy");
        if status["restartCount"] == 1 && status["ready"] == true { Ok(()) } else { Err(status.to_string()) }
    });
    let printed = space.sh("one", &format!("{fingerprint}; {}", ask())).accepted();
    assert_eq!(printed.output, format!("{before}\nKeep it logically awesome."));
    assert_eq!(status_of(&space.pod("one"), "workload")["restartCount"], 0);
    assert_eq!(status_of(&space.pod("one"), "auth-proxy")["lastState"]["terminated"]["exitCode"], 137);
}

fn the_sidecar_outlives_the_workload_that_says_goodbye(stage: &Stage) {
    let space = stage.namespace("required");
    let script = format!("trap '{} >/dev/termination-log; exit 0' TERM; while :; do sleep 1 & wait $!; done", ask());
    let mut polite = pod_running("one", &script);
    assert_eq!(polite["spec"]["containers"][0]["image"], WORKLOAD_IMAGE);
    // With a finalizer the pod stays when it has ended, and so does its status.
    polite["metadata"]["finalizers"] = json!(["example.com/read-it"]);
    space.start(&polite);
    let _deleted = space.kubectl("delete pod one --wait=false").accepted();
    space.ended("one", "Succeeded");
    // The kubelet removes the logs of a pod that is deleted as soon as it has ended.
    let ended = space.pod("one");
    let _let_go = sandgate_kind_test::api::merge(&space.path("pods/one"), &json!({"metadata": {"finalizers": null}}));
    assert_eq!(status_of(&ended, "workload")["state"]["terminated"]["message"], "Keep it logically awesome.\n");
    assert_eq!(status_of(&ended, "auth-proxy")["state"]["terminated"]["exitCode"], 0);
}
