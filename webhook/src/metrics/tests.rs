use std::fmt::Write;

use super::*;

fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.encode();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

#[test]
fn reviews_are_counted_by_path_mode_outcome_and_reason_and_timed_from_100_microseconds() {
    let metrics = Metrics::new();
    metrics.admitted(Path::Mutate, Some(Mode::Required), Reason::HostNetwork, Duration::from_micros(90));
    metrics.admitted(Path::Policies, None, Reason::PolicyInvalid, Duration::from_secs(5));
    for (series, expected) in [
        ("admissions_total{mode=\"required\",outcome=\"skipped\",path=\"mutate\",reason=\"host_network\"}", 1.0),
        ("admissions_total{mode=\"\",outcome=\"refused\",path=\"policies\",reason=\"policy_invalid\"}", 1.0),
        ("admission_duration_seconds_bucket{path=\"mutate\",le=\"0.0001\"}", 1.0),
        ("admission_duration_seconds_bucket{path=\"policies\",le=\"1\"}", 0.0),
        ("admission_duration_seconds_count{path=\"policies\"}", 1.0),
        ("admission_duration_seconds_count{path=\"templates\"}", 0.0),
    ] {
        assert_eq!(value(&metrics, &format!("sandgate_webhook_{series}")), Some(expected), "{series}");
    }
}

#[test]
fn every_row_of_the_tables_is_counted_from_zero() {
    let metrics = Metrics::new();
    metrics.rejected(Rejected::Panic);
    metrics.closed(Closed::Evicted);
    for rejected in Rejected::ALL {
        let series = format!("sandgate_webhook_requests_rejected_total{{reason=\"{}\"}}", rejected.name());
        assert_eq!(value(&metrics, &series), Some(f64::from(u8::from(rejected == Rejected::Panic))), "{series}");
    }
    for closed in Closed::ALL {
        let series = format!("sandgate_webhook_connections_closed_total{{reason=\"{}\"}}", closed.name());
        assert_eq!(value(&metrics, &series), Some(f64::from(u8::from(closed == Closed::Evicted))), "{series}");
    }
}

#[test]
fn a_final_pod_without_a_genuine_sidecar_is_counted_from_zero() {
    let metrics = Metrics::new();
    for path in ["mutate", "validate"] {
        for mode in ["required", "enabled", "unlabelled"] {
            for reason in ["missing", "not_genuine"] {
                let labels = format!("mode=\"{mode}\",outcome=\"refused\",path=\"{path}\",reason=\"{reason}\"");
                let series = format!("sandgate_webhook_admissions_total{{{labels}}}");
                assert_eq!(value(&metrics, &series), Some(0.0), "{series}");
            }
        }
    }
}

#[test]
fn only_the_configuration_in_force_has_a_hash() {
    let metrics = Metrics::new();
    metrics.configuration_loaded("aaa");
    metrics.configuration_loaded("bbb");
    metrics.configuration_reload_failed();
    assert_eq!(value(&metrics, "sandgate_webhook_configuration_info{hash=\"aaa\"}"), None);
    assert_eq!(value(&metrics, "sandgate_webhook_configuration_info{hash=\"bbb\"}"), Some(1.0));
    assert_eq!(value(&metrics, "sandgate_webhook_configuration_generation"), Some(2.0));
    assert_eq!(value(&metrics, "sandgate_webhook_configuration_reload_failures_total"), Some(1.0));
    let success = value(&metrics, "sandgate_webhook_configuration_last_reload_success_timestamp_seconds");
    assert!(success > Some(1.7e9), "{success:?}");
}

#[test]
fn connections_and_readiness_are_gauges() {
    let metrics = Metrics::new();
    metrics.ready(true);
    let open = metrics.connection();
    let series = ["ready", "open_connections"];
    let read = || series.map(|series| value(&metrics, &format!("sandgate_webhook_{series}")));
    assert_eq!(read(), [Some(1.0), Some(1.0)]);
    drop(open);
    metrics.ready(false);
    assert_eq!(read(), [Some(0.0), Some(0.0)]);
}

#[test]
fn every_metric_has_a_help_text_and_a_conventional_name() {
    let text = used().encode();
    let types: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    assert!(types.len() >= 20, "{types:?}");
    for (name, kind) in types {
        assert!(name.starts_with("sandgate_webhook_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
    }
}

/// Metrics with at least one series each.
fn used() -> Metrics {
    let metrics = Metrics::new();
    metrics.configuration_loaded("h");
    metrics.admitted(Path::Mutate, Some(Mode::Enabled), Reason::Injected, Duration::ZERO);
    let vitals = metrics.vitals();
    vitals.watch_up.with_label_values(&["namespaces"]).set(1);
    vitals.watch_errors.with_label_values(&["namespaces"]).inc();
    vitals.expiry.with_label_values(&["ca"]).set(1);
    vitals.repairs.with_label_values(&["mutating"]).inc();
    vitals.configuration_present.with_label_values(&["mutating"]).set(1);
    metrics
}

/// What docs/webhook-metrics.md says below its text.
fn tables() -> String {
    let mut page = String::from("| metric | type | what it counts |\n|---|---|---|\n");
    let text = used().encode();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("# "));
    while let (Some(help), Some(kind)) = (lines.next(), lines.next()) {
        let (name, help) = help.strip_prefix("HELP ").unwrap().split_once(' ').unwrap();
        writeln!(page, "| `{name}` | {} | {help} |", kind.rsplit(' ').next().unwrap()).unwrap();
    }
    let mut label = |title: &str, rows: &[(&str, &str)]| {
        writeln!(page, "\n{title}:\n\n| value | meaning |\n|---|---|").unwrap();
        for (name, meaning) in rows {
            writeln!(page, "| `{name}` | {} |", meaning.trim()).unwrap();
        }
    };
    label("`path` of the admission metrics", &Path::ALL.map(|row| (row.name(), row.meaning())));
    label("`reason` of `requests_rejected_total`", &Rejected::ALL.map(|row| (row.name(), row.meaning())));
    label("`reason` of `connections_closed_total`", &Closed::ALL.map(|row| (row.name(), row.meaning())));
    writeln!(page, "\n`reason` of `admissions_total`, with the outcome that goes with it:\n").unwrap();
    page.push_str("| value | outcome | meaning |\n|---|---|---|\n");
    for reason in Reason::ALL {
        writeln!(page, "| `{}` | {} | {} |", reason.code(), reason.outcome().name(), reason.meaning().trim()).unwrap();
    }
    page
}

#[test]
fn the_documentation_lists_all_metrics() {
    let tables = tables();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/webhook-metrics.md");
    let page = std::fs::read_to_string(path).unwrap();
    let start = page.find("| metric |").expect("the page has the table");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{}{tables}", &page[..start])).unwrap();
        return;
    }
    assert_eq!(&page[start..], tables, "run `UPDATE_DOCS=1 cargo test -p sandgate-webhook documentation`");
}
