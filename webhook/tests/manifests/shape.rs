//! The manifests against the code: ports, names, times and versions that both must have.

use std::fs;

use sandgate_contract::CONTAINER_NAME;
use sandgate_policy::Policy;
use sandgate_webhook::cli::{self, Action};
use sandgate_webhook::config::{CertificateSource, Config};
use sandgate_webhook::names::{
    CA_VOLUME, INJECT_LABEL, NO_TOKEN_VOLUME, POD_POLICY_ANNOTATION, POLICY_ANNOTATION, POLICY_CONFIG_MAP, POLICY_KEY,
    POLICY_LABEL, POLICY_VOLUME, TRUST_VOLUME, UPSTREAM_CA_VOLUME,
};
use serde_json::{Value, json};

use crate::builds::{Build, all, base, directory, with};

const CONFIGURATIONS: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
const NAMESPACE: &str = "sandgate-system";

fn installations() -> impl Iterator<Item = &'static Build> {
    all().iter().filter(|build| build.is_installation())
}

fn pod(build: &Build) -> &Value {
    &build.object("Deployment", "sandgate-webhook")["spec"]["template"]["spec"]
}

fn entries(build: &Build) -> Vec<&Value> {
    CONFIGURATIONS
        .iter()
        .flat_map(|kind| build.object(kind, "sandgate-webhook")["webhooks"].as_array().unwrap())
        .collect()
}

fn config(build: &Build) -> Config {
    let text = build.object("ConfigMap", "sandgate-webhook-config")["data"]["config.yaml"].as_str().unwrap();
    Config::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{}: {errors}", build.name))
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn every_configuration_is_one_that_the_webhook_reads_and_base_changes_nothing() {
    for build in installations() {
        let config = config(build);
        let image = pod(build)["containers"][0]["image"].as_str().unwrap();
        let version = image.rsplit_once(':').unwrap().1;
        assert!(config.sidecar.image.ends_with(&format!("sidecar:{version}")), "{}: {image}", build.name);
        assert!(["dev", env!("CARGO_PKG_VERSION")].contains(&version), "{image}");
    }
    assert_eq!(config(base()), Config::default());
}

#[test]
fn the_command_line_is_one_that_the_program_takes() {
    let container = &pod(base())["containers"][0];
    let words = [strings(&container["command"]), strings(&container["args"])].concat();
    assert_eq!(words[0], "/sandgate-webhook");
    let variables = [("POD_NAME".into(), "sandgate-webhook-1".into()), ("POD_NAMESPACE".into(), NAMESPACE.into())];
    let action = cli::parse(words.iter().map(Into::into), &variables).unwrap_or_else(|_| panic!("{words:?}"));
    let Action::Serve(serve) = action else { panic!("{action:?}") };
    assert_eq!(serve.config.to_str().unwrap(), "/etc/sandgate/config.yaml");
    let fields = [("POD_NAME", "metadata.name"), ("POD_NAMESPACE", "metadata.namespace")];
    for (variable, field) in fields {
        let expected = json!({"name": variable, "valueFrom": {"fieldRef": {"fieldPath": field}}});
        assert!(container["env"].as_array().unwrap().contains(&expected), "{variable}");
    }
}

#[test]
fn ports_probes_and_the_time_to_drain_are_those_of_the_configuration() {
    for build in installations() {
        let server = config(build).server;
        let pod = pod(build);
        let ports = json!([
            {"name": "webhook", "containerPort": server.listen.port(), "protocol": "TCP"},
            {"name": "admin", "containerPort": server.admin_listen.port(), "protocol": "TCP"},
        ]);
        let container = &pod["containers"][0];
        assert_eq!(container["ports"].as_array().unwrap().len(), 2);
        for port in ports.as_array().unwrap() {
            assert!(container["ports"].as_array().unwrap().iter().any(|known| known == port), "{port}");
        }
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "admin"}), "{probe}");
        }
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(grace > server.drain_grace.as_secs() && server.drain_grace > server.drain_delay, "{grace}");
    }
}

#[test]
fn the_pod_is_restricted_and_loses_no_admission_in_a_rollout() {
    for build in installations() {
        let deployment = &build.object("Deployment", "sandgate-webhook")["spec"];
        assert!(deployment["replicas"].as_u64().unwrap() >= 2);
        assert_eq!(deployment["strategy"]["rollingUpdate"], json!({"maxUnavailable": 0, "maxSurge": 1}));
        let pod = pod(build);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0];
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
        assert_eq!(container["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
        for (kind, amount) in [("requests", "cpu"), ("requests", "memory"), ("limits", "cpu"), ("limits", "memory")] {
            assert!(container["resources"][kind][amount].is_string(), "{kind} {amount}");
        }
        for constraint in pod["topologySpreadConstraints"].as_array().unwrap() {
            // Or a rollout where each node has its replica would never end.
            assert_eq!(constraint["matchLabelKeys"], json!(["pod-template-hash"]));
        }
        let labels = &build.object("Namespace", NAMESPACE)["metadata"]["labels"];
        assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    }
    let constraint = &pod(with("high-availability"))["topologySpreadConstraints"][0];
    assert_eq!(constraint["whenUnsatisfiable"], "DoNotSchedule");
}

#[test]
fn apply_never_touches_what_the_webhook_writes() {
    for build in installations() {
        for entry in entries(build) {
            assert!(entry["clientConfig"].get("caBundle").is_none(), "{}: {}", build.name, entry["name"]);
        }
        let renderings = build.object("ConfigMap", "sandgate-renderings");
        assert!(renderings.get("data").is_none() && renderings.get("binaryData").is_none());
        assert!(build.kind("Secret").next().is_none());
    }
}

#[test]
fn every_entry_is_called_as_it_has_to_be_and_none_for_deletion() {
    let mut names = std::collections::BTreeSet::new();
    for entry in entries(base()) {
        let name = entry["name"].as_str().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        assert_eq!(entry["timeoutSeconds"], 5, "{name}");
        assert_eq!(entry["sideEffects"], "None", "{name}");
        assert_eq!(entry["matchPolicy"], "Equivalent", "{name}");
        let ignored = name.contains(".templates.") || name == "annotated-policies.validate.sandgate.dev";
        assert_eq!(entry["failurePolicy"], if ignored { "Ignore" } else { "Fail" }, "{name}");
        if name.contains(".inject.") {
            assert_eq!(entry["reinvocationPolicy"], "IfNeeded", "{name}");
        }
        for rule in entry["rules"].as_array().unwrap() {
            assert!(
                !strings(&rule["operations"]).iter().any(|operation| ["DELETE", "*"].contains(operation)),
                "{name}"
            );
        }
        // Accepted when it is written, it fails when it is evaluated.
        assert!(!entry["matchConditions"].to_string().contains("namespaceObject"), "{name}");
        let service = json!({"name": "sandgate-webhook", "namespace": NAMESPACE, "path": path_of(name), "port": 443});
        assert_eq!(entry["clientConfig"]["service"], service, "{name}");
    }
    assert_eq!(names.len(), 14);
}

/// The path that the server has for an entry.
fn path_of(entry: &str) -> String {
    let (mode, what) = entry.trim_end_matches(".sandgate.dev").split_once('.').unwrap();
    match (mode, what) {
        ("policies" | "annotated-policies", _) => "/validate/policies".to_owned(),
        (mode, "inject") => format!("/mutate/{mode}"),
        (mode, "validate") => format!("/validate/{mode}"),
        (mode, _) => format!("/validate/templates/{mode}"),
    }
}

#[test]
fn every_kind_that_makes_pods_is_asked_about_in_labelled_namespaces() {
    let entries = entries(base());
    let templates = entries.iter().filter(|entry| entry["name"].as_str().unwrap().contains(".templates."));
    let rule = |group: &str, resources: &[&str]| {
        json!({"apiGroups": [group], "apiVersions": ["v1"], "resources": resources, "operations": ["CREATE", "UPDATE"],
            "scope": "Namespaced"})
    };
    let rules = json!([
        rule("apps", &["deployments", "statefulsets", "daemonsets", "replicasets"]),
        rule("batch", &["jobs", "cronjobs"]),
    ]);
    let mut modes = Vec::new();
    for entry in templates {
        assert_eq!(entry["rules"], rules, "{}", entry["name"]);
        modes.push(entry["name"].as_str().unwrap().split('.').next().unwrap());
    }
    assert_eq!(modes, ["required", "enabled", "disabled", "invalid"]);
}

#[test]
fn what_a_pods_author_writes_hides_nothing_where_the_sidecar_is_required() {
    for entry in entries(base()) {
        let name = entry["name"].as_str().unwrap();
        if name.starts_with("required.") {
            assert!(entry.get("objectSelector").is_none() && entry.get("matchConditions").is_none(), "{name}");
        }
    }
}

#[test]
fn everything_leaves_the_namespaces_of_the_cluster_itself_alone() {
    let out = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn",
        "values": ["kube-system", "kube-node-lease", NAMESPACE]});
    let bindings = base().kind("ValidatingAdmissionPolicyBinding").map(|binding| &binding["spec"]["matchResources"]);
    let selectors: Vec<&Value> = entries(base()).into_iter().chain(bindings).collect();
    assert_eq!(selectors.len(), 18);
    for selector in selectors {
        assert!(selector["namespaceSelector"]["matchExpressions"].as_array().unwrap().contains(&out), "{selector}");
    }
}

#[test]
fn the_webhooks_port_is_open_to_anybody_and_no_other_port_is() {
    let policy = &base().object("NetworkPolicy", "sandgate-webhook")["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(policy["ingress"], json!([{"ports": [{"port": "webhook", "protocol": "TCP"}]}]));
    let text = fs::read_to_string(directory().join("base/network-policy.yaml")).unwrap();
    assert!(text.contains("From anywhere: API servers"), "it does not say why");
}

#[test]
fn one_replica_at_a_time_may_be_taken_away() {
    let budget = &base().object("PodDisruptionBudget", "sandgate-webhook")["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    let deployment = &base().object("Deployment", "sandgate-webhook")["spec"];
    assert_eq!(budget["selector"], deployment["selector"]);
}

#[test]
fn the_admission_policies_speak_of_the_names_that_the_code_has() {
    let text = |name: &str| base().object("ValidatingAdmissionPolicy", name)["spec"].to_string();
    for name in ["sidecar-present", "sidecar-unchanged", "sidecar-entered"] {
        assert!(text(&format!("{name}.sandgate.dev")).contains(&format!("\\\"{CONTAINER_NAME}\\\"")), "{name}");
    }
    for volume in [CA_VOLUME, POLICY_VOLUME, NO_TOKEN_VOLUME, UPSTREAM_CA_VOLUME, TRUST_VOLUME] {
        assert!(text("sidecar-unchanged.sandgate.dev").contains(volume), "{volume}");
    }
    for name in [POLICY_CONFIG_MAP, POLICY_LABEL, POLICY_ANNOTATION, POD_POLICY_ANNOTATION, POLICY_KEY] {
        assert!(text("policies.sandgate.dev").contains(&format!("\\\"{name}\\\"")), "{name}");
    }
    for policy in base().kind("ValidatingAdmissionPolicy") {
        assert_eq!(policy["spec"]["failurePolicy"], "Fail");
        let name = policy["metadata"]["name"].as_str().unwrap();
        let binding = &base().object("ValidatingAdmissionPolicyBinding", name)["spec"];
        assert_eq!(binding["validationActions"], json!(["Deny"]));
        assert_eq!(binding["matchResources"]["namespaceSelector"]["matchExpressions"][0]["key"], INJECT_LABEL);
    }
}

#[test]
fn with_cert_manager_the_certificate_is_mounted_and_the_right_to_write_one_is_gone() {
    let build = with("cert-manager");
    let CertificateSource::Files(directory) = config(build).certificate.source else { panic!("not from files") };
    let pod = pod(build);
    let volume = pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "certificate").unwrap();
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["name"] == "certificate").unwrap();
    assert_eq!(mount["mountPath"].as_str().unwrap(), directory.to_str().unwrap());
    let certificate = &build.object("Certificate", "sandgate-webhook")["spec"];
    assert_eq!(volume["secret"]["secretName"], certificate["secretName"]);
    assert_eq!(certificate["dnsNames"], json!([format!("sandgate-webhook.{NAMESPACE}.svc")]));
    for certificate in build.kind("Certificate") {
        let issuer = certificate["spec"]["issuerRef"]["name"].as_str().unwrap();
        build.object("Issuer", issuer);
    }
    let ca = &build.object("Certificate", "sandgate-webhook-ca")["spec"];
    assert_eq!(ca["secretName"], build.object("Issuer", "sandgate-webhook")["spec"]["ca"]["secretName"]);
    assert_ne!(ca["secretName"], config(base()).certificate.secret_name.as_str(), "two CAs in one Secret");
    for kind in CONFIGURATIONS {
        let annotations = &build.object(kind, "sandgate-webhook")["metadata"]["annotations"];
        assert_eq!(annotations["cert-manager.io/inject-ca-from"], format!("{NAMESPACE}/sandgate-webhook"));
    }
    let rules =
        [&build.object("Role", "sandgate-webhook")["rules"], &build.object("ClusterRole", "sandgate-webhook")["rules"]];
    for rule in rules.iter().flat_map(|rules| rules.as_array().unwrap()) {
        assert!(!strings(&rule["resources"]).contains(&"secrets"), "{rule}");
        assert!(!strings(&rule["verbs"]).contains(&"patch"), "{rule}");
    }
}

#[test]
fn the_example_has_a_policy_that_the_sidecar_takes() {
    let example = all().last().unwrap();
    let policy = example.object("ConfigMap", POLICY_CONFIG_MAP);
    let parsed = Policy::parse(policy["data"][POLICY_KEY].as_str().unwrap().as_bytes()).unwrap();
    assert!(parsed.rules().len() > 1 && parsed.warnings().is_empty(), "{:?}", parsed.warnings());
    let namespace = &example.object("Namespace", "sandbox-containers")["metadata"];
    assert_eq!(namespace["labels"][INJECT_LABEL], "required");
    assert_eq!(namespace["annotations"][POLICY_ANNOTATION], POLICY_CONFIG_MAP);
}
