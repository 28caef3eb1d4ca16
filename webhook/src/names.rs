//! The names that the webhook reads and writes in other people's objects. What the sidecar must agree on is in
//! `sandgate_contract`.

/// The label of namespaces (`enabled`, `required`, `disabled`) and of pods (`"true"`, `"false"`).
pub const INJECT_LABEL: &str = "sandgate.dev/inject";

/// The label that makes a ConfigMap a policy, whatever its name: `"true"`.
pub const POLICY_LABEL: &str = "sandgate.dev/policy";

/// The annotation with the name of the policy's ConfigMap: of a namespace, and of a pod where the namespace allows it.
pub const POLICY_ANNOTATION: &str = "sandgate.dev/policy";

/// The annotation of a namespace that lets its pods name a policy of their own: `allowed`.
pub const POD_POLICY_ANNOTATION: &str = "sandgate.dev/pod-policy";

/// The annotation with the sidecar's resources: of a namespace, and within bounds of a pod.
pub const RESOURCES_ANNOTATION: &str = "sandgate.dev/sidecar-resources";

/// The annotation that the webhook leaves on a pod for people. Nothing is ever decided by it.
pub const STATUS_ANNOTATION: &str = "sandgate.dev/status";

/// The container that `kubectl exec` and `logs` mean when none is named (kubectl's own annotation).
pub const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";

/// The annotation that marks a mirror pod of a kubelet's static pod.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// The ConfigMap with the policy, unless an annotation names another.
pub const POLICY_CONFIG_MAP: &str = "sandgate-policy";

/// The key of a policy's ConfigMap.
pub const POLICY_KEY: &str = "policy.yaml";

/// The volume with the trust files: in memory, written by the sidecar, read by every container.
pub const TRUST_VOLUME: &str = "sandgate-trust";

/// The volume with the CA's key, made by the sidecar or from the Secret. The sidecar's alone.
pub const CA_VOLUME: &str = "sandgate-ca";

/// The volume with the policy. The sidecar's alone, for nobody else needs it.
pub const POLICY_VOLUME: &str = "sandgate-policy";

/// The empty volume in place of a ServiceAccount's token. The sidecar's alone.
pub const NO_TOKEN_VOLUME: &str = "sandgate-no-token";

/// The volume with further roots for origins, where the configuration names a ConfigMap. The sidecar's alone.
pub const UPSTREAM_CA_VOLUME: &str = "sandgate-upstream-ca";

/// Every volume name that is ours.
pub const VOLUMES: [&str; 5] = [TRUST_VOLUME, CA_VOLUME, POLICY_VOLUME, NO_TOKEN_VOLUME, UPSTREAM_CA_VOLUME];

/// Where Kubernetes mounts a ServiceAccount's token.
pub const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
