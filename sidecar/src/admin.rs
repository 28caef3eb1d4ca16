//! What the health port shows of a sidecar: whether it is ready, and its metrics.

mod health;

use std::sync::Arc;

use http::StatusCode;
use sandgate_service::health_port::State;

pub use health::Health;

use crate::metrics::Metrics;

/// A sidecar as its health port shows it.
pub struct Admin {
    /// What `/readyz` reports.
    pub health: Arc<Health>,
    /// What `/metrics` reports.
    pub metrics: Arc<Metrics>,
}

impl State for Admin {
    fn readiness(&self) -> (StatusCode, String) {
        self.health.report()
    }

    fn metrics(&self) -> String {
        self.metrics.encode()
    }

    fn descriptors_exhausted(&self) {
        self.metrics.descriptors_exhausted();
    }
}
