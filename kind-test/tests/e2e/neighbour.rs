//! A second mutating webhook, which adds a container after ours has seen the pod.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandgate_kind_test::kubectl::kubectl;
use sandgate_kind_test::objects::{pod, pod_of, running, with};
use sandgate_kind_test::origins::Origins;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::{Space, is_injected};
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::eventually;
use sandgate_testkit::pki::TestCa;
use serde_json::json;

pub(crate) const TESTS: &[Test] = tests!(Shared:
    a_container_that_a_second_webhook_adds_after_ours_gets_its_environment,
);

/// Runs the webhook in a namespace of its own, and has the API server call it for pods of `space`, after ours.
fn join(stage: &Stage, space: &Space) {
    let home = stage.bare_namespace("", &json!({}));
    let ca = TestCa::new();
    let issued = ca.issue(&[&format!("late.{}.svc", home.name)]);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": issued.chain_pem(), "tls.key": issued.key_pem()}});
    home.apply(&secret);
    let mut server = running("workload", "exec second-webhook");
    server["volumeMounts"] = json!([{"name": "tls", "mountPath": "/tls"}]);
    server["readinessProbe"] = json!({"tcpSocket": {"port": 8443}, "periodSeconds": 1});
    let spec = json!({"containers": [server], "volumes": [{"name": "tls", "secret": {"secretName": "tls"}}]});
    home.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "late"},
        "spec": {"selector": {"app": "late"}, "ports": [{"port": 443, "targetPort": 8443}]}}));
    home.start(&with(pod_of("late", spec), &json!({"metadata": {"labels": {"app": "late"}}})));
    // The API server calls in the order of names.
    let name = format!("zz-{}", space.name);
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "late.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {
                "service": {"name": "late", "namespace": home.name}, "caBundle": STANDARD.encode(ca.root_pem()),
            },
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.name}},
        }],
    });
    stage.delete_later(format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}"));
    let _applied = kubectl(&["apply", "-f", "-"], &configuration.to_string()).accepted();
    eventually("the second webhook is called", || {
        let made = space.kubectl_with("create --dry-run=server -o json -f -", &pod("dry").to_string());
        if made.output.contains("\"late\"") { Ok(()) } else { Err(format!("{made:?}")) }
    });
}

fn a_container_that_a_second_webhook_adds_after_ours_gets_its_environment(stage: &Stage) {
    let space = stage.namespace("required");
    join(stage, &space);
    let pod = space.start(&pod("one"));
    assert!(is_injected(&pod));
    let ask = format!("curl -sS https://{}/zen", Origins::shared().allowed());
    let printed = space.kubectl(&format!("exec one -c late -- {ask}")).accepted();
    assert_eq!(printed.output, "Keep it logically awesome.");
}
