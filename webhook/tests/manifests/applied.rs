//! `kubectl apply -k` on a real API server: what it makes, what it leaves alone, and the rights that it gives.

use std::sync::OnceLock;

use sandgate_testkit::api_server::{ApiServer, Kubectl};
use serde_json::{Value, json};

use crate::builds::{all, directory};

pub(crate) const ROOT: [&str; 1] = ["system:masters"];

/// An API server with manifests/base, applied as an admin does.
pub(crate) fn installed() -> &'static Kubectl {
    static ROOT_USER: OnceLock<Kubectl> = OnceLock::new();
    ROOT_USER.get_or_init(|| {
        let root = ApiServer::shared().user("root", &ROOT);
        root.run(&["apply", "-k", directory().join("base").to_str().unwrap()]).unwrap();
        root
    })
}

fn get(root: &Kubectl, arguments: &[&str]) -> Value {
    serde_json::from_str(&root.run(&[&["get", "-o", "json"], arguments].concat()).unwrap()).unwrap()
}

#[test]
fn applied_again_it_changes_nothing_and_leaves_alone_what_the_webhook_wrote() {
    let server = ApiServer::start();
    let root = server.user("root", &ROOT);
    let base = directory().join("base");
    let apply = ["apply", "-k", base.to_str().unwrap()];
    root.run(&apply).unwrap();

    let bundle = serde_json::to_value(k8s_openapi::ByteString(server.ca_pem().into_bytes())).unwrap();
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        let entries = get(&root, &[kind, "sandgate-webhook"])["webhooks"].as_array().unwrap().len();
        let patch: Vec<Value> = (0..entries)
            .map(|at| json!({"op": "add", "path": format!("/webhooks/{at}/clientConfig/caBundle"), "value": bundle}))
            .collect();
        let patch = Value::from(patch).to_string();
        root.run(&["patch", kind, "sandgate-webhook", "--type=json", "-p", &patch]).unwrap();
    }
    let rendering = r#"{"data":{"0123456789ab":"{}"}}"#;
    let renderings = ["-n", "sandgate-system", "patch", "configmap", "sandgate-renderings", "-p", rendering];
    root.run(&renderings).unwrap();

    let version = "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{'\\n'}{end}";
    let versions = ["get", "-k", base.to_str().unwrap(), "-o", version];
    let before = root.run(&versions).unwrap();
    assert!(before.lines().count() > 20, "{before}");
    root.run(&apply).unwrap();
    assert_eq!(root.run(&versions).unwrap(), before);
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        let configuration = get(&root, &[kind, "sandgate-webhook"]);
        for entry in configuration["webhooks"].as_array().unwrap() {
            assert_eq!(entry["clientConfig"]["caBundle"], bundle, "{}", entry["name"]);
        }
    }
    let kept = get(&root, &["-n", "sandgate-system", "configmap", "sandgate-renderings"]);
    assert_eq!(kept["data"]["0123456789ab"], "{}");
}

#[test]
fn every_build_is_admitted_by_the_api_server_but_for_kinds_of_others() {
    let root = installed();
    for build in all().iter().filter(|build| build.is_installation()) {
        let result = root.run(&["apply", "--dry-run=server", "-f", build.file.to_str().unwrap()]);
        let Err(errors) = result else { continue };
        for line in errors.lines().filter(|line| !line.contains("ensure CRDs are installed first") && !line.is_empty())
        {
            assert!(line.contains("no matches for kind"), "{}: {errors}", build.name);
        }
    }
}

/// The rules of the webhook's ServiceAccount in a namespace, without those that everybody has.
fn rules_in(namespace: &str) -> Vec<Value> {
    installed();
    let account = ApiServer::shared().user(
        "system:serviceaccount:sandgate-system:sandgate-webhook",
        &["system:serviceaccounts", "system:serviceaccounts:sandgate-system"],
    );
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let answer = account.run_with(&["create", "--raw", path, "-f", "-"], &review.to_string()).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["status"]["incomplete"], false);
    let of_everybody = ["authorization.k8s.io", "authentication.k8s.io"];
    let rules = answer["status"]["resourceRules"].as_array().unwrap().iter();
    rules.filter(|rule| !of_everybody.contains(&rule["apiGroups"][0].as_str().unwrap())).cloned().collect()
}

fn sorted(mut rules: Vec<Value>) -> Vec<Value> {
    rules.sort_by_key(ToString::to_string);
    rules
}

#[test]
fn the_webhook_has_the_rights_of_admission_and_no_other() {
    let rule = |group: &str, resources: &[&str], names: &[&str], verbs: &[&str]| {
        let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources});
        if !names.is_empty() {
            rule["resourceNames"] = names.into();
        }
        rule
    };
    let configurations = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];
    let everywhere = vec![
        rule(
            "admissionregistration.k8s.io",
            &configurations,
            &["sandgate-webhook"],
            &["get", "list", "watch", "patch"],
        ),
        rule("", &["namespaces"], &[], &["get", "list", "watch"]),
    ];
    let own = ["get", "update", "list", "watch"];
    let at_home = [
        everywhere.clone(),
        vec![
            rule("", &["secrets"], &[], &["create"]),
            rule("", &["secrets"], &["sandgate-webhook-ca"], &own),
            rule("", &["configmaps"], &["sandgate-renderings"], &own),
        ],
    ];
    assert_eq!(sorted(rules_in("default")), sorted(everywhere));
    assert_eq!(sorted(rules_in("sandgate-system")), sorted(at_home.concat()));
}
