//! The policy of pods that run.

use std::time::Duration;

use sandgate_kind_test::kubectl::kubectl;
use sandgate_kind_test::objects::pod;
use sandgate_kind_test::origins::{Origins, PRIVATE};
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::{Space, status_of};
use sandgate_kind_test::stage::{Stage, config_map};
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::within;
use serde_json::json;

pub(crate) const TESTS: &[Test] = tests!(Shared:
    a_change_of_the_policy_reaches_a_running_pod_and_its_deletion_denies_everything,
    a_pod_may_name_another_policy_where_its_namespace_lets_it,
);

/// The kubelet's sync is about a minute; the machine may be busy.
const SYNC: Duration = Duration::from_secs(150);

/// What the sidecar says to a request in the clear: the body, and the status at its end.
fn answer(space: &Space, pod: &str, host: &str) -> String {
    space.sh(pod, &format!("curl -sS -w ' %{{http_code}}' http://{host}/zen")).accepted().output
}

#[track_caller]
fn becomes(space: &Space, pod: &str, host: &str, text: &str) {
    within(SYNC, &format!("{host} answers {text}"), || {
        let answer = answer(space, pod, host);
        if answer.contains(text) { Ok(()) } else { Err(answer) }
    });
}

fn a_change_of_the_policy_reaches_a_running_pod_and_its_deletion_denies_everything(stage: &Stage) {
    let space = stage.namespace("required");
    let origins = Origins::shared();
    let (allowed, elsewhere) = (origins.allowed(), origins.elsewhere());
    space.start(&pod("one"));
    assert!(answer(&space, "one", &allowed).ends_with(" 200"));
    assert!(answer(&space, "one", &elsewhere).ends_with(" 403"));
    let other = format!(
        "version: 1\ndestinations:\n - {{id: other, host: {elsewhere}, scheme: http, private_cidrs: {PRIVATE}}}\n"
    );
    space.apply(&config_map("sandgate-policy", "policy.yaml", &other));
    becomes(&space, "one", &elsewhere, " 200");
    assert!(answer(&space, "one", &allowed).contains("host_not_allowed"));
    let _deleted = space.kubectl("delete configmap sandgate-policy").accepted();
    becomes(&space, "one", &elsewhere, " 403");
    let status = space.pod("one");
    for container in ["workload", "auth-proxy"] {
        assert_eq!(status_of(&status, container)["restartCount"], 0, "{container}");
    }
}

fn a_pod_may_name_another_policy_where_its_namespace_lets_it(stage: &Stage) {
    let space = stage.namespace("required");
    let annotate = ["annotate", "namespace", &space.name, "sandgate.dev/pod-policy=allowed"];
    let _annotated = kubectl(&annotate, "").accepted();
    space.apply(&config_map("closed", "policy.yaml", "version: 1\ndestinations: []\n"));
    let mut one = pod("one");
    one["metadata"]["annotations"] = json!({"sandgate.dev/policy": "closed"});
    within(SYNC, "the webhook has heard of the annotation", || {
        let printed = space.try_apply(&one);
        if printed.succeeded { Ok(()) } else { Err(printed.errors) }
    });
    space.ready("one");
    assert!(answer(&space, "one", &Origins::shared().allowed()).ends_with(" 403"));
}
