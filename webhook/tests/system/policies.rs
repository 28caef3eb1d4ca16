//! ConfigMaps with policies: their content, and who may write them.

use serde_json::json;

use crate::kubectl::Kubectl;
use crate::stage::{Space, Stage, eventually};

const SOUND: &str =
    "version: 1\ndestinations:\n  - id: index\n    host: index.example.com\n    allow: [{methods: [GET]}]\n";
const BROKEN: &str =
    "version: 2\ndestinations:\n  - id: index\n    hosts: index.example.com\n    allow: [{methods: GET}]\n";

fn config_map(name: &str, label: &str, policy: &str) -> String {
    let labels = if label.is_empty() { json!({}) } else { json!({"sandgate.dev/policy": label}) };
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels},
        "data": {"policy.yaml": policy}})
    .to_string()
}

/// Refused by the webhook, with every error and its line.
#[track_caller]
fn is_refused_with_all_errors(space: &Space<'_>, entry: &str, name: &str, label: &str) {
    let printed = space.kubectl_with("apply -f -", &config_map(name, label, BROKEN));
    let first = format!("ConfigMap \"{name}\" is no valid policy");
    let parts = [entry, &first, "policy.yaml:1: version", "policy.yaml:4: ", "hosts", "policy.yaml:5: "];
    printed.refused_with(&parts);
}

#[test]
fn kubectl_apply_of_a_broken_policy_is_refused_with_all_its_errors_and_their_lines() {
    let stage = Stage::shared();
    let annotations = json!({"sandgate.dev/policy": "annotated"});
    for mode in ["enabled", "required"] {
        let labels = json!({"sandgate.dev/inject": mode});
        let space = stage.namespace_with(&format!("policies-{mode}"), labels, annotations.clone());
        is_refused_with_all_errors(&space, "policies.validate.sandgate.dev", "sandgate-policy", "");
        is_refused_with_all_errors(&space, "policies.validate.sandgate.dev", "labelled", "true");
        is_refused_with_all_errors(&space, "annotated-policies.validate.sandgate.dev", "annotated", "");
        for (name, label) in [("sandgate-policy", ""), ("labelled", "true"), ("annotated", "")] {
            space.kubectl_with("apply -f -", &config_map(name, label, SOUND)).accepted();
            // Neither does a change of a sound one get through.
            let printed = space.kubectl_with("apply -f -", &config_map(name, label, BROKEN));
            printed.refused_with(&["is no valid policy", "policy.yaml:5"]);
        }
        let nameless = config_map("", "true", BROKEN).replace("\"name\":\"\"", "\"generateName\":\"made-\"");
        space.kubectl_with("create -f -", &nameless).refused_with(&["ConfigMap \"made-", "policy.yaml:5"]);
        // An ordinary one is nobody's business, until it shall become a policy.
        space.kubectl_with("apply -f -", &config_map("ordinary", "", BROKEN)).accepted();
        let labelled = space.kubectl("label configmap ordinary sandgate.dev/policy=true");
        labelled.refused_with(&["\"ordinary\" is no valid policy"]);
    }
}

/// Binds the roles to a user, as an admin does.
fn bind(space: &Space<'_>, user: &str, roles: &[&str]) -> Kubectl {
    for role in roles {
        let binding = json!({
            "metadata": {"generateName": "binding-"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        space.create("rolebindings", &binding).accepted();
    }
    space.stage.user(user, &[])
}

#[test]
fn who_may_only_edit_writes_no_policy_and_a_policy_editor_writes_sound_ones() {
    let stage = Stage::shared();
    for mode in ["enabled", "required"] {
        let space = stage.namespace(&format!("editors-{mode}"), mode);
        // `edit` is the sum of these; here is no controller that adds them up.
        let builder = bind(&space, "builder", &["system:aggregate-to-edit", "system:aggregate-to-view"]);
        let editor = bind(&space, "editor", &["sandgate-policy-editor"]);
        let apply = |user: &Kubectl, name: &str, policy: &str| {
            let line = format!("-n {} apply -f -", space.name);
            user.run_with(&line, &config_map(name, "", policy))
        };
        eventually("roles are known", || {
            let tried = apply(&builder, "ordinary", "any");
            if tried.succeeded { Ok(()) } else { Err(tried.errors) }
        });
        apply(&builder, "sandgate-policy", SOUND).refused_with(&[
            "ValidatingAdmissionPolicy 'policies.sandgate.dev'",
            "builder may not write policies in namespace",
            "--clusterrole=sandgate-policy-editor",
        ]);
        eventually("roles are known", || {
            let tried = apply(&editor, "sandgate-policy", SOUND);
            if tried.succeeded { Ok(()) } else { Err(tried.errors) }
        });
        apply(&editor, "sandgate-policy", BROKEN).refused_with(&["is no valid policy", "policy.yaml:1"]);
        let delete = format!("-n {} delete configmap sandgate-policy", space.name);
        builder.run(&delete).refused_with(&["builder may not write policies"]);
        editor.run(&delete).accepted();
    }
}
