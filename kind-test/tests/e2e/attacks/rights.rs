//! What whoever builds pods may write besides pods: ClusterRole `edit` has every ConfigMap, but not the policy.

use sandgate_kind_test::kubectl::kubectl;
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::Space;
use sandgate_kind_test::stage::{Stage, config_map};
use sandgate_kind_test::tests;

pub(crate) const TESTS: &[Test] = tests!(Shared:
    the_policy_is_not_edited_with_cluster_role_edit,
);

const OPEN: &str = "version: 1\ndestinations:\n - {id: all, host: '*.cluster.local', private_cidrs: [10.0.0.0/8]}\n";

fn as_user(space: &Space, user: &str, line: &str, input: &str) -> sandgate_kind_test::kubectl::Printed {
    space.kubectl_with(&format!("--as={user} {line}"), input)
}

fn the_policy_is_not_edited_with_cluster_role_edit(stage: &Stage) {
    let open = config_map("sandgate-policy", "policy.yaml", OPEN).to_string();
    for (mode, guarded) in [("", false), ("enabled", true), ("required", true)] {
        let space = stage.namespace(mode);
        let _bound = space.kubectl("create rolebinding builder --clusterrole=edit --user=builder").accepted();
        let labels = as_user(&space, "builder", "label configmap sandgate-policy sandgate.dev/policy-", "");
        let edited = as_user(&space, "builder", "apply -f -", &open);
        let deleted = as_user(&space, "builder", "delete configmap sandgate-policy --dry-run=server", "");
        if !guarded {
            let _all = (labels.accepted(), edited.accepted(), deleted.accepted());
            continue;
        }
        for refused in [edited, deleted] {
            refused.refused_with(&["ConfigMap sandgate-policy is a policy of Sandgate, and builder may not write"]);
        }
        let _ordinary = as_user(&space, "builder", "create configmap ordinary --from-literal=a=b", "").accepted();
        // The refusal names the command that grants it.
        let grant = format!(
            "create rolebinding sandgate-policy-editor -n {} --clusterrole=sandgate-policy-editor --user=writer",
            space.name
        );
        let _granted = kubectl(&grant.split_whitespace().collect::<Vec<_>>(), "").accepted();
        let _viewing = space.kubectl("create rolebinding writer --clusterrole=view --user=writer").accepted();
        let _written = as_user(&space, "writer", "apply -f -", &open).accepted();
    }
}
