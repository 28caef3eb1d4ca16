//! The names that two Sandgate programs must agree on, and the environment of a program that goes through the proxy.
//!
//! Constants and pure functions only: nothing here reads a file, an environment or a clock.

pub mod environment;

pub use environment::{Kind, Store, VARIABLES, Variable, environment, merge};

/// The name of the sidecar's container in a pod.
pub const CONTAINER_NAME: &str = "auth-proxy";

/// The user and group that the images run as.
pub const IMAGE_UID: u32 = 10_000;

/// The port on loopback where the proxy listens.
pub const PROXY_PORT: u16 = 8080;

/// The port where health and metrics are served.
pub const HEALTH_PORT: u16 = 8081;

/// 200 while the process works: the path for a liveness or startup probe.
pub const HEALTH_PATH: &str = "/healthz";

/// 200 while policy and certificates are good: the path for a readiness probe.
pub const READY_PATH: &str = "/readyz";

/// Metrics in Prometheus' text format.
pub const METRICS_PATH: &str = "/metrics";

/// The directory, as the workload sees it, that the sidecar fills with trust files. Nothing in it is secret.
pub const TRUST_DIR: &str = "/etc/proxy-ca";

/// The CA certificates of the proxy alone (PEM), in [`TRUST_DIR`]: for clients that add a file to their own roots.
pub const TRUST_CA_FILE: &str = "ca.crt";

/// The public roots and the CA certificates of the proxy (PEM), in [`TRUST_DIR`]: for clients that trust one file alone.
pub const TRUST_BUNDLE_FILE: &str = "bundle.crt";

/// What [`TRUST_BUNDLE_FILE`] holds, as PKCS#12 for the JVM, in [`TRUST_DIR`].
pub const TRUST_STORE_FILE: &str = "truststore.p12";

/// The password of [`TRUST_STORE_FILE`]: Java's customary one. It protects nothing, for nothing in the store is secret.
pub const TRUST_STORE_PASSWORD: &str = "changeit";

/// A wgetrc that names the bundle, in [`TRUST_DIR`]; wget reads no variable for that.
pub const WGETRC_FILE: &str = "wgetrc";

/// An apt configuration that names the bundle, in [`TRUST_DIR`].
pub const APT_CONFIG_FILE: &str = "apt.conf";

/// A directory in [`TRUST_DIR`] that PHP scans for settings.
pub const PHP_SCAN_DIR: &str = "php";

/// The PHP settings that name the bundle, in [`PHP_SCAN_DIR`].
pub const PHP_INI_FILE: &str = "sandgate.ini";

/// The directory, as the sidecar sees it, with the CA that signs. The workload must never have it mounted.
pub const CA_DIR: &str = "/certs";

/// The CA certificate (PEM, followed by its chain where it is an intermediate), in [`CA_DIR`].
pub const CA_CERT_FILE: &str = "ca.crt";

/// The private key of the CA (PEM), in [`CA_DIR`].
pub const CA_KEY_FILE: &str = "ca.key";

/// After a rotation, the CA certificate before it (PEM), in [`CA_DIR`]: trusted still, and signs nothing.
pub const CA_PREVIOUS_FILE: &str = "previous.crt";

/// In a CA's directory after a rotation: the certificates of both CAs, for whoever has to trust both.
pub const CA_BUNDLE_FILE: &str = "bundle.crt";

/// The Secret with the CA: type `kubernetes.io/tls`.
pub const CA_SECRET_NAME: &str = "sandbox-proxy-ca";

/// The key of [`CA_SECRET_NAME`] that a volume maps to [`CA_CERT_FILE`].
pub const CA_SECRET_CERT_KEY: &str = "tls.crt";

/// The key of [`CA_SECRET_NAME`] that a volume maps to [`CA_KEY_FILE`].
pub const CA_SECRET_PRIVATE_KEY: &str = "tls.key";

/// The key of [`CA_SECRET_NAME`] that a volume maps to [`CA_PREVIOUS_FILE`]; there only after a rotation.
pub const CA_SECRET_PREVIOUS_KEY: &str = "previous.crt";

/// The variable with a policy in short form: host names and `*.suffix` wildcards, separated by commas.
pub const ALLOWED_DOMAINS_VARIABLE: &str = "SANDGATE_ALLOWED_DOMAINS";
