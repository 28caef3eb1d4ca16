//! The two webhook configurations: their entries' caBundles, what has to be written into them, and whether a certificate
//! verifies against them. Addresses entries by name, never by index, and writes nothing but caBundles.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use prometheus::IntGaugeVec;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use serde_json::{Value, json};

use crate::cluster::{call, vitals::Vitals};
use crate::config;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Mutating,
    Validating,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        }
    }

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Mutating => "mutating",
            Self::Validating => "validating",
        }
    }
}

/// One configuration as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Configuration {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// `None` when it does not exist.
    pub(super) entries: Option<Vec<Entry>>,
    version: String,
}

/// One entry of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) bundle: Vec<u8>,
    /// The DNS name of the Service that is called, which the certificate has to have; `None` where a URL is.
    service: Option<String>,
}

/// Why a certificate would not be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unverified {
    /// A configuration is not there, so nobody calls.
    Missing(String),
    /// An API server that calls would refuse the certificate.
    Mismatch(String),
}

impl Configuration {
    /// Whether the API server asks anybody because of it: it is there, and has entries.
    fn is_present(&self) -> bool {
        self.entries.as_ref().is_some_and(|entries| !entries.is_empty())
    }

    /// Whether every entry's caBundle is `bundle`, to the byte. One without entries is as it has to be.
    pub(super) fn is_complete(&self, bundle: &str) -> bool {
        let entries = self.entries.as_ref();
        entries.is_some_and(|entries| entries.iter().all(|entry| entry.bundle == bundle.as_bytes()))
    }

    /// The strategic merge patch that makes it so; `None` when it is. It holds only while nobody else changes the
    /// configuration, so that no entry that was just removed comes back.
    fn repair(&self, bundle: &str) -> Option<Value> {
        let differing = self.entries.iter().flatten().filter(|entry| entry.bundle != bundle.as_bytes());
        let bundle = ByteString(bundle.as_bytes().to_vec());
        let entries: Vec<Value> =
            differing.map(|entry| json!({"name": entry.name, "clientConfig": {"caBundle": bundle}})).collect();
        let patch = json!({"metadata": {"resourceVersion": self.version}, "webhooks": entries});
        (!entries.is_empty()).then_some(patch)
    }

    /// Whether the certificate verifies against each entry's caBundle, as an API server would do it.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>], service: &str) -> Result<(), Unverified> {
        let (kind, name) = (self.kind.name(), &self.name);
        let Some(entries) = &self.entries else {
            return Err(Unverified::Missing(format!("{kind} {name} does not exist; apply the webhook's manifests")));
        };
        for entry in entries {
            let place = || format!("{kind} {name}, webhook {}", entry.name);
            verify(chain, &entry.bundle, service).map_err(|why| {
                Unverified::Mismatch(format!("{}: its caBundle does not verify the certificate: {why}", place()))
            })?;
            // The API server asks for the name of the Service that it calls, whatever the configuration says.
            let called = entry.service.as_deref().unwrap_or(service);
            verify_name(chain, called).map_err(|why| {
                let advice = "correct certificate.serviceName, or the manifests";
                Unverified::Mismatch(format!("{}: it calls {called}, and {why}; {advice}", place()))
            })?;
        }
        Ok(())
    }
}

/// Verifies what a server sends for `service` with the roots of a caBundle.
fn verify(chain: &[CertificateDer<'_>], bundle: &[u8], service: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let certificate = certificate.map_err(|error| format!("it is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("it is empty".to_owned());
    }
    let text = |error: rustls::Error| error.to_string();
    let (own, between) = chain.split_first().ok_or("there is no certificate")?;
    let own = ParsedCertificate::try_from(own).map_err(text)?;
    let algorithms = default_provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&own, &roots, between, UnixTime::now(), algorithms).map_err(text)?;
    verify_name(chain, service)
}

/// Verifies that the certificate of `chain` is for the DNS name `service`.
fn verify_name(chain: &[CertificateDer<'_>], service: &str) -> Result<(), String> {
    let own = chain.first().ok_or("there is no certificate")?;
    let own = ParsedCertificate::try_from(own).map_err(|error| error.to_string())?;
    let name = ServerName::try_from(service).map_err(|error| error.to_string())?;
    verify_server_name(&own, &name).map_err(|error| error.to_string())
}

/// The two configurations of a cluster.
#[derive(Clone)]
pub(super) struct Bundles {
    pub(super) mutating: Api<MutatingWebhookConfiguration>,
    pub(super) validating: Api<ValidatingWebhookConfiguration>,
    names: [String; 2],
    present: IntGaugeVec,
}

impl Bundles {
    pub(super) fn new(client: &Client, config: &config::Certificate, vitals: &Vitals) -> Self {
        Self {
            mutating: Api::all(client.clone()),
            validating: Api::all(client.clone()),
            names: [config.mutating_configuration.clone(), config.validating_configuration.clone()],
            present: vitals.configuration_present.clone(),
        }
    }

    /// Reads both, and measures whether they are there.
    pub(super) async fn read(&self) -> Result<[Configuration; 2], kube::Error> {
        let mutating = call(self.mutating.get_opt(&self.names[0])).await?;
        let validating = call(self.validating.get_opt(&self.names[1])).await?;
        let both = [self.mutating(mutating), self.validating(validating)];
        for configuration in &both {
            let present = i64::from(configuration.is_present());
            self.present.with_label_values(&[configuration.kind.label()]).set(present);
        }
        Ok(both)
    }

    /// Writes `bundle` into every entry that has another. What the configuration is then; the same where nothing was
    /// to be done.
    pub(super) async fn repair(
        &self,
        found: &Configuration,
        bundle: &str,
    ) -> Result<Option<Configuration>, kube::Error> {
        let Some(patch) = found.repair(bundle) else { return Ok(None) };
        let params = PatchParams { field_manager: Some("sandgate-webhook".to_owned()), ..PatchParams::default() };
        let patch = Patch::Strategic(&patch);
        Ok(Some(match found.kind {
            Kind::Mutating => self.mutating(Some(call(self.mutating.patch(&found.name, &params, &patch)).await?)),
            Kind::Validating => self.validating(Some(call(self.validating.patch(&found.name, &params, &patch)).await?)),
        }))
    }

    fn mutating(&self, object: Option<MutatingWebhookConfiguration>) -> Configuration {
        let version = object.as_ref().and_then(|object| object.metadata.resource_version.clone());
        let entries = object.map(|object| {
            let entries = object.webhooks.into_iter().flatten();
            entries.map(|entry| self::entry(entry.name, entry.client_config)).collect()
        });
        Configuration {
            kind: Kind::Mutating,
            name: self.names[0].clone(),
            entries,
            version: version.unwrap_or_default(),
        }
    }

    fn validating(&self, object: Option<ValidatingWebhookConfiguration>) -> Configuration {
        let version = object.as_ref().and_then(|object| object.metadata.resource_version.clone());
        let entries = object.map(|object| {
            let entries = object.webhooks.into_iter().flatten();
            entries.map(|entry| self::entry(entry.name, entry.client_config)).collect()
        });
        Configuration {
            kind: Kind::Validating,
            name: self.names[1].clone(),
            entries,
            version: version.unwrap_or_default(),
        }
    }
}

fn entry(name: String, config: WebhookClientConfig) -> Entry {
    let service = config.service.map(|service| format!("{}.{}.svc", service.name, service.namespace));
    Entry { name, bundle: config.ca_bundle.unwrap_or_default().0, service }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;

    use super::*;
    use crate::certificate::{secret::Held, serving};

    fn configuration(bundles: &[&str]) -> Configuration {
        let entries = bundles.iter().enumerate();
        let entries = entries.map(|(i, text)| Entry {
            name: format!("e{i}.x.y"),
            bundle: text.as_bytes().to_vec(),
            service: None,
        });
        let entries = Some(entries.collect());
        Configuration { kind: Kind::Mutating, name: "hook".to_owned(), entries, version: "7".to_owned() }
    }

    #[test]
    fn a_patch_names_the_entries_that_differ_and_no_other_field() {
        assert_eq!(configuration(&["a", "a"]).repair("a"), None);
        let patch = configuration(&["a", "", "a"]).repair("a").unwrap();
        let entry = json!({"name": "e1.x.y", "clientConfig": {"caBundle": "YQ=="}});
        assert_eq!(patch, json!({"metadata": {"resourceVersion": "7"}, "webhooks": [entry]}));
    }

    #[test]
    fn a_certificate_has_to_verify_against_every_entry_for_the_name_of_the_service() {
        let now = OffsetDateTime::now_utc();
        let [ours, other] = [(); 2].map(|()| Held::new(Duration::from_secs(3600), now).unwrap());
        let names = serving::names("hook", "system");
        let chain = serving::issue(&ours.current, &names, Duration::from_secs(600), now).unwrap().key.cert.clone();
        let both = other.bundle() + &ours.bundle();
        let verify = |bundles: &[&str], name: &str| configuration(bundles).verify(&chain, name);
        assert_eq!(verify(&[&ours.bundle(), &both], "hook.system.svc"), Ok(()));
        let refused = [
            (vec![ours.bundle(), other.bundle()], "hook.system.svc", "e1.x.y"),
            (vec![ours.bundle()], "other.system.svc", "not valid for name"),
            (vec![String::new()], "hook.system.svc", "it is empty"),
            (vec!["-----BEGIN CERTIFICATE-----\n!".to_owned()], "hook.system.svc", "it is no PEM"),
        ];
        let mut elsewhere = configuration(&[&ours.bundle()]);
        elsewhere.entries.as_mut().unwrap()[0].service = Some("other.system.svc".to_owned());
        match elsewhere.verify(&chain, "hook.system.svc") {
            Err(Unverified::Mismatch(text)) => assert!(text.contains("certificate.serviceName"), "{text}"),
            found => panic!("an API server asks for the name of the Service that the entry names: {found:?}"),
        }
        for (bundles, name, expected) in refused {
            let bundles: Vec<&str> = bundles.iter().map(String::as_str).collect();
            match verify(&bundles, name) {
                Err(Unverified::Mismatch(text)) => assert!(text.contains(expected), "{text}"),
                found => panic!("{expected}: {found:?}"),
            }
        }
        let missing = Configuration { entries: None, ..configuration(&[]) };
        assert!(matches!(missing.verify(&chain, "hook.system.svc"), Err(Unverified::Missing(_))));
        assert!(!missing.is_complete("x"));
        let empty = configuration(&[]);
        let present = [&missing, &empty, &configuration(&["x"])].map(Configuration::is_present);
        assert_eq!(present, [false, false, true], "through one without entries nobody is asked");
    }
}
