//! Which entry the API server calls for what. Nobody answers here, and so its own message names the entry and the path:
//! the table of modes, cell by cell, by the selectors of the manifests alone.

use std::time::{Duration, Instant};

use sandgate_testkit::api_server::{ApiServer, Kubectl};

use crate::applied::ROOT;
use crate::builds::base;

const DEADLINE: Duration = Duration::from_secs(60);
const NAMESPACES: [&str; 5] = ["none", "enabled", "required", "disabled", "invalid"];

/// An API server with the base, whose entries of the other kind of configuration are left out.
struct Cluster {
    _server: ApiServer,
    root: Kubectl,
}

impl Cluster {
    fn start(without: &str) -> Self {
        let server = ApiServer::start();
        let root = server.user("root", &ROOT);
        let documents = base().text.split("\n---\n").filter(|text| !text.contains(&format!("kind: {without}")));
        // At a Service with an external name the API server is sent to loopback, where nothing listens on port 9.
        let documents = documents.filter(|text| !text.contains("kind: Service\n") && !text.contains("AdmissionPolicy"));
        let text = documents.collect::<Vec<_>>().join("\n---\n").replace("port: 443", "port: 9");
        root.run_with(&["apply", "-f", "-"], &text).unwrap();
        root.run(&[
            "-n",
            "sandgate-system",
            "create",
            "service",
            "externalname",
            "sandgate-webhook",
            "--external-name=localhost",
        ])
        .unwrap();
        let cluster = Self { _server: server, root };
        for name in NAMESPACES.iter().chain(&["kube-node-lease", "sandgate-system"]) {
            cluster.namespace(name);
        }
        cluster
    }

    /// Those of the cluster itself are labelled as if they required the sidecar.
    fn namespace(&self, name: &str) {
        let label = match name {
            "none" => String::new(),
            "invalid" => "sandgate.dev/inject: Required".to_owned(),
            mode if NAMESPACES.contains(&mode) => format!("sandgate.dev/inject: {mode}"),
            _ => "sandgate.dev/inject: required".to_owned(),
        };
        let manifest = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{label}}}}}\n---\n\
             apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: default, namespace: {name}}}\n"
        );
        self.root.run_with(&["apply", "-f", "-"], &manifest).unwrap();
    }

    fn create(&self, namespace: &str, manifest: &str) -> Result<String, String> {
        self.root.run_with(&["-n", namespace, "create", "--dry-run=server", "-f", "-"], manifest)
    }

    /// The path that was called, or nothing where it was let through.
    fn called(result: Result<String, String>) -> Option<String> {
        let error = result.err()?;
        let entry = error.split("failed calling webhook \"").nth(1).and_then(|rest| rest.split('"').next());
        let path = error
            .split("https://sandgate-webhook.sandgate-system.svc:9")
            .nth(1)
            .and_then(|rest| rest.split('?').next());
        let (Some(_), Some(path)) = (entry, path) else { panic!("{error}") };
        assert!(error.contains("127.0.0.1:9: connect: connection refused"), "{error}");
        assert!(error.contains("?timeout=5s"), "{error}");
        Some(path.to_owned())
    }

    /// Until the API server knows the configuration, the namespace and its label, it calls nobody.
    fn wait(&self, namespace: &str, manifest: &str) {
        let deadline = Instant::now() + DEADLINE;
        while Self::called(self.create(namespace, manifest)).is_none() {
            assert!(Instant::now() < deadline, "nobody is called for {namespace}");
        }
    }
}

fn pod(label: Option<&str>) -> String {
    let label = label.map(|value| format!("sandgate.dev/inject: '{value}'")).unwrap_or_default();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: any, labels: {{{label}}}}}\n\
         spec: {{containers: [{{name: workload, image: any}}]}}\n"
    )
}

/// Whether a pod is seen, by namespace, and by the pod's label: none, "true", "false", another.
fn table(cluster: &Cluster, prefix: &str, expected: [[bool; 4]; 5]) {
    for (namespace, row) in NAMESPACES.iter().zip(expected) {
        for (label, seen) in [None, Some("true"), Some("false"), Some("yes")].into_iter().zip(row) {
            let mode = if *namespace == "none" { "unlabelled" } else { namespace };
            let called = Cluster::called(cluster.create(namespace, &pod(label)));
            assert_eq!(called, seen.then(|| format!("{prefix}/{mode}")), "{namespace} {label:?}");
        }
    }
    for own in ["kube-node-lease", "sandgate-system"] {
        // It is of Pod Security that the pod is refused there, if at all.
        let result = cluster.create(own, &pod(Some("true")));
        assert!(!result.is_err_and(|error| error.contains("failed calling webhook")), "{own}");
    }
}

#[test]
fn pods_on_their_way_in_are_seen_by_one_entry_or_none_as_the_table_says() {
    let cluster = Cluster::start("ValidatingWebhookConfiguration");
    cluster.wait("required", &pod(None));
    table(
        &cluster,
        "/mutate",
        [[false, true, false, true], [true; 4], [true; 4], [false, true, false, true], [true; 4]],
    );
    // What is refused at the door for want of an answer is refused for its controllers too, and templates are not pods.
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: any}\nspec: {selector: {matchLabels: {a: b}}, \
                      template: {metadata: {labels: {a: b}}, spec: {containers: [{name: workload, image: any}]}}}\n";
    cluster.create("required", deployment).unwrap();
}

#[test]
fn running_pods_change_and_go_without_the_webhook_but_get_no_ephemeral_container() {
    let cluster = Cluster::start("ValidatingWebhookConfiguration");
    let root = &cluster.root;
    // It is there before its namespace requires anything, and its own label hides it from no entry.
    root.run_with(&["-n", "none", "create", "-f", "-"], &pod(Some("false"))).unwrap();
    root.run(&["label", "namespace", "none", "sandgate.dev/inject=required"]).unwrap();
    cluster.wait("none", &pod(None));
    root.run(&["-n", "none", "label", "pod", "any", "a=b"]).unwrap();
    let finalizer = r#"{"metadata":{"finalizers":["example.com/hold"]}}"#;
    root.run(&["-n", "none", "patch", "pod", "any", "-p", finalizer]).unwrap();
    root.run(&["-n", "none", "patch", "pod", "any", "-p", r#"{"metadata":{"finalizers":null}}"#]).unwrap();
    let ephemeral = r#"{"spec":{"ephemeralContainers":[{"name":"debug","image":"any"}]}}"#;
    let patch = ["-n", "none", "patch", "pod", "any", "--subresource=ephemeralcontainers", "-p", ephemeral];
    assert_eq!(Cluster::called(root.run(&patch)).as_deref(), Some("/mutate/required"));
    root.run(&["-n", "none", "delete", "pod", "any", "--now"]).unwrap();
}

#[test]
fn final_pods_and_policies_are_checked_and_templates_wait_for_nobody() {
    let cluster = Cluster::start("MutatingWebhookConfiguration");
    cluster.wait("required", &pod(None));
    let no = [false; 4];
    table(&cluster, "/validate", [[false, true, false, false], [true; 4], [true; 4], no, no]);

    let config_map = |name: &str, labels: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n")
    };
    let labelled = config_map("any", "sandgate.dev/policy: 'true'");
    for namespace in NAMESPACES {
        for policy in [&config_map("sandgate-policy", ""), &labelled] {
            let called = Cluster::called(cluster.create(namespace, policy));
            assert_eq!(called.as_deref(), Some("/validate/policies"), "{namespace}");
        }
        cluster.create(namespace, &config_map("any", "sandgate.dev/policy: 'false'")).unwrap();
    }
    cluster.create("kube-node-lease", &labelled).unwrap();
    // Taking the label off is looked at too, and deletion never is.
    let root = &cluster.root;
    root.run(&["delete", "validatingwebhookconfiguration", "sandgate-webhook"]).unwrap();
    let deadline = Instant::now() + DEADLINE;
    while let Err(error) = root.run_with(&["-n", "none", "create", "-f", "-"], &labelled) {
        assert!(Instant::now() < deadline, "{error}");
    }
    let configuration = base().text.split("\n---\n").find(|text| text.contains("kind: ValidatingWebhookConfiguration"));
    root.run_with(&["apply", "-f", "-"], &configuration.unwrap().replace("port: 443", "port: 9")).unwrap();
    cluster.wait("none", &labelled);
    let off = root.run(&["-n", "none", "label", "configmap", "any", "sandgate.dev/policy-"]);
    assert_eq!(Cluster::called(off).as_deref(), Some("/validate/policies"));
    root.run(&["-n", "none", "delete", "configmap", "any"]).unwrap();

    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: any}\nspec: {template: {spec: {restartPolicy: Never, \
               containers: [{name: workload, image: any}]}}}\n";
    for namespace in NAMESPACES {
        cluster.create(namespace, job).unwrap();
    }
}
