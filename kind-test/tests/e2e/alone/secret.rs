//! `ca.mode: secret`: the sidecars of a namespace share the CA of its Secret.

use std::time::Duration;

use sandgate_kind_test::objects::pod;
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::sandgate::configured;
use sandgate_kind_test::space::{Space, is_ready, status_of};
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::{eventually, within};
use sandgate_testkit::pki::TestCa;
use serde_json::{Value, json};

pub(crate) const TESTS: &[Test] = tests!(Exclusive:
    with_the_ca_of_a_secret_pods_share_it_and_those_without_one_wait_for_it,
);

/// The kubelet's back-off, and its sync of a Secret that was not there.
const BACK_OFF: Duration = Duration::from_secs(240);

fn with_the_ca_of_a_secret_pods_share_it_and_those_without_one_wait_for_it(stage: &Stage) {
    let shared = stage.namespace("required");
    let ca = TestCa::named("Shared CA of a namespace");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sandbox-proxy-ca"},
        "type": "kubernetes.io/tls", "stringData": {"tls.crt": ca.root_pem(), "tls.key": ca.key_pem()}});
    shared.apply(&secret);
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
        waits_for_its_secret(&missing, &secret);
        enabled.try_apply(&pod("one")).refused_with(&["ca.mode", "secret", "required"]);
    });
}

/// Nothing starts without a CA: `kubectl describe` names the Secret, and with it the pod starts by itself.
fn waits_for_its_secret(space: &Space, secret: &Value) {
    space.apply(&pod("one"));
    eventually("the sidecar's last words name the Secret", || {
        let status = status_of(&space.pod("one"), "auth-proxy");
        let words = status["lastState"]["terminated"]["message"].as_str().unwrap_or_default();
        if words.contains("sandbox-proxy-ca") { Ok(()) } else { Err(status.to_string()) }
    });
    let workload = status_of(&space.pod("one"), "workload");
    assert!(workload["state"]["waiting"].is_object(), "{workload}");
    space.apply(secret);
    within(BACK_OFF, "the pod starts", || {
        let pod = space.pod("one");
        if is_ready(&pod) { Ok(()) } else { Err(pod["status"].to_string()) }
    });
}
