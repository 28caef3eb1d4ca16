//! Ways around the sidecar that are open until egress is enforced in the pod's network namespace.

use sandgate_kind_test::objects::pod;
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;

pub(crate) const TESTS: &[Test] = tests!(Shared:
    open_until_egress_is_enforced_a_direct_connection_goes_around_the_sidecar,
);

/// This test says what does not hold yet. Whoever enforces egress turns it round.
fn open_until_egress_is_enforced_a_direct_connection_goes_around_the_sidecar(stage: &Stage) {
    let space = stage.namespace("required");
    let applied = space.try_apply(&pod("one")).accepted();
    applied
        .says(&["egress is advisory: a program that ignores the proxy variables can still reach the network directly"]);
    let status = space.ready("one")["metadata"]["annotations"]["sandgate.dev/status"].take();
    assert!(status.as_str().unwrap().contains("\"egress\":\"advisory\""), "{status}");
    let origins = Origins::shared();
    let host = origins.elsewhere();
    let through = space.sh("one", &format!("curl -sS http://{host}/around-through-the-proxy")).accepted();
    through.shows(&["host_not_allowed"]);
    let direct = space.sh("one", &format!("env -u http_proxy curl -sS http://{host}/around-directly")).accepted();
    direct.shows(&["no route"]);
    let requests = origins.requests("elsewhere");
    assert!(requests.contains("around-directly") && !requests.contains("around-through"), "{requests}");
}
