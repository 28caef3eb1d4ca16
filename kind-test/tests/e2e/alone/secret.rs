//! `ca.mode: secret`: the sidecars of a namespace share the CA of its Secret.

use sandgate_kind_test::objects::pod;
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::sandgate::configured;
use sandgate_kind_test::space::{Space, status_of};
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::eventually;
use sandgate_testkit::pki::TestCa;
use serde_json::json;

pub(crate) const TESTS: &[Test] = tests!(Exclusive:
    with_the_ca_of_a_secret_pods_share_it_and_those_without_one_say_what_is_missing,
);

fn with_the_ca_of_a_secret_pods_share_it_and_those_without_one_say_what_is_missing(stage: &Stage) {
    let shared = stage.namespace("required");
    let ca = TestCa::named("Shared CA of a namespace");
    shared.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sandbox-proxy-ca"},
        "type": "kubernetes.io/tls", "stringData": {"tls.crt": ca.root_pem(), "tls.key": ca.key_pem()}}));
    let missing = stage.namespace("required");
    let enabled = stage.namespace("enabled");
    configured("ca: {mode: secret}\n", || {
        for name in ["one", "two"] {
            shared.start(&pod(name));
            let ask = format!("curl -sSv https://{}/zen 2>&1", Origins::shared().allowed());
            shared.sh(name, &ask).accepted().shows(&["Shared CA of a namespace", "Keep it logically awesome."]);
            let search = shared.sh(name, "grep -rs 'PRIVATE KEY' /etc/proxy-ca /run /certs; true").accepted();
            assert_eq!(search.output, "");
        }
        says_what_is_missing(&missing);
        enabled.try_apply(&pod("one")).refused_with(&["ca.mode", "secret", "required"]);
    });
}

/// The pod starts, nothing gets out, and the sidecar names the Secret.
fn says_what_is_missing(space: &Space) {
    space.apply(&pod("one"));
    eventually("the sidecar names the Secret", || {
        let log = space.sidecar_logs("one");
        if log.contains("sandbox-proxy-ca") { Ok(()) } else { Err(log) }
    });
    eventually("the workload runs", || {
        let status = status_of(&space.pod("one"), "workload");
        if status["state"]["running"].is_object() { Ok(()) } else { Err(status.to_string()) }
    });
    let ask = format!("curl -sS https://{}/zen", Origins::shared().allowed());
    assert!(!space.sh("one", &ask).succeeded);
}
