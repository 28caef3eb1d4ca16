//! One API server for all tests; each test has a namespace, two configurations and replicas of its own.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use prometheus::Registry;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use sandgate_testkit::api_server::ApiServer;
use sandgate_webhook::cluster::vitals::Vitals;
use sandgate_webhook::cluster::{Cluster, Identity, client_of};
use sandgate_webhook::config::Config;
use sandgate_webhook::health::{Condition, Health};
use sandgate_webhook::rendering::Rendering;
use serde_json::{Value, json};

/// How long anything may take that is not timed by its test. The machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// The surroundings of one test.
pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) config: Config,
    /// The name of both configurations.
    pub(crate) configurations: String,
}

impl Scene {
    /// A namespace with an empty ConfigMap for renderings, and both configurations with two entries each.
    pub(crate) async fn new(name: &str) -> Self {
        let scene = Self::bare(name).await;
        scene.create_renderings().await;
        scene.create_configurations().await;
        scene
    }

    /// A namespace alone.
    pub(crate) async fn bare(name: &str) -> Self {
        Self::on(admin().await, name).await
    }

    /// A namespace alone, on another API server.
    pub(crate) async fn on(client: Client, name: &str) -> Self {
        let namespace = from(json!({"metadata": {"name": name}}));
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        let mut config = Config::default();
        config.certificate.mutating_configuration = name.to_owned();
        config.certificate.validating_configuration = name.to_owned();
        Self { client, namespace: name.to_owned(), config, configurations: name.to_owned() }
    }

    pub(crate) async fn create_renderings(&self) {
        let object = from(json!({"metadata": {"name": "sandgate-renderings"}}));
        self.config_maps().create(&PostParams::default(), &object).await.unwrap();
    }

    pub(crate) async fn create_configurations(&self) {
        let service = json!({"name": "sandgate-webhook", "namespace": self.namespace});
        let entry = |name: &str| {
            json!({
                "name": format!("{name}.test.sandgate.dev"),
                "clientConfig": {"service": service},
                "rules": [{"apiGroups": ["test.sandgate.dev"], "apiVersions": ["*"], "operations": ["CREATE"],
                    "resources": ["nothing"]}],
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            })
        };
        let object = json!({"metadata": {"name": self.configurations}, "webhooks": [entry("first"), entry("second")]});
        self.mutating().create(&PostParams::default(), &from(object.clone())).await.unwrap();
        self.validating().create(&PostParams::default(), &from(object)).await.unwrap();
    }

    /// A replica that lives until it is dropped.
    pub(crate) fn replica(&self, name: &str) -> Replica {
        self.replica_with(name, self.client.clone(), &rendering("1"))
    }

    pub(crate) fn replica_with(&self, name: &str, client: Client, rendering: &Rendering) -> Replica {
        let identity = Identity { namespace: self.namespace.clone(), replica: name.to_owned() };
        let (health, registry) = (Arc::new(Health::default()), Registry::new());
        let vitals = Vitals::new(&registry).unwrap();
        let cluster = Cluster::start(client, identity, &self.config, rendering.clone(), &health, &vitals);
        Replica { cluster, health, registry, service: format!("sandgate-webhook.{}.svc", self.namespace) }
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn mutating(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }

    pub(crate) fn validating(&self) -> Api<ValidatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }

    /// The Secret, if there is one.
    pub(crate) async fn secret(&self) -> Option<Secret> {
        self.secrets().get_opt("sandgate-webhook-ca").await.unwrap()
    }

    /// A text of the Secret; empty if it is not there.
    pub(crate) async fn secret_text(&self, key: &str) -> String {
        let data = self.secret().await.and_then(|secret| secret.data).unwrap_or_default();
        data.get(key).map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default()
    }

    /// Changes keys of the Secret.
    pub(crate) async fn patch_secret(&self, texts: &[(&str, &str)]) {
        let texts: serde_json::Map<String, Value> =
            texts.iter().map(|(key, text)| ((*key).to_owned(), (*text).into())).collect();
        let patch = Patch::Merge(json!({"stringData": texts}));
        self.secrets().patch("sandgate-webhook-ca", &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn delete_secret(&self) {
        self.secrets().delete("sandgate-webhook-ca", &DeleteParams::default()).await.unwrap();
    }

    /// Every caBundle of both configurations, by kind and entry.
    pub(crate) async fn bundles(&self) -> Vec<(String, String)> {
        let text = |bundle: Option<k8s_openapi::ByteString>| String::from_utf8(bundle.unwrap_or_default().0).unwrap();
        let mutating = self.mutating().get(&self.configurations).await.unwrap().webhooks.unwrap_or_default();
        let validating = self.validating().get(&self.configurations).await.unwrap().webhooks.unwrap_or_default();
        let mutating = mutating.into_iter().map(|entry| (entry.name, text(entry.client_config.ca_bundle)));
        let validating = validating.into_iter().map(|entry| (entry.name, text(entry.client_config.ca_bundle)));
        mutating.chain(validating).collect()
    }

    /// Whether all caBundles are `bundle`.
    pub(crate) async fn bundles_are(&self, bundle: &str) -> bool {
        !bundle.is_empty() && self.bundles().await.iter().all(|(_, found)| found == bundle)
    }

    /// Puts `bundle` into one entry of the mutating configuration.
    pub(crate) async fn set_bundle(&self, entry: &str, bundle: &str) {
        use base64::Engine as _;
        let bundle = base64::engine::general_purpose::STANDARD.encode(bundle);
        let entry = json!({"name": format!("{entry}.test.sandgate.dev"), "clientConfig": {"caBundle": bundle}});
        let patch = Patch::Strategic(json!({"webhooks": [entry]}));
        self.mutating().patch(&self.configurations, &PatchParams::default(), &patch).await.unwrap();
    }
}

/// One replica of the webhook, as far as it talks to the API server.
pub(crate) struct Replica {
    pub(crate) cluster: Cluster,
    pub(crate) health: Arc<Health>,
    registry: Registry,
    service: String,
}

impl Replica {
    /// Why a condition is not met; empty when it is.
    pub(crate) fn unmet(&self, condition: Condition) -> String {
        let unmet = self.health.unmet();
        unmet.into_iter().find(|text| text.starts_with(condition.name())).unwrap_or_default()
    }

    pub(crate) async fn ready(&self) {
        eventually("it is ready", async || {
            let unmet = self.health.unmet();
            if unmet.is_empty() { Ok(()) } else { Err(unmet.join("; ")) }
        })
        .await;
    }

    /// Whether what it serves verifies with the roots of a caBundle, for its Service.
    pub(crate) fn verifies(&self, bundle: &str) -> Result<(), String> {
        let key = self.cluster.certificate.current().ok_or("it serves nothing")?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        }
        let text = |error: rustls::Error| error.to_string();
        let own = ParsedCertificate::try_from(&key.cert[0]).map_err(text)?;
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let now = UnixTime::now();
        rustls::client::verify_server_cert_signed_by_trust_anchor(&own, &roots, &key.cert[1..], now, algorithms)
            .map_err(text)?;
        rustls::client::verify_server_name(&own, &self.service.as_str().try_into().unwrap()).map_err(text)
    }

    /// Waits until the mutating and the validating configuration are measured so.
    pub(crate) async fn configurations_present(&self, expected: &[f64]) {
        eventually("it is measured", async || {
            let families = self.registry.gather();
            let family = families.iter().find(|family| family.name() == "sandgate_webhook_configuration_present");
            // By label: `mutating`, then `validating`.
            let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
            let found: Vec<f64> = metrics.iter().map(|metric| metric.get_gauge().get_value()).collect();
            if found == expected { Ok(()) } else { Err(format!("{found:?} where {expected:?} are due")) }
        })
        .await;
    }

    /// The value of a metric without labels, or of all its labels together.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let family = family.unwrap_or_else(|| panic!("no metric {name}"));
        let value =
            |metric: &prometheus::proto::Metric| metric.get_gauge().get_value() + metric.get_counter().get_value();
        family.get_metric().iter().map(value).sum()
    }
}

/// A rendering that differs from others by its version.
pub(crate) fn rendering(version: &str) -> Rendering {
    Rendering {
        version: version.to_owned(),
        configuration: "0123456789ab".to_owned(),
        container: json!({"name": "auth-proxy", "image": "sidecar:1"}),
        volumes: vec![json!({"name": "sandgate-trust"})],
        trust_mount: json!({"name": "sandgate-trust"}),
        environment_required: vec![("A".to_owned(), "b".to_owned())],
        environment: Vec::new(),
        given: None,
    }
}

/// A client that may do everything on the shared API server.
pub(crate) async fn admin() -> Client {
    let admin = tokio::task::spawn_blocking(|| ApiServer::shared().admin()).await.unwrap();
    client(&admin).await
}

/// A client by a kubeconfig.
pub(crate) async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    client_of(config).unwrap()
}

/// An object from JSON.
pub(crate) fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Looks at a condition until it is so; panics with the last reason after the deadline.
pub(crate) async fn eventually<T>(what: &str, condition: impl AsyncFn() -> Result<T, String>) -> T {
    within(DEADLINE, what, condition).await
}

/// The same with a deadline of its own.
pub(crate) async fn within<T>(limit: Duration, what: &str, condition: impl AsyncFn() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match condition().await {
            Ok(found) => return found,
            Err(why) => assert!(start.elapsed() < limit, "not within {limit:?}: {what}: {why}"),
        }
        tokio::time::sleep(POLL).await;
    }
}

/// `true` as a result, for [`eventually`].
pub(crate) async fn is(condition: impl Future<Output = bool>) -> Result<(), String> {
    if condition.await { Ok(()) } else { Err("it is not so".to_owned()) }
}
