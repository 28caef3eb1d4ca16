//! Who may write policies. `edit` is what builders of pods have.

use std::time::{Duration, Instant};

use sandgate_testkit::api_server::Kubectl;

use crate::cluster::{Cluster, Namespace, refused};

const LABEL: &str = "sandgate.dev/policy=true";

/// A ConfigMap with the key of policies.
fn config_map(name: &str, labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{{labels}}}}}\ndata: {{policy.yaml: any}}\n"
    )
}

/// Refused, with the name of the ConfigMap, the user, and the way to get the right.
#[track_caller]
fn not_allowed(result: Result<String, String>, namespace: &Namespace<'_>, name: &str, user: &str) {
    let parts = [
        &format!("ConfigMap {name} is a policy of Sandgate"),
        &format!("{user} may not write policies in namespace {}", namespace.name),
        "verb write on policies.sandgate.dev",
        // Whole: it runs as it is printed, but for the name.
        &format!(
            "kubectl create rolebinding sandgate-policy-editor -n {} --clusterrole=sandgate-policy-editor --user=NAME",
            namespace.name
        ),
    ];
    refused(result, "policies", &parts);
}

/// What `ed` may not do to policies that are there.
fn ed_may_not_write(namespace: &Namespace<'_>, policies: &[&str]) {
    let edit = &namespace.cluster.edit;
    for name in policies {
        let patch = r#"{"data":{"policy.yaml":"mine"}}"#;
        not_allowed(namespace.run(edit, &["patch", "configmap", name, "-p", patch]), namespace, name, "ed");
        not_allowed(namespace.run(edit, &["annotate", "configmap", name, "a=b"]), namespace, name, "ed");
        not_allowed(namespace.run(edit, &["delete", "configmap", name]), namespace, name, "ed");
    }
    // One call for all of them, which has no name.
    let collection = format!("/api/v1/namespaces/{}/configmaps", namespace.name);
    let error = namespace.run(edit, &["delete", "--raw", &collection]).unwrap_err();
    assert!(error.contains("is a policy of Sandgate"), "{error}");
    for name in policies {
        namespace.run(&namespace.cluster.admin, &["get", "configmap", name]).unwrap();
    }
}

fn by_name_label_and_annotation(name: &str, label: &str) {
    let namespace = Cluster::shared().namespace(name, label);
    let Cluster { admin, edit, .. } = namespace.cluster;
    admin.run(&["annotate", "namespace", name, "sandgate.dev/policy=named"]).unwrap();

    for (policy, labels) in [("sandgate-policy", ""), ("labelled", "sandgate.dev/policy: 'true'")] {
        not_allowed(namespace.create(edit, &config_map(policy, labels)), &namespace, policy, "ed");
        namespace.create(admin, &config_map(policy, labels)).unwrap();
    }
    // Our knowledge of annotations is the API server's, which is a moment old.
    let deadline = Instant::now() + Duration::from_secs(20);
    while namespace.create(edit, &config_map("named", "")).is_ok() {
        assert!(Instant::now() < deadline, "the annotation has no effect");
        namespace.run(admin, &["delete", "configmap", "named"]).unwrap();
    }
    namespace.create(admin, &config_map("named", "")).unwrap();
    ed_may_not_write(&namespace, &["sandgate-policy", "labelled", "named"]);
    // Neither does taking the label off make it an ordinary one, nor may an ordinary one become a policy.
    not_allowed(
        namespace.run(edit, &["label", "configmap", "labelled", "sandgate.dev/policy-"]),
        &namespace,
        "labelled",
        "ed",
    );
    namespace.create(edit, &config_map("ordinary", "")).unwrap();
    not_allowed(namespace.run(edit, &["label", "configmap", "ordinary", LABEL]), &namespace, "ordinary", "ed");
}

#[test]
fn in_a_required_namespace_edit_writes_no_policy_by_name_label_or_annotation() {
    by_name_label_and_annotation("policies-required", "required");
}

#[test]
fn in_an_enabled_namespace_edit_writes_no_policy_by_name_label_or_annotation() {
    by_name_label_and_annotation("policies-enabled", "enabled");
}

fn whole_life(namespace: &Namespace<'_>, user: &Kubectl, name: &str, labels: &str) {
    namespace.create(user, &config_map(name, labels)).unwrap();
    namespace.run(user, &["patch", "configmap", name, "-p", r#"{"data":{"policy.yaml":"newer"}}"#]).unwrap();
    namespace.run(user, &["delete", "configmap", name]).unwrap();
}

#[test]
fn the_policy_editor_and_the_cluster_admin_write_policies() {
    let namespace = Cluster::shared().namespace("policies-editor", "required");
    let Cluster { admin, editor, .. } = namespace.cluster;
    for user in [admin, editor] {
        whole_life(&namespace, user, "sandgate-policy", "");
    }
    // The role is for the policy alone: it is no right to other ConfigMaps, and none in other namespaces.
    namespace.create(admin, &config_map("ordinary", "")).unwrap();
    let other = namespace.run(editor, &["delete", "configmap", "ordinary"]).unwrap_err();
    assert!(other.contains("cannot delete resource \"configmaps\""), "{other}");
}

#[test]
fn the_right_may_be_given_for_one_policy_by_name() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("policies-one", "required");
    let manifest = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: one}\nrules:\n\
                    - {apiGroups: [sandgate.dev], resources: [policies], resourceNames: [one], verbs: [write]}\n";
    namespace.create(&cluster.admin, manifest).unwrap();
    namespace.run(&cluster.admin, &["create", "rolebinding", "one", "--role=one", "--user=ed"]).unwrap();
    let labels = "sandgate.dev/policy: 'true'";
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = namespace.create(&cluster.edit, &config_map("one", labels)) {
        assert!(Instant::now() < deadline, "{error}");
    }
    not_allowed(namespace.create(&cluster.edit, &config_map("two", labels)), &namespace, "two", "ed");
}

#[test]
fn ordinary_config_maps_and_unlabelled_namespaces_are_left_alone() {
    let cluster = Cluster::shared();
    let required = cluster.namespace("policies-ordinary", "required");
    whole_life(&required, &cluster.edit, "ordinary", "");
    whole_life(&required, &cluster.edit, "unlabelled", "sandgate.dev/policy: 'false'");
    let unlabelled = cluster.namespace("policies-unlabelled", "");
    whole_life(&unlabelled, &cluster.edit, "sandgate-policy", "sandgate.dev/policy: 'true'");
}

#[test]
fn where_pods_may_name_a_policy_every_config_map_that_could_be_one_is_one() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("policies-pods", "required");
    let edit = &cluster.edit;
    namespace.create(edit, &config_map("before", "")).unwrap();
    cluster.admin.run(&["annotate", "namespace", "policies-pods", "sandgate.dev/pod-policy=allowed"]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while namespace.create(edit, &config_map("any", "")).is_ok() {
        assert!(Instant::now() < deadline, "the annotation has no effect");
        namespace.run(&cluster.admin, &["delete", "configmap", "any"]).unwrap();
    }
    not_allowed(namespace.create(edit, &config_map("any", "")), &namespace, "any", "ed");
    let binary = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: binary}\nbinaryData: {policy.yaml: YQ==}\n";
    not_allowed(namespace.create(edit, binary), &namespace, "binary", "ed");
    let patch = r#"{"data":{"policy.yaml":null}}"#;
    not_allowed(namespace.run(edit, &["patch", "configmap", "before", "-p", patch]), &namespace, "before", "ed");
    // Without the key it denies everything to a pod that names it.
    let settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {settings.yaml: any}\n";
    namespace.create(edit, settings).unwrap();
    let added = r#"{"data":{"policy.yaml":"mine"}}"#;
    not_allowed(namespace.run(edit, &["patch", "configmap", "settings", "-p", added]), &namespace, "settings", "ed");
}

#[test]
fn a_namespace_that_ends_is_emptied_by_its_controller() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("policies-end", "required");
    namespace.create(&cluster.admin, &config_map("sandgate-policy", "")).unwrap();
    let controller = cluster.server.user(
        "system:serviceaccount:kube-system:namespace-controller",
        &["system:serviceaccounts", "system:serviceaccounts:kube-system"],
    );
    let collection = "/api/v1/namespaces/policies-end/configmaps";
    let early = controller.run(&["delete", "--raw", collection]).unwrap_err();
    assert!(early.contains("is a policy of Sandgate"), "{early}");

    cluster.admin.run(&["delete", "namespace", "policies-end", "--wait=false"]).unwrap();
    // It tries again, too, until the API server knows that the namespace ends.
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = controller.run(&["delete", "--raw", collection]) {
        assert!(Instant::now() < deadline, "{error}");
    }
    assert_eq!(namespace.run(&cluster.admin, &["get", "configmaps", "-o", "name"]).unwrap(), "");
}

#[test]
fn a_policy_does_not_go_with_an_owner_whom_others_may_delete() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("policies-owned", "required");
    namespace.create(&cluster.admin, &config_map("sandgate-policy", "")).unwrap();
    let name = "system:serviceaccount:kube-system:generic-garbage-collector";
    let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
    let collector = cluster.server.user(name, &groups);
    let deleted = collector.run(&["-n", "policies-owned", "delete", "configmap", "sandgate-policy"]);
    not_allowed(deleted, &namespace, "sandgate-policy", name);
}

#[test]
fn those_who_administrate_a_namespace_from_within_can_neither_relabel_it_nor_grant_the_right() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("policies-within", "required");
    for role in ["system:aggregate-to-admin", "system:aggregate-to-edit", "system:aggregate-to-view"] {
        let binding = role.replace(':', "-");
        let role = format!("--clusterrole={role}");
        namespace.run(&cluster.admin, &["create", "rolebinding", &binding, &role, "--user=nan"]).unwrap();
    }
    let within = cluster.server.user("nan", &[]);
    for change in [
        &["label", "namespace", "policies-within", "sandgate.dev/inject-"][..],
        &["annotate", "namespace", "policies-within", "sandgate.dev/policy=mine"],
    ] {
        let error = within.run(change).unwrap_err();
        assert!(error.contains("cannot patch resource \"namespaces\""), "{error}");
    }
    let grant = ["create", "rolebinding", "mine", "--clusterrole=sandgate-policy-editor", "--user=nan"];
    let error = namespace.run(&within, &grant).unwrap_err();
    assert!(error.contains("attempting to grant RBAC permissions not currently held"), "{error}");
    not_allowed(namespace.create(&within, &config_map("sandgate-policy", "")), &namespace, "sandgate-policy", "nan");
}
