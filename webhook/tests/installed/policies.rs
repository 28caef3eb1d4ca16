//! Policies with the webhook there: it judges the content, and the admission policy who writes.

use crate::cluster::Cluster;

fn policy(text: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: sandgate-policy}}\ndata:\n  policy.yaml: |\n{text}")
}

#[test]
fn a_broken_policy_is_refused_with_all_its_errors_and_a_sound_one_to_whoever_may_not_write_it() {
    let cluster = Cluster::start();
    cluster.namespace("team", "required");
    let broken = policy("    version: 1\n    destinatoins: []\n    mode: perhaps\n");
    let error = cluster.create(&cluster.editor, "team", &broken).unwrap_err();
    for part in ["policies.validate.sandgate.dev", "destinatoins", "perhaps"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let sound = policy("    version: 1\n    destinations: [{id: example, host: example.com}]\n");
    let error = cluster.create(&cluster.edit, "team", &sound).unwrap_err();
    assert!(error.contains("ed may not write policies in namespace team"), "{error}");
    cluster.create(&cluster.editor, "team", &sound).unwrap();
    let error = cluster.edit.run(&["-n", "team", "delete", "configmap", "sandgate-policy"]).unwrap_err();
    assert!(error.contains("ed may not write policies in namespace team"), "{error}");
    let patch = r#"{"data":{"policy.yaml":"version: 7"}}"#;
    let error = cluster.editor.run(&["-n", "team", "patch", "configmap", "sandgate-policy", "-p", patch]).unwrap_err();
    assert!(error.contains("policies.validate.sandgate.dev"), "{error}");
    cluster.editor.run(&["-n", "team", "delete", "configmap", "sandgate-policy"]).unwrap();
}
