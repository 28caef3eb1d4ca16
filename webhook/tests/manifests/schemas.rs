//! What others say about the manifests: the schemas of Kubernetes, and checkov.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::builds::all;

/// Kinds that others define; `shape` and `monitoring` look at ours of them.
const NOT_OF_KUBERNETES: [&str; 4] = [
    "Certificate with api version cert-manager.io/v1",
    "Issuer with api version cert-manager.io/v1",
    "PodMonitor with api version monitoring.coreos.com/v1",
    "PrometheusRule with api version monitoring.coreos.com/v1",
];
/// The version of the API server of these tests.
const KUBERNETES: &str = "1.36";

fn run(program: &str, arguments: &[&str], flag: Option<&str>) -> Output {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(program);
    assert!(path.exists(), "there is no {}: run make test-tools", path.display());
    let mut command = Command::new(path);
    command.args(arguments);
    for build in all() {
        command.args(flag).arg(&build.file);
    }
    command.output().unwrap()
}

#[test]
fn every_build_is_valid_by_the_schemas_of_kubernetes() {
    let arguments = ["-c", VALIDATE, KUBERNETES];
    let output = run("venv/bin/python", &arguments, None);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let unknown: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split_once("schema for kind ")?.1.split(" for kubernetes").next())
        .collect();
    assert_eq!(unknown, BTreeSet::from(NOT_OF_KUBERNETES));
    let passed = text.lines().filter(|line| line.contains(" passed for resource ")).count();
    let known = all().iter().flat_map(|build| &build.objects).filter(|object| !is_of_others(object)).count();
    assert_eq!(passed, known, "{text}");
}

/// The program of kubernetes-validate, which installs no script where pip was told of no dependencies.
const VALIDATE: &str = "
import sys, kubernetes_validate.__main__ as program
sys.argv = ['kubernetes-validate', '--strict', '-k', sys.argv[1]] + sys.argv[2:]
sys.exit(program.main())";

fn is_of_others(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap();
    version.starts_with("cert-manager.io/") || version.starts_with("monitoring.coreos.com/")
}

#[test]
fn checkov_finds_nothing_but_what_is_suppressed_with_a_reason() {
    let arguments = ["--framework=kubernetes", "--skip-download", "--quiet", "--compact", "--output=json"];
    let output = run("checkov-venv/bin/checkov", &arguments, Some("--file"));
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(report["results"]["failed_checks"], Value::Array(Vec::new()));
    assert_eq!(report["summary"]["parsing_errors"], 0);
    let checked = report["summary"]["resource_count"].as_u64().unwrap();
    assert!(checked > 20 * u64::try_from(all().len()).unwrap() / 2, "checkov saw {checked} objects only");

    // checkov takes a suppression without a reason too.
    let suppressions = all().iter().flat_map(|build| &build.objects).flat_map(|object| {
        let annotations = object["metadata"]["annotations"].as_object().into_iter().flatten();
        annotations.filter(|(key, _)| key.starts_with("checkov.io/")).map(|(_, value)| value.as_str().unwrap())
    });
    for suppression in suppressions {
        let (check, reason) = suppression.split_once('=').unwrap();
        assert!(check.starts_with("CKV_") && reason.len() > 30 && reason.ends_with('.'), "{suppression}");
    }
}

#[test]
fn the_schemas_are_those_of_the_api_server_that_tests_run() {
    let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kind-test/parts/kubernetes/go.mod");
    let module = std::fs::read_to_string(parts).unwrap();
    assert!(module.contains(&format!("k8s.io/kubernetes v{KUBERNETES}.")), "{module}");
}
