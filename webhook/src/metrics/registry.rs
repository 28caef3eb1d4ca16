//! Makes metrics and registers them. The only place where a metric's name is a string; a bad or repeated one is found
//! by any test that makes the metrics, so it panics.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::process::Process;
use crate::cluster::vitals::Vitals;

const PREFIX: &str = "sandgate_webhook";

pub(super) struct Maker {
    registry: Registry,
    process: Process,
}

impl Maker {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        let process = Process::new(|gauge| register(&registry, gauge));
        Self { registry, process }
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        register(&self.registry, IntCounter::with_opts(opts(name, help)))
    }

    pub(super) fn counter_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        register(&self.registry, IntCounterVec::new(opts(name, help), labels))
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Gauge {
        register(&self.registry, Gauge::with_opts(opts(name, help)))
    }

    pub(super) fn int_gauge(&self, name: &str, help: &str) -> IntGauge {
        register(&self.registry, IntGauge::with_opts(opts(name, help)))
    }

    pub(super) fn int_gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        register(&self.registry, IntGaugeVec::new(opts(name, help), labels))
    }

    pub(super) fn histogram_vec(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts { common_opts: opts(name, help), buckets: buckets.to_vec() };
        register(&self.registry, HistogramVec::new(opts, labels))
    }

    /// The metrics of what talks to the API server.
    pub(super) fn vitals(&self) -> Vitals {
        Vitals::new(&self.registry).expect("its names are constants, valid, and made once")
    }

    /// Reads anew what is not counted as it happens.
    pub(super) fn refresh(&self) {
        self.process.refresh();
    }

    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(PREFIX)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("the name and labels are constants, and valid");
    registry.register(Box::new(collector.clone())).expect("each name is made once");
    collector
}
