//! What passes the sidecar of a running pod, and what does not.

use sandgate_kind_test::objects::pod;
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;

pub(crate) const TESTS: &[Test] = tests!(Shared:
    curl_without_a_flag_reaches_an_allowed_origin_through_the_sidecar,
    a_refused_host_gets_403_and_the_reason_as_json,
);

fn curl_without_a_flag_reaches_an_allowed_origin_through_the_sidecar(stage: &Stage) {
    let space = stage.namespace("required");
    space.start(&pod("one"));
    let host = Origins::shared().allowed();
    let printed = space.sh("one", &format!("curl -sS https://{host}/zen")).accepted();
    assert_eq!(printed.output, "Keep it logically awesome.");
    // The certificate that curl sees is the sidecar's, and the sidecar accounts for the request.
    let issuer = format!("curl -sSv https://{host}/echo 2>&1 | grep -i issuer:");
    space.sh("one", &issuer).accepted().shows(&["Sandgate"]);
    let log = space.sidecar_logs("one");
    assert!(
        log.lines().any(|line| line.contains("\"path\":\"/zen\"") && line.contains("\"verdict\":\"allowed\"")),
        "{log}"
    );
    let plain = space.sh("one", &format!("curl -sS http://{host}/zen")).accepted();
    assert_eq!(plain.output, "Keep it logically awesome.");
}

fn a_refused_host_gets_403_and_the_reason_as_json(stage: &Stage) {
    let space = stage.namespace("required");
    space.start(&pod("one"));
    let origins = Origins::shared();
    let host = origins.elsewhere();
    let tunnel = space.sh("one", &format!("curl -sS https://{host}/tunnel-that-is-refused"));
    tunnel.refused_with(&["CONNECT tunnel failed, response 403"]);
    let plain =
        space.sh("one", &format!("curl -sS -w ' %{{http_code}}' http://{host}/plain-that-is-refused")).accepted();
    plain.shows(&["\"error\":\"host_not_allowed\"", &format!("\"host\":\"{host}:80\""), " 403"]);
    assert!(!origins.requests("elsewhere").contains("that-is-refused"));
}
