//! What help says besides the flags: what each subcommand is for, and examples that work as they stand.

pub(super) const ABOUT: &str = "Puts the Sandgate sidecar into pods: as an admission webhook, and offline";

pub(super) const EXAMPLES: &str = "\
Examples:
  See what would change in a pod, without a cluster:
    sandgate-webhook inject -f pod.yaml --diff

  Ask why a pod would be refused in a namespace that requires the sidecar:
    sandgate-webhook explain -f pod.yaml --namespace-label required

  Check a configuration before it is applied:
    sandgate-webhook validate-config config.yaml";

pub(super) const SERVE: &str = "Be the webhook until a signal";
pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  As the Deployment in manifests/ starts it, with POD_NAMESPACE and POD_NAME from the downward API:
    sandgate-webhook serve --config /etc/sandgate/config.yaml

docs/configuration.md says what the file takes. A new one is put in force when it is valid; else the last
good one stays, and the log says why.
SIGTERM and SIGINT drain and end; a second one ends at once. SIGHUP is ignored.
Exit codes: 0 after a signal, 1 where it could not start or go on, 64 for wrong usage or a broken
configuration.";

pub(super) const INJECT: &str = "Print files with the sidecar in their pods";
pub(super) const INJECT_EXAMPLES: &str = "\
Examples:
  As a unified diff:
    sandgate-webhook inject -f deployment.yaml --diff

  In a pipe, as the webhook would do it in a namespace that requires the sidecar:
    kubectl kustomize . | sandgate-webhook inject -f - --namespace-label required | kubectl apply -f -

Nothing is asked of a cluster: the namespace's label and annotations are what the flags say. Comments and
the style of quotes are not kept. Where one pod would be refused, nothing is printed.
Exit codes: 0 done, 1 where a file cannot be read or a pod would be refused, 64 for wrong usage or a
broken configuration.";

pub(super) const EXPLAIN: &str = "Say what would happen to each pod of files, and why";
pub(super) const EXPLAIN_EXAMPLES: &str = "\
Examples:
  sandgate-webhook explain -f pod.yaml --namespace-label required

Exit codes: 0 where every pod would get in, 1 where one would be refused or a file cannot be read, 64 for
wrong usage or a broken configuration.";

pub(super) const REPORT: &str = "List a cluster's pods that lack the sidecar, or have an old one";
pub(super) const REPORT_EXAMPLES: &str = "\
Examples:
  With the rights of your kubeconfig, every labelled namespace:
    sandgate-webhook report

  One namespace, for a script:
    sandgate-webhook report -n sandboxes --output json

Exit codes: 0 where nothing is listed, 1 where something is or the cluster can't be asked, 64 for wrong
usage or a broken configuration.";

pub(super) const VALIDATE_CONFIG: &str = "Say everything that is wrong with a configuration";
pub(super) const VALIDATE_CONFIG_EXAMPLES: &str = "\
Examples:
  sandgate-webhook validate-config config.yaml
  kubectl -n sandgate-system get configmap sandgate-webhook-config -o yaml |
    sandgate-webhook validate-config -

Exit codes: 0 valid, 1 invalid, 64 for wrong usage.";

pub(super) const HEALTHCHECK: &str = "Ask a running webhook whether it is well";
pub(super) const HEALTHCHECK_EXAMPLES: &str = "\
Examples:
  A HEALTHCHECK of an image without curl:
    sandgate-webhook healthcheck --wait 10s

Exit codes: 0 well, 1 not, 64 for wrong usage.";
