//! The manifests come and go: applied twice, deleted, and applied from nothing.

use sandgate_kind_test::api;
use sandgate_kind_test::kubectl::kubectl;
use sandgate_kind_test::objects::pod;
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::sandgate::{self, disturbed, manifests};
use sandgate_kind_test::space::is_injected;
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;

pub(crate) const TESTS: &[Test] = tests!(Exclusive:
    applying_the_manifests_again_changes_nothing,
    deleted_manifests_leave_a_cluster_as_before_and_applied_from_nothing_they_get_ready,
);

fn applying_the_manifests_again_changes_nothing(stage: &Stage) {
    let space = stage.namespace("required");
    disturbed(|| {
        let before = sandgate::ca_bundles().unwrap();
        let generation = || {
            let path = "/apis/apps/v1/namespaces/sandgate-system/deployments/sandgate-webhook";
            api::get(path).unwrap()["metadata"]["generation"].take()
        };
        let was = generation();
        let printed = manifests("apply").accepted();
        let changed: Vec<&str> = printed.output.lines().filter(|line| !line.ends_with(" unchanged")).collect();
        // kubectl says "configured" of webhook configurations and policies whose defaults the API server wrote; their
        // caBundles stay.
        assert!(!changed.iter().any(|line| line.contains(" created")), "{changed:?}");
        assert_eq!(sandgate::ca_bundles().unwrap(), before);
        assert_eq!(generation(), was);
        assert!(is_injected(&space.start(&pod("one"))));
    });
}

fn deleted_manifests_leave_a_cluster_as_before_and_applied_from_nothing_they_get_ready(stage: &Stage) {
    let space = stage.namespace("required");
    space.start(&pod("before"));
    disturbed(|| {
        let _deleted = manifests("delete").accepted();
        assert_eq!(api::get("/api/v1/namespaces/sandgate-system").unwrap_err().code, 404);
        // Pods are created as before Sandgate, in labelled namespaces too; those that run have their sidecar.
        assert!(!is_injected(&space.start(&pod("without"))));
        let ask = format!("curl -sS https://{}/zen", Origins::shared().allowed());
        assert_eq!(space.sh("before", &ask).accepted().output, "Keep it logically awesome.");
        let left = kubectl(&["get", "validatingadmissionpolicies,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations", "-o", "name"], "").accepted();
        assert!(!left.output.contains("sandgate"), "{}", left.output);
        // From nothing: what is applied together gets ready by itself.
        let _applied = manifests("apply").accepted();
        sandgate::wait_until_ready();
        assert!(is_injected(&space.start(&pod("after"))));
        assert_eq!(space.sh("after", &ask).accepted().output, "Keep it logically awesome.");
    });
}
