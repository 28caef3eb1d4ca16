//! Series whose life is that of what they describe.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntGauge, IntGaugeVec};

/// Counts something as open until it is dropped.
#[must_use]
pub struct Open(IntGauge);

impl Open {
    /// Counts one more in `gauge`.
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The one document in force, by its hash: a series with the value 1. That of the one before disappears.
pub struct InForce {
    info: IntGaugeVec,
    hash: Mutex<Option<String>>,
}

impl InForce {
    /// Nothing is in force yet. `info` has one label.
    #[must_use]
    pub fn new(info: IntGaugeVec) -> Self {
        Self { info, hash: Mutex::new(None) }
    }

    /// The one with this hash is in force from now on.
    pub fn set(&self, hash: &str) {
        self.replace(Some(hash));
    }

    /// None is in force any more.
    pub fn clear(&self) {
        self.replace(None);
    }

    fn replace(&self, hash: Option<&str>) {
        let mut current = self.hash.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = std::mem::replace(&mut *current, hash.map(str::to_owned)) {
            // It was set when it became the current one.
            let _ = self.info.remove_label_values(&[&old]);
        }
        if let Some(hash) = hash {
            self.info.with_label_values(&[hash]).set(1);
        }
    }
}

/// A moment in Unix time, as metrics have it: seconds; 0 before 1970.
#[must_use]
pub fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
