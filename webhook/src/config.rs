//! The configuration of the webhook: one strict YAML file, whose every setting has a default that serves.
//!
//! The structs here are the effective configuration. `config/` reads the file into them, and documents them.

pub mod check;
mod consistency;
mod document;
pub mod file;
mod reading;
mod table;
pub(crate) mod value;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest;
use sandgate_contract::{CA_SECRET_NAME, HEALTH_PORT, PROXY_PORT};
use sandgate_policy::Problem;
use serde_json::Value;

pub use self::document::markdown;
pub use self::file::{ConfigFile, LoadError, load};
use self::table::SECTIONS;
use crate::names::POLICY_CONFIG_MAP;
use crate::resources::Resources;

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The injected container.
    pub sidecar: Sidecar,
    /// Where its CA comes from.
    pub ca: Ca,
    /// Where policies are.
    pub policy: PolicySettings,
    /// The environment of the other containers.
    pub environment: EnvironmentSettings,
    /// How the sidecar resolves names.
    pub dns: Dns,
    /// The webhook's own server.
    pub server: Server,
    /// The webhook's own certificate.
    pub certificate: Certificate,
}

/// A file that shows what is often set.
const EXAMPLE: &str = include_str!("config/example.yaml");

/// Every problem of a configuration, in the order of its lines; never empty. Displays one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

impl Config {
    /// Reads a configuration file. Never panics, whatever the bytes. What the file does not say has its default, so an
    /// empty one is the default configuration.
    ///
    /// # Errors
    /// Every problem of the file, with its line and key.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigErrors> {
        let (config, mut problems) = reading::read(text);
        consistency::check(&config, &mut problems);
        let problems = problems.into_sorted();
        if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
    }

    /// The name of this configuration in logs, annotations and renderings: the first 12 hexadecimal digits of the SHA-256
    /// of everything that pods depend on, as canonical JSON. What only the webhook's own server needs is not in it.
    #[must_use]
    pub fn hash(&self) -> String {
        let rows = SECTIONS.iter().filter(|section| section.live).flat_map(|section| section.rows);
        // An array of pairs has the table's order, whatever a map would do.
        let settings: Vec<Value> = rows.map(|row| Value::from(vec![row.path.into(), (row.show)(self)])).collect();
        let digest = digest::digest(&digest::SHA256, Value::from(settings).to_string().as_bytes());
        digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The keys of the settings in which `self` and `other` differ and which need a restart.
    #[must_use]
    pub fn restart_needed(&self, other: &Self) -> Vec<&'static str> {
        let rows = SECTIONS.iter().filter(|section| !section.live).flat_map(|section| section.rows);
        rows.filter(|row| (row.show)(self) != (row.show)(other)).map(|row| row.path).collect()
    }
}

/// The injected container.
#[derive(Clone, Debug, PartialEq)]
pub struct Sidecar {
    /// `sidecar.image`: its image.
    pub image: String,
    /// `sidecar.imagePullPolicy`: `IfNotPresent`, `Always` or `Never`.
    pub image_pull_policy: String,
    /// `sidecar.imagePullSecrets`: names of Secrets that are added to the pod's, for the sidecar's image.
    pub image_pull_secrets: Vec<String>,
    /// `sidecar.acceptedImages`: other images that a genuine sidecar may have, for a time of transition.
    pub accepted_images: Vec<String>,
    /// `sidecar.withdrawnRenderings`: hashes of earlier renderings that are genuine no longer.
    pub withdrawn_renderings: Vec<String>,
    /// `sidecar.uid`: user and group that it runs as, 1 to 2147483647.
    pub uid: u32,
    /// `sidecar.proxyPort`: where it listens on loopback.
    pub proxy_port: u16,
    /// `sidecar.healthPort`: where it serves health and metrics on the pod's address.
    pub health_port: u16,
    /// `sidecar.resources`: its requests and limits, all four.
    pub resources: Resources,
    /// `sidecar.resourceBounds.min`: what a pod's own annotation, a LimitRange or an autoscaler may not go below.
    pub resources_min: Resources,
    /// `sidecar.resourceBounds.max`: what they may not go above.
    pub resources_max: Resources,
    /// `sidecar.mayPrecede`: names of init containers that may stand before it.
    pub may_precede: Vec<String>,
    /// `sidecar.tolerated.env`: names of variables that others may add to it; never one that the sidecar reads.
    pub tolerated_env: Vec<String>,
    /// `sidecar.tolerated.mounts`: names of volumes that others may mount into it.
    pub tolerated_mounts: Vec<String>,
    /// `sidecar.logLevel`: `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// `sidecar.upstreamCaConfigMap`: a ConfigMap in the pod's namespace whose key `ca.crt` has further roots that
    /// origins are verified with.
    pub upstream_ca_config_map: Option<String>,
}

impl Default for Sidecar {
    fn default() -> Self {
        Self {
            image: concat!("ghcr.io/sandgate/sidecar:", env!("CARGO_PKG_VERSION")).to_owned(),
            image_pull_policy: "IfNotPresent".to_owned(),
            image_pull_secrets: Vec::new(),
            accepted_images: Vec::new(),
            withdrawn_renderings: Vec::new(),
            // Not 10000, which sandbox images like to run as: who has the sidecar's UID may signal and trace it.
            uid: 10_101,
            proxy_port: PROXY_PORT,
            health_port: HEALTH_PORT,
            resources: Resources::of("10m", "32Mi", "1", "128Mi"),
            resources_min: Resources::of("5m", "24Mi", "50m", "64Mi"),
            resources_max: Resources::of("4", "2Gi", "8", "4Gi"),
            may_precede: Vec::new(),
            tolerated_env: Vec::new(),
            tolerated_mounts: Vec::new(),
            log_level: "info".to_owned(),
            upstream_ca_config_map: None,
        }
    }
}

/// Where the CA of the sidecars comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CaMode {
    /// Each sidecar makes its own; the key never leaves it.
    #[default]
    Pod,
    /// From a Secret in the pod's namespace; accepted in required namespaces only.
    Secret,
}

/// Where the CA comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Ca {
    /// `ca.mode`: `pod` or `secret`.
    pub mode: CaMode,
    /// `ca.secretName`: the Secret, of type `kubernetes.io/tls`. No workload may name it, in either mode.
    pub secret_name: String,
}

impl Default for Ca {
    fn default() -> Self {
        Self { mode: CaMode::Pod, secret_name: CA_SECRET_NAME.to_owned() }
    }
}

/// Where policies are.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySettings {
    /// `policy.configMap`: the ConfigMap of namespaces whose annotation names none.
    pub config_map: String,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self { config_map: POLICY_CONFIG_MAP.to_owned() }
    }
}

/// Whether workloads reach the Kubernetes API without the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ApiServer {
    /// `NO_PROXY` names it. In required namespaces it never does.
    #[default]
    Direct,
    /// It is a destination like any other.
    Refused,
}

/// The environment of the other containers.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct EnvironmentSettings {
    /// `environment.noProxy`: names, `.suffixes`, addresses or networks that workloads reach without the proxy.
    pub no_proxy: Vec<String>,
    /// `environment.apiServer`: `direct` or `refused`.
    pub api_server: ApiServer,
}

/// How the sidecar resolves names.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Dns {
    /// `dns.servers`: its name servers; if empty, those of the webhook's own resolv.conf.
    pub servers: Vec<SocketAddr>,
}

/// The webhook's own server. Changes need a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// `server.listen`: where the API server connects, over TLS.
    pub listen: SocketAddr,
    /// `server.adminListen`: where /healthz, /readyz and /metrics are served, in the clear.
    pub admin_listen: SocketAddr,
    /// `server.drainDelay`: how long new connections are accepted after SIGTERM.
    pub drain_delay: Duration,
    /// `server.drainGrace`: all of the shutdown, the delay included.
    pub drain_grace: Duration,
    /// `server.maxConnections`: connections open at once; past that the longest unused one is closed.
    pub max_connections: usize,
    /// `server.maxBodyBytes`: the largest AdmissionReview, in bytes. An object in etcd has at most 1.5 MiB, and a review
    /// may hold two.
    pub max_body_bytes: usize,
    /// `server.handshakeTimeout`: a TLS handshake.
    pub handshake_timeout: Duration,
    /// `server.requestTimeout`: a request's head and body, each.
    pub request_timeout: Duration,
    /// `server.idleTimeout`: a connection between two requests.
    pub idle_timeout: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0_u16; 8], 8443)),
            admin_listen: SocketAddr::from(([0_u16; 8], 8081)),
            drain_delay: Duration::from_secs(10),
            drain_grace: Duration::from_secs(25),
            max_connections: 4096,
            max_body_bytes: 8 << 20,
            handshake_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(120),
        }
    }
}

/// Where the webhook's own certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// The replicas agree on a CA in a Secret and keep every caBundle.
    Managed,
    /// `tls.crt` and `tls.key` in this directory, from cert-manager say; the caBundle is somebody else's.
    Files(PathBuf),
}

/// The webhook's own certificate. Changes need a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// `certificate.mode`: `managed` or `files`, and `certificate.dir`.
    pub source: CertificateSource,
    /// `certificate.secretName`: the Secret with the CA, in the webhook's namespace.
    pub secret_name: String,
    /// `certificate.serviceName`: the Service that the configurations name, in the webhook's namespace.
    pub service_name: String,
    /// `certificate.caLifetime`: how long a CA is valid.
    pub ca_lifetime: Duration,
    /// `certificate.servingLifetime`: how long a serving certificate is valid; it is made anew after two thirds.
    pub serving_lifetime: Duration,
    /// `certificate.rotateBefore`: how long before its end a CA is replaced.
    pub rotate_before: Duration,
    /// `certificate.trustDelay`: how long a new CA is in every bundle before it serves.
    pub trust_delay: Duration,
    /// `certificate.mutatingConfiguration`: the name of the MutatingWebhookConfiguration.
    pub mutating_configuration: String,
    /// `certificate.validatingConfiguration`: the name of the ValidatingWebhookConfiguration.
    pub validating_configuration: String,
}

impl Default for Certificate {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            source: CertificateSource::Managed,
            secret_name: "sandgate-webhook-ca".to_owned(),
            service_name: "sandgate-webhook".to_owned(),
            ca_lifetime: 365 * DAY,
            serving_lifetime: 30 * DAY,
            rotate_before: 90 * DAY,
            trust_delay: Duration::from_secs(60),
            mutating_configuration: "sandgate-webhook".to_owned(),
            validating_configuration: "sandgate-webhook".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
