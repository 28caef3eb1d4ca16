//! Alerts and the dashboard: they ask for metrics that exist, and people who are woken are told what to do.

use std::collections::BTreeSet;

use sandgate_webhook::metrics::Metrics;
use serde_json::{Value, json};

use crate::builds::with;

/// The reference of metrics, which a test of its own compares with the code.
const METRICS: &str = include_str!("../../../docs/webhook-metrics.md");
/// The API server's own, where Prometheus has them.
const FOREIGN: [&str; 1] = ["apiserver_admission_webhook_rejection_count"];

fn rules() -> Vec<Value> {
    let rule = with("monitoring").object("PrometheusRule", "sandgate-webhook");
    rule["spec"]["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

fn dashboard() -> Value {
    let config_map = with("monitoring").object("ConfigMap", "sandgate-webhook-dashboard");
    assert_eq!(config_map["metadata"]["labels"]["grafana_dashboard"], "1");
    serde_json::from_str(config_map["data"]["dashboard.json"].as_str().unwrap()).unwrap()
}

fn panels() -> Vec<Value> {
    dashboard()["panels"].as_array().unwrap().clone()
}

fn expressions() -> Vec<String> {
    let targets = panels().into_iter().flat_map(|panel| panel["targets"].as_array().unwrap().clone());
    rules().into_iter().chain(targets).map(|rule| rule["expr"].as_str().unwrap().to_owned()).collect()
}

/// The words of an expression that could be names, outside of its texts.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let outside = expression.split('"').step_by(2);
    outside.flat_map(|part| part.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_'))
}

#[test]
fn every_metric_that_is_asked_for_exists_and_every_one_of_ours_is_asked_for() {
    let known: BTreeSet<&str> =
        METRICS.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut asked = BTreeSet::new();
    for expression in expressions() {
        for name in names(&expression).filter(|name| name.contains('_') && *name != "histogram_quantile") {
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            if name.starts_with("sandgate_") || name.starts_with("process_") {
                assert!(known.contains(name), "{name} in {expression}");
                asked.insert(name.to_owned());
            } else {
                assert!(
                    FOREIGN.contains(&name)
                        || ["error_type", "group_left"].contains(&name)
                        || name == "__rate_interval",
                    "{name} in {expression}"
                );
            }
        }
    }
    let unseen: Vec<&&str> =
        known.iter().filter(|name| name.starts_with("sandgate_webhook_") && !asked.contains(**name)).collect();
    assert_eq!(unseen, Vec::<&&str>::new(), "nobody looks at these");
}

#[test]
fn every_value_of_a_label_that_is_asked_for_exists() {
    for expression in expressions() {
        for label in ["reason", "outcome", "path"] {
            for (place, matcher) in expression.match_indices(&format!("{label}=")) {
                let values = expression[place + matcher.len()..].trim_start_matches('~').split('"').nth(1).unwrap();
                for value in values.split('|') {
                    let row = METRICS.contains(&format!("| `{value}` |")) || METRICS.contains(&format!("| {value} |"));
                    assert!(row, "{label} {value} in {expression}");
                }
            }
        }
    }
}

/// What `increase` and `rate` are asked of: a name of ours, and its matchers.
fn counted(expression: &str) -> Vec<(&str, &str)> {
    let calls = ["increase(", "rate("].into_iter().flat_map(|call| expression.split(call).skip(1));
    let selectors = calls.map(|rest| rest.split('[').next().unwrap());
    let split = selectors.map(|selector| selector.split_once('{').unwrap_or((selector, "")));
    split.filter(|(name, _)| !FOREIGN.contains(name)).map(|(name, rest)| (name, rest.trim_end_matches('}'))).collect()
}

/// The matchers written out: one list of labels for each of the values that they let through.
fn written_out(matchers: &str) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    for matcher in matchers.split(',').map(str::trim).filter(|matcher| !matcher.is_empty()) {
        let (label, values) = matcher.split_once('=').unwrap();
        let values = values.trim_start_matches('~').trim_matches('"').split('|');
        let labels: Vec<String> = values.map(|value| format!("{label}=\"{value}\"")).collect();
        all = all
            .iter()
            .flat_map(|set| labels.iter().map(move |it| [set.as_slice(), std::slice::from_ref(it)].concat()))
            .collect();
    }
    all
}

#[test]
fn what_an_alert_counts_is_there_from_the_start_so_that_its_first_increase_is_one() {
    let fresh = Metrics::new().encode();
    let rules = rules();
    let counted: Vec<_> = rules.iter().flat_map(|rule| counted(rule["expr"].as_str().unwrap())).collect();
    assert!(counted.len() >= 6, "{counted:?}");
    for (name, matchers) in counted {
        for labels in written_out(matchers) {
            let is_it = |line: &str| {
                let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']));
                rest.is_some_and(|rest| labels.iter().all(|label| rest.contains(label.as_str())))
            };
            assert!(fresh.lines().any(is_it), "{name} {labels:?} is not there before it is counted");
        }
    }
}

#[test]
fn every_expression_closes_what_it_opens() {
    for expression in expressions() {
        let mut open = Vec::new();
        for letter in expression.split('"').step_by(2).flat_map(str::chars) {
            match letter {
                '(' | '{' | '[' => open.push(letter),
                ')' => assert_eq!(open.pop(), Some('('), "{expression}"),
                '}' => assert_eq!(open.pop(), Some('{'), "{expression}"),
                ']' => assert_eq!(open.pop(), Some('['), "{expression}"),
                _ => {}
            }
        }
        assert!(open.is_empty() && expression.matches('"').count() % 2 == 0, "{expression}");
    }
}

#[test]
fn every_alert_says_how_bad_it_is_what_it_means_and_what_to_look_at() {
    let rules = rules();
    let alerts: BTreeSet<&str> = rules.iter().map(|rule| rule["alert"].as_str().unwrap()).collect();
    assert_eq!(alerts.len(), rules.len(), "an alert is there twice");
    for rule in &rules {
        let fields: BTreeSet<&str> = rule.as_object().unwrap().keys().map(String::as_str).collect();
        let known = BTreeSet::from(["alert", "annotations", "expr", "for", "labels"]);
        assert!(fields.is_subset(&known), "{fields:?}");
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{rule}");
        for annotation in ["summary", "description", "runbook"] {
            assert!(rule["annotations"][annotation].as_str().unwrap().len() > 20, "{annotation} of {rule}");
        }
    }
    for alert in ["SandgateWebhookAbsent", "SandgateWebhookServingCertificateEnds", "SandgateWebhookWatchDown"] {
        assert!(alerts.contains(alert), "{alert}");
    }
}

#[test]
fn the_dashboards_panels_lie_side_by_side_and_have_names() {
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()) && !panel["title"].as_str().unwrap().is_empty());
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24);
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(taken.insert((x, y)), "{} lies on another", panel["title"]);
            }
        }
    }
}

#[test]
fn prometheus_finds_the_port_and_gets_through_the_network_policy() {
    let build = with("monitoring");
    let monitor = &build.object("PodMonitor", "sandgate-webhook")["spec"];
    let endpoint = json!({"port": "admin", "path": "/metrics", "interval": "30s"});
    assert_eq!(monitor["podMetricsEndpoints"], json!([endpoint]));
    let template = &build.object("Deployment", "sandgate-webhook")["spec"]["template"];
    assert!(template["spec"]["containers"][0]["ports"].as_array().unwrap().iter().any(|port| port["name"] == "admin"));
    let labels = template["metadata"]["labels"].as_object().unwrap();
    let policy = &build.object("NetworkPolicy", "sandgate-webhook-metrics")["spec"];
    for selector in [&monitor["selector"], &policy["podSelector"]] {
        for (label, value) in selector["matchLabels"].as_object().unwrap() {
            assert_eq!(labels.get(label), Some(value));
        }
    }
    assert_eq!(policy["ingress"][0]["ports"], json!([{"port": "admin", "protocol": "TCP"}]));
}
