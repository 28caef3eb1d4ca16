//! Pod Security "restricted", enforced by the API server itself.

use serde_json::json;

use crate::stage::{Stage, is_injected, plain};

#[test]
fn a_pod_that_passes_restricted_still_does_with_the_sidecar() {
    let stage = Stage::shared();
    for mode in ["enabled", "required"] {
        let labels = json!({
            "sandgate.dev/inject": mode,
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/warn": "restricted",
        });
        let space = stage.namespace_with(&format!("restricted-{mode}"), labels, json!({}));
        let mut pod = plain("restricted");
        pod["spec"]["securityContext"] = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        pod["spec"]["containers"][0]["securityContext"] =
            json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        let answer = space.pod(&pod);
        is_injected(answer.accepted());
        assert!(!answer.warned().contains("PodSecurity"), "{}", answer.warned());
        // And it is enforced: another pod is refused for its own container alone.
        let refused = space.pod(&plain("plain"));
        refused.refused_with(&["violates PodSecurity \"restricted:latest\"", "container \"workload\" must"]);
        assert!(!refused.message().contains("auth-proxy"), "{}", refused.message());
    }
}
