//! Makes metrics and registers them, those of the process among them, and writes them all. A bad or repeated name is
//! found by any test that makes the metrics, so it panics.

mod process;
mod series;

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use process::Process;
pub use series::{InForce, Open, seconds};

/// The metrics of one program, in a registry of their own.
pub struct Maker {
    prefix: &'static str,
    registry: Registry,
    process: Process,
}

/// Every metric's name is what is said here after the prefix and `_`. All panic when a name or label is malformed, or a
/// name is made twice.
impl Maker {
    /// Makes the process's metrics, which have no prefix, and `build_info` with this version and `help`.
    #[must_use]
    pub fn new(prefix: &'static str, help: &str) -> Self {
        let registry = Registry::new();
        let process = Process::new(|gauge| register(&registry, gauge));
        let maker = Self { prefix, registry, process };
        maker.int_gauge_vec("build_info", help, &["version"]).with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        maker
    }

    /// Makes a counter.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        register(&self.registry, IntCounter::with_opts(self.opts(name, help)))
    }

    /// Makes a counter for each value of `labels`.
    #[must_use]
    pub fn counter_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        register(&self.registry, IntCounterVec::new(self.opts(name, help), labels))
    }

    /// Makes a gauge with fractions.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        register(&self.registry, Gauge::with_opts(self.opts(name, help)))
    }

    /// Makes a gauge of whole numbers.
    #[must_use]
    pub fn int_gauge(&self, name: &str, help: &str) -> IntGauge {
        register(&self.registry, IntGauge::with_opts(self.opts(name, help)))
    }

    /// Makes a gauge of whole numbers for each value of `labels`.
    #[must_use]
    pub fn int_gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        register(&self.registry, IntGaugeVec::new(self.opts(name, help), labels))
    }

    /// Makes a histogram with these upper bounds of its `buckets`.
    #[must_use]
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts { common_opts: self.opts(name, help), buckets: buckets.to_vec() };
        register(&self.registry, Histogram::with_opts(opts))
    }

    /// Makes a histogram for each value of `labels`.
    #[must_use]
    pub fn histogram_vec(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts { common_opts: self.opts(name, help), buckets: buckets.to_vec() };
        register(&self.registry, HistogramVec::new(opts, labels))
    }

    /// Where metrics that are made elsewhere, with their whole names, are registered.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Everything in the Prometheus text format 0.0.4; what is not counted as it happens is read anew.
    #[must_use]
    pub fn encode(&self) -> String {
        self.process.refresh();
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be encoded");
        }
        text
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace(self.prefix)
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("the name and labels are constants, and valid");
    registry.register(Box::new(collector.clone())).expect("each name is made once");
    collector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(maker: &Maker, series: &str) -> Option<f64> {
        let text = maker.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    #[test]
    fn the_process_is_measured() {
        let maker = Maker::new("a", "The version.");
        assert!(value(&maker, "process_resident_memory_bytes") > Some(1e6));
        assert!(value(&maker, "process_open_fds") > Some(2.0));
        assert!(value(&maker, "process_max_fds") > Some(2.0));
    }

    #[test]
    fn what_is_open_is_counted_until_it_is_dropped() {
        let maker = Maker::new("a", "The version.");
        let gauge = maker.int_gauge("open", "Open now.");
        let open = Open::new(&gauge);
        assert_eq!(value(&maker, "a_open"), Some(1.0));
        drop(open);
        assert_eq!(value(&maker, "a_open"), Some(0.0));
    }

    #[test]
    fn only_what_is_in_force_has_a_series() {
        let maker = Maker::new("a", "The version.");
        let info = InForce::new(maker.int_gauge_vec("info", "The one in force.", &["hash"]));
        info.set("x");
        info.set("y");
        assert_eq!((value(&maker, "a_info{hash=\"x\"}"), value(&maker, "a_info{hash=\"y\"}")), (None, Some(1.0)));
        info.clear();
        assert_eq!(value(&maker, "a_info{hash=\"y\"}"), None);
    }
}
