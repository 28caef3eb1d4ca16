//! The sidecar's Prometheus metrics, as typed methods. No label takes a value that a client can choose: hosts, paths
//! and methods are for the audit log.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use sandgate_policy::destination::Scheme;
pub use sandgate_service::metrics::Open;
use sandgate_service::metrics::{InForce, Maker, seconds};

use crate::audit::Verdict;
use crate::refusal::Code;

/// Upper bounds of the latency buckets, in seconds: from what the sidecar itself adds to a request, to a long poll.
const LATENCY_BUCKETS: [f64; 19] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    120.0, 600.0,
];
const SCHEMES: [Scheme; 2] = [Scheme::Https, Scheme::Http];
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What a tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelKind {
    /// TLS that is terminated here.
    Intercepted,
    /// Plain HTTP inside a CONNECT.
    PlainHttp,
    /// Opaque TLS.
    Passthrough,
    /// A stream after an upgrade: WebSocket.
    Upgraded,
}

/// The HTTP version of a connection to an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// All metrics of one sidecar. Shared in an `Arc`.
pub struct Metrics {
    maker: Maker,
    decisions: IntCounterVec,
    allowed: IntCounter,
    requests: [[IntCounter; STATUS_CLASSES.len()]; SCHEMES.len()],
    request_duration: Histogram,
    upstream_connect: Histogram,
    open_connections: IntGauge,
    open_tunnels: [IntGauge; 4],
    leaf_cache_entries: IntGauge,
    leaf_cache_hits: IntCounter,
    leaf_mints: IntCounter,
    upstream_open: [IntGauge; 2],
    upstream_idle: [IntGauge; 2],
    policy_generation: IntGauge,
    policy_reload_failures: IntCounter,
    policy_last_success: Gauge,
    policy_in_force: InForce,
    ca_generation: IntGauge,
    ca_not_after: Gauge,
    audit_lost: IntCounter,
    descriptor_exhaustion: IntCounter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Makes all metrics, in a registry of their own.
    #[must_use]
    pub fn new() -> Self {
        let m = Maker::new("sandgate", "The version of this sidecar; always 1.");
        let decisions = m.counter_vec(
            "decisions_total",
            "Judged CONNECTs and requests by verdict and refusal code.",
            &["verdict", "code"],
        );
        let requests = m.counter_vec(
            "requests_total",
            "Requests answered, by scheme and class of the status sent to the client.",
            &["scheme", "status"],
        );
        let tunnels = m.int_gauge_vec("open_tunnels", "Tunnels open now, by what they carry.", &["kind"]);
        let upstream = m.int_gauge_vec("upstream_connections", "Connections to origins open now.", &["protocol"]);
        let idle = m.int_gauge_vec("upstream_idle_connections", "Those of them that carry no request.", &["protocol"]);
        let by_protocol = |gauge: &IntGaugeVec| ["h1", "h2"].map(|protocol| gauge.with_label_values(&[protocol]));
        Self {
            allowed: decisions.with_label_values(&[Verdict::Allowed.as_str(), ""]),
            decisions,
            requests: SCHEMES
                .map(|scheme| STATUS_CLASSES.map(|class| requests.with_label_values(&[scheme.as_str(), class]))),
            request_duration: m.histogram(
                "request_duration_seconds",
                "From a request's head to the end of its response.",
                &LATENCY_BUCKETS,
            ),
            upstream_connect: m.histogram(
                "upstream_connect_seconds",
                "Dialling an origin, with its TLS handshake.",
                &LATENCY_BUCKETS,
            ),
            open_connections: m.int_gauge("open_connections", "Client connections open now."),
            open_tunnels: ["intercepted", "plain_http", "passthrough", "upgraded"]
                .map(|kind| tunnels.with_label_values(&[kind])),
            leaf_cache_entries: m.int_gauge("leaf_cache_entries", "Hosts whose certificate is in the cache."),
            leaf_cache_hits: m.counter("leaf_cache_hits_total", "Handshakes that found their certificate made."),
            leaf_mints: m.counter("leaf_mints_total", "Certificates made for intercepted hosts."),
            upstream_open: by_protocol(&upstream),
            upstream_idle: by_protocol(&idle),
            policy_generation: m.int_gauge("policy_generation", "Policies taken into use since the start."),
            policy_reload_failures: m
                .counter("policy_reload_failures_total", "Policy files that were refused; the last good one stayed."),
            policy_last_success: m.gauge(
                "policy_last_reload_success_timestamp_seconds",
                "When a policy was last taken into use; 0 if none was.",
            ),
            policy_in_force: InForce::new(m.int_gauge_vec(
                "policy_info",
                "The policy in force by its digest; always 1.",
                &["digest"],
            )),
            ca_generation: m.int_gauge("ca_generation", "Signing CAs taken into use since the start."),
            ca_not_after: m.gauge("ca_not_after_timestamp_seconds", "When the signing CA expires."),
            audit_lost: m.counter("audit_lost_total", "Audit lines that could not be written."),
            descriptor_exhaustion: m
                .counter("descriptor_exhaustion_total", "Sockets that could not be opened for want of descriptors."),
            maker: m,
        }
    }

    /// Counts a CONNECT or request that was judged.
    pub fn decided(&self, verdict: Verdict, code: Option<Code>) {
        match (verdict, code) {
            (Verdict::Allowed, None) => self.allowed.inc(),
            _ => self.decisions.with_label_values(&[verdict.as_str(), code.map_or("", Code::as_str)]).inc(),
        }
    }

    /// Counts an answered request and what it took, from its head to the end of its response.
    pub fn request_finished(&self, scheme: Scheme, status: StatusCode, took: Duration) {
        let scheme = match scheme {
            Scheme::Https => 0,
            Scheme::Http => 1,
        };
        // Statuses beyond 599 exist in `http`; the last class takes them.
        let class = usize::from(status.as_u16() / 100).saturating_sub(1).min(STATUS_CLASSES.len() - 1);
        self.requests[scheme][class].inc();
        self.request_duration.observe(took.as_secs_f64());
    }

    /// Records what dialling an origin took, with its handshake.
    pub fn upstream_connected(&self, took: Duration) {
        self.upstream_connect.observe(took.as_secs_f64());
    }

    /// Counts a client connection as open until the guard is dropped.
    pub fn connection(&self) -> Open {
        Open::new(&self.open_connections)
    }

    /// Counts a tunnel as open until the guard is dropped.
    pub fn tunnel(&self, kind: TunnelKind) -> Open {
        Open::new(&self.open_tunnels[kind as usize])
    }

    /// Counts a connection to an origin as open until the guard is dropped.
    pub fn upstream(&self, protocol: Protocol) -> Open {
        Open::new(&self.upstream_open[protocol as usize])
    }

    /// Counts a connection to an origin as idle until the guard is dropped.
    pub fn upstream_idle(&self, protocol: Protocol) -> Open {
        Open::new(&self.upstream_idle[protocol as usize])
    }

    /// Takes over what the leaf cache has counted since the start: handshakes that found their certificate made,
    /// certificates that were made, and how many hosts it holds.
    pub fn leaves(&self, hits: u64, mints: u64, entries: usize) {
        self.leaf_cache_hits.inc_by(hits.saturating_sub(self.leaf_cache_hits.get()));
        self.leaf_mints.inc_by(mints.saturating_sub(self.leaf_mints.get()));
        self.leaf_cache_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// A policy was taken into use, now. The digest of the one before disappears from the metrics.
    pub fn policy_loaded(&self, digest: &str) {
        self.policy_generation.inc();
        self.policy_last_success.set(seconds(SystemTime::now()));
        self.policy_in_force.set(digest);
    }

    /// No policy is in force any more: its digest disappears.
    pub fn policy_gone(&self) {
        self.policy_reload_failures.inc();
        self.policy_in_force.clear();
    }

    /// A policy file was refused.
    pub fn policy_reload_failed(&self) {
        self.policy_reload_failures.inc();
    }

    /// A CA began to sign.
    pub fn ca_loaded(&self, not_after: SystemTime) {
        self.ca_generation.inc();
        self.ca_not_after.set(seconds(not_after));
    }

    /// The counter of lost audit lines, for [`crate::audit::AuditSettings::lost`].
    #[must_use]
    pub fn audit_lost(&self) -> IntCounter {
        self.audit_lost.clone()
    }

    /// Counts a socket that could not be opened or accepted because the process or machine has no descriptor left.
    pub fn descriptors_exhausted(&self) {
        self.descriptor_exhaustion.inc();
    }

    /// Everything in the Prometheus text format 0.0.4.
    #[must_use]
    pub fn encode(&self) -> String {
        self.maker.encode()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn value(metrics: &Metrics, series: &str) -> Option<f64> {
        let text = metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    #[test]
    fn decisions_are_counted_by_verdict_and_code() {
        let metrics = Metrics::new();
        metrics.decided(Verdict::Allowed, None);
        metrics.decided(Verdict::Denied, Some(Code::HostNotAllowed));
        metrics.decided(Verdict::Denied, Some(Code::HostNotAllowed));
        let allowed = "sandgate_decisions_total{code=\"\",verdict=\"allowed\"}";
        let denied = "sandgate_decisions_total{code=\"host_not_allowed\",verdict=\"denied\"}";
        assert_eq!((value(&metrics, allowed), value(&metrics, denied)), (Some(1.0), Some(2.0)));
    }

    #[test]
    fn requests_are_counted_by_scheme_and_class_and_timed_from_100_microseconds() {
        let metrics = Metrics::new();
        metrics.request_finished(Scheme::Http, StatusCode::NOT_FOUND, Duration::from_micros(90));
        metrics.request_finished(Scheme::Https, StatusCode::from_u16(999).unwrap(), Duration::from_secs(3600));
        for (series, expected) in [
            ("sandgate_requests_total{scheme=\"http\",status=\"4xx\"}", 1.0),
            ("sandgate_requests_total{scheme=\"https\",status=\"5xx\"}", 1.0),
            ("sandgate_requests_total{scheme=\"https\",status=\"2xx\"}", 0.0),
            ("sandgate_request_duration_seconds_bucket{le=\"0.0001\"}", 1.0),
            ("sandgate_request_duration_seconds_bucket{le=\"600\"}", 1.0),
            ("sandgate_request_duration_seconds_count", 2.0),
        ] {
            assert_eq!(value(&metrics, series), Some(expected), "{series}");
        }
    }

    #[test]
    fn guards_count_what_is_open() {
        let metrics = Metrics::new();
        let series = [
            "sandgate_open_connections",
            "sandgate_open_tunnels{kind=\"passthrough\"}",
            "sandgate_upstream_connections{protocol=\"h2\"}",
            "sandgate_upstream_idle_connections{protocol=\"h1\"}",
        ];
        let open = (
            metrics.connection(),
            metrics.tunnel(TunnelKind::Passthrough),
            metrics.upstream(Protocol::Http2),
            metrics.upstream_idle(Protocol::Http1),
        );
        assert_eq!(series.map(|series| value(&metrics, series)), [Some(1.0); 4]);
        drop(open);
        assert_eq!(series.map(|series| value(&metrics, series)), [Some(0.0); 4]);
    }

    #[test]
    fn only_the_policy_in_force_has_a_digest() {
        let metrics = Metrics::new();
        metrics.policy_loaded("sha256:a");
        metrics.policy_loaded("sha256:b");
        assert_eq!(value(&metrics, "sandgate_policy_info{digest=\"sha256:a\"}"), None);
        assert_eq!(value(&metrics, "sandgate_policy_info{digest=\"sha256:b\"}"), Some(1.0));
        assert_eq!(value(&metrics, "sandgate_policy_generation"), Some(2.0));
        assert!(value(&metrics, "sandgate_policy_last_reload_success_timestamp_seconds") > Some(1.7e9));
    }

    #[test]
    fn every_metric_has_a_help_text_and_a_conventional_name() {
        let metrics = Metrics::new();
        metrics.policy_loaded("d");
        metrics.decided(Verdict::Denied, Some(Code::Overloaded));
        let text = metrics.encode();
        let types: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        assert_eq!(types.len(), 23);
        for (name, kind) in types {
            assert!(name.starts_with("sandgate_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        }
    }

    /// What docs/metrics.md says below its text.
    fn table(text: &str) -> String {
        let mut table = String::from("| metric | type | what it counts |\n|---|---|---|\n");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("# "));
        while let (Some(help), Some(kind)) = (lines.next(), lines.next()) {
            let (name, help) = help.strip_prefix("HELP ").unwrap().split_once(' ').unwrap();
            let kind = kind.rsplit(' ').next().unwrap();
            writeln!(table, "| `{name}` | {kind} | {help} |").unwrap();
        }
        table
    }

    #[test]
    fn the_documentation_lists_all_metrics() {
        let metrics = Metrics::new();
        metrics.policy_loaded("d");
        let table = table(&metrics.encode());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let page = std::fs::read_to_string(path).unwrap();
        let start = page.find("| metric |").expect("the page has the table");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, format!("{}{table}", &page[..start])).unwrap();
            return;
        }
        assert_eq!(&page[start..], table, "run `UPDATE_DOCS=1 cargo test -p sandgate-sidecar documentation`");
    }
}
