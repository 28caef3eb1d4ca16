//! What is measured of our dealings with the API server: watches, the certificates, repairs. Labels are names of ours.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The metrics of this part. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// `sandgate_webhook_watch_up{watch}`: 1 while the watch answers, 0 since its last error.
    pub(crate) watch_up: IntGaugeVec,
    /// `sandgate_webhook_watch_errors_total{watch}`.
    pub(crate) watch_errors: IntCounterVec,
    /// `sandgate_webhook_certificate_expiry_timestamp_seconds{certificate}`: `serving` and `ca`, in Unix time.
    pub(crate) expiry: IntGaugeVec,
    /// `sandgate_webhook_ca_bundle_repairs_total{configuration}`: `mutating` and `validating`.
    pub(crate) repairs: IntCounterVec,
    /// `sandgate_webhook_configuration_present{configuration}`: `mutating` and `validating`, once they were read.
    pub(crate) configuration_present: IntGaugeVec,
    /// `sandgate_webhook_ca_rotation_stage`: 0 while there is one CA, 1 while a new one is only trusted, 2 while it
    /// signs and the old one is still trusted.
    pub(crate) rotation_stage: IntGauge,
    /// `sandgate_webhook_namespace_fetches_total`: namespaces that had to be asked for on the admission path.
    pub(crate) fetches: IntCounter,
    /// `sandgate_webhook_renderings`: renderings that are published and read.
    pub(crate) renderings: IntGauge,
}

impl Vitals {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When one of the names is taken in `registry`.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauges = |name: &str, help: &str, label: &str| IntGaugeVec::new(Opts::new(name, help), &[label]);
        let counters = |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let vitals = Self {
            watch_up: gauges(
                "sandgate_webhook_watch_up",
                "Whether the watch answers (1), or its last try failed (0).",
                "watch",
            )?,
            watch_errors: counters(
                "sandgate_webhook_watch_errors_total",
                "Errors of a watch; each is tried again.",
                "watch",
            )?,
            expiry: gauges(
                "sandgate_webhook_certificate_expiry_timestamp_seconds",
                "When the certificate that is served (serving), or the CA that signed it (ca), ends, in Unix time.",
                "certificate",
            )?,
            repairs: counters(
                "sandgate_webhook_ca_bundle_repairs_total",
                "How often a caBundle was not as it has to be and was written.",
                "configuration",
            )?,
            configuration_present: gauges(
                "sandgate_webhook_configuration_present",
                "Whether the webhook configuration is there and has entries (1); 0: the API server asks nobody. No series \
                 where it can't be read.",
                "configuration",
            )?,
            rotation_stage: IntGauge::new(
                "sandgate_webhook_ca_rotation_stage",
                "0: one CA. 1: a new CA is trusted, the old one signs. 2: the new CA signs, the old one is trusted.",
            )?,
            fetches: IntCounter::new(
                "sandgate_webhook_namespace_fetches_total",
                "Namespaces that were not known yet when a review came, and had to be asked for.",
            )?,
            renderings: IntGauge::new("sandgate_webhook_renderings", "Renderings that are published and accepted.")?,
        };
        // Counters that are there from the start: the first increase is seen as one.
        for kind in ["mutating", "validating"] {
            vitals.repairs.with_label_values(&[kind]);
        }
        registry.register(Box::new(vitals.watch_up.clone()))?;
        registry.register(Box::new(vitals.watch_errors.clone()))?;
        registry.register(Box::new(vitals.expiry.clone()))?;
        registry.register(Box::new(vitals.repairs.clone()))?;
        registry.register(Box::new(vitals.configuration_present.clone()))?;
        registry.register(Box::new(vitals.rotation_stage.clone()))?;
        registry.register(Box::new(vitals.fetches.clone()))?;
        registry.register(Box::new(vitals.renderings.clone()))?;
        Ok(vitals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_register_once() {
        let registry = Registry::new();
        Vitals::new(&registry).unwrap();
        assert!(Vitals::new(&registry).is_err(), "a second registration would count apart");
    }
}
