//! What the kernel grants a user is one for all pods of a node, and a root workload may be any user: SECURITY.md.

use sandgate_kind_test::objects::{pod, pod_running, with};
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::status_of;
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use serde_json::json;

pub(crate) const TESTS: &[Test] = tests!(Shared:
    a_workload_with_a_bound_on_its_memory_can_not_take_all_watches_of_the_sidecars_user,
);

/// Its memory is counted, some 200 bytes a watch: it ends long before it has those of a machine with 8 GiB, and gives them
/// back. Without a bound it would take them all, and every sidecar of the node with it, so that is not shown here.
fn a_workload_with_a_bound_on_its_memory_can_not_take_all_watches_of_the_sidecars_user(stage: &Stage) {
    let [victim, attacker] = ["required", "enabled"].map(|mode| stage.namespace(mode));
    let victims = victim.start(&pod("one"));
    let uid = &victims["spec"]["initContainers"][0]["securityContext"]["runAsUser"];
    let bound = json!([{"name": "workload", "image": sandgate_kind_test::objects::WORKLOAD_IMAGE,
        "imagePullPolicy": "IfNotPresent", "command": ["take-watches", uid.to_string()],
        "resources": {"limits": {"memory": "192Mi"}}}]);
    attacker.apply(&with(pod_running("taker", ""), &json!({"spec": {"containers": bound}})));
    attacker.ended("taker", "Failed");
    let ended = status_of(&attacker.pod("taker"), "workload");
    assert_eq!(ended["state"]["terminated"]["reason"], "OOMKilled", "{ended}");
    let taken: u64 = attacker.logs("taker", "workload").lines().last().unwrap().parse().unwrap();
    assert!(taken > 100_000, "{taken}");
    let ask = format!("curl -sS https://{}/zen", Origins::shared().allowed());
    assert_eq!(victim.sh("one", &ask).accepted().output, "Keep it logically awesome.");
    assert_eq!(status_of(&victim.pod("one"), "auth-proxy")["restartCount"], 0);
}
