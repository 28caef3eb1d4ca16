//! The webhook's Prometheus metrics, as typed methods. Every label's value comes from a fixed table, but for the hash of
//! the configuration: nothing that the author of a pod, a namespace or a policy writes is ever one.

mod tables;

use std::time::{Duration, SystemTime};

use prometheus::{Gauge, HistogramVec, IntCounter, IntCounterVec, IntGauge};
pub use sandgate_service::metrics::Open;
use sandgate_service::metrics::{InForce, Maker, seconds};

pub use tables::{Closed, Path, Rejected};

use crate::cluster::vitals::Vitals;
use crate::mode::Mode;
use crate::reason::Reason;

/// Upper bounds of the latency buckets, in seconds. A review takes well under a millisecond, and the API server waits
/// five seconds at most.
const LATENCY_BUCKETS: [f64; 13] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// All metrics of one replica. Shared in an `Arc`.
pub struct Metrics {
    maker: Maker,
    admissions: IntCounterVec,
    admission_duration: HistogramVec,
    rejected: IntCounterVec,
    open_connections: IntGauge,
    closed: IntCounterVec,
    ready: IntGauge,
    configuration: Configuration,
    vitals: Vitals,
}

struct Configuration {
    generation: IntGauge,
    failures: IntCounter,
    success: Gauge,
    in_force: InForce,
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
        let m = Maker::new("sandgate_webhook", "The version of this webhook; always 1.");
        let metrics = Self {
            admissions: m.counter_vec(
                "admissions_total",
                "Reviews answered, by path, mode (empty for policies), outcome and reason.",
                &["path", "mode", "outcome", "reason"],
            ),
            admission_duration: m.histogram_vec(
                "admission_duration_seconds",
                "From a review's last byte to its answer.",
                &["path"],
                &LATENCY_BUCKETS,
            ),
            rejected: m.counter_vec(
                "requests_rejected_total",
                "HTTP requests that were no review that could be answered, by what was wrong with them.",
                &["reason"],
            ),
            open_connections: m.int_gauge("open_connections", "TLS connections open now, handshakes among them."),
            closed: m.counter_vec(
                "connections_closed_total",
                "Connections that the server ended or refused, by the bound or failure that was met.",
                &["reason"],
            ),
            ready: m.int_gauge("ready", "1 while this replica is ready to answer reviews."),
            configuration: Configuration::new(&m),
            vitals: Vitals::new(m.registry()).expect("its names are constants, valid, and made once"),
            maker: m,
        };
        metrics.start_from_zero();
        metrics
    }

    /// Series that alerts look at are there from the start, so that their first increase is seen as one.
    fn start_from_zero(&self) {
        for rejected in Rejected::ALL {
            self.rejected.with_label_values(&[rejected.name()]).inc_by(0);
        }
        for closed in Closed::ALL {
            self.closed.with_label_values(&[closed.name()]).inc_by(0);
        }
        for path in [Path::Mutate, Path::Validate] {
            for mode in [Mode::Required, Mode::Enabled, Mode::Unlabelled] {
                for reason in [Reason::Missing, Reason::NotGenuine] {
                    self.review(path, Some(mode), reason).inc_by(0);
                }
            }
        }
        for path in Path::ALL {
            let _ = self.admission_duration.with_label_values(&[path.name()]);
        }
    }

    /// Counts an answered review, and what it took from its last byte on. `mode` is that of the call's path.
    pub fn admitted(&self, path: Path, mode: Option<Mode>, reason: Reason, took: Duration) {
        self.review(path, mode, reason).inc();
        self.admission_duration.with_label_values(&[path.name()]).observe(took.as_secs_f64());
    }

    fn review(&self, path: Path, mode: Option<Mode>, reason: Reason) -> IntCounter {
        let mode = mode.map_or("", Mode::name);
        self.admissions.with_label_values(&[path.name(), mode, reason.outcome().name(), reason.code()])
    }

    /// Counts an HTTP request that was answered with an error instead of a review.
    pub fn rejected(&self, reason: Rejected) {
        self.rejected.with_label_values(&[reason.name()]).inc();
    }

    /// Counts a connection as open until the guard is dropped.
    pub fn connection(&self) -> Open {
        Open::new(&self.open_connections)
    }

    /// Counts a connection that the server ended or refused.
    pub fn closed(&self, reason: Closed) {
        self.closed.with_label_values(&[reason.name()]).inc();
    }

    /// Whether this replica is ready, as `/readyz` says it.
    pub fn ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    /// A configuration was taken into use, now. The hash of the one before disappears from the metrics.
    pub fn configuration_loaded(&self, hash: &str) {
        self.configuration.generation.inc();
        self.configuration.success.set(seconds(SystemTime::now()));
        self.configuration.in_force.set(hash);
    }

    /// A configuration was refused.
    pub fn configuration_reload_failed(&self) {
        self.configuration.failures.inc();
    }

    /// What is measured of our dealings with the API server.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        self.vitals.clone()
    }

    /// Everything in the Prometheus text format 0.0.4.
    #[must_use]
    pub fn encode(&self) -> String {
        self.maker.encode()
    }
}

impl Configuration {
    fn new(m: &Maker) -> Self {
        Self {
            generation: m.int_gauge("configuration_generation", "Configurations taken into use since the start."),
            failures: m.counter(
                "configuration_reload_failures_total",
                "Configurations that were refused; the last good one stayed.",
            ),
            success: m.gauge(
                "configuration_last_reload_success_timestamp_seconds",
                "When a configuration was last taken into use; 0 if none was.",
            ),
            in_force: InForce::new(m.int_gauge_vec(
                "configuration_info",
                "The configuration in force by its hash; always 1.",
                &["hash"],
            )),
        }
    }
}

#[cfg(test)]
mod tests;
