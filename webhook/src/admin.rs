//! What the admin port shows of a replica: whether it is ready, and its metrics. Nothing of what is in pods.

use std::sync::Arc;

use http::StatusCode;
use sandgate_service::health_port::State;
use serde_json::json;

use crate::health::Health;
use crate::metrics::Metrics;

/// A replica as its admin port shows it.
pub struct Admin {
    /// What `/readyz` reports.
    pub health: Arc<Health>,
    /// What `/metrics` reports.
    pub metrics: Arc<Metrics>,
}

impl State for Admin {
    fn readiness(&self) -> (StatusCode, String) {
        let problems = self.health.unmet();
        let (code, status) = match problems.is_empty() {
            true => (StatusCode::OK, "ready"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
        };
        (code, format!("{}\n", json!({"status": status, "problems": problems})))
    }

    fn metrics(&self) -> String {
        self.metrics.ready(self.health.unmet().is_empty());
        self.metrics.encode()
    }

    // The log has it; no metric of the webhook counts it.
    fn descriptors_exhausted(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Condition;

    #[test]
    fn it_is_ready_when_every_condition_is_met_until_it_drains() {
        let admin = Admin { health: Arc::new(Health::default()), metrics: Arc::new(Metrics::new()) };
        let is_ready = || admin.metrics().contains("\nsandgate_webhook_ready 1\n");
        let (status, body) = admin.readiness();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status.as_u16(), &body["status"]), (503, &"not_ready".into()));
        assert_eq!(body["problems"].as_array().map(Vec::len), Some(Condition::ALL.len()));
        assert!(!is_ready());
        for condition in Condition::ALL {
            admin.health.set(condition, Ok(()));
        }
        assert_eq!(admin.readiness(), (StatusCode::OK, "{\"status\":\"ready\",\"problems\":[]}\n".to_owned()));
        assert!(is_ready());
        admin.health.drain();
        let body = "{\"status\":\"not_ready\",\"problems\":[\"draining: the process was asked to end\"]}\n";
        assert_eq!(admin.readiness(), (StatusCode::SERVICE_UNAVAILABLE, body.to_owned()));
        assert!(!is_ready());
    }
}
