//! Every setting, once: its key, values, reason, and how it is read into the configuration and shown. The file's reader,
//! the hash and the reference in docs/ are driven by these rows; nothing else knows a key.

use serde_json::Value;

use super::reading::{Field, Problems};
use super::value::{
    API_SERVER, BODY_SIZE, CA_MODE, CERTIFICATE_DIR, CERTIFICATE_MODE, CONNECTIONS, CPU, DIRECT_HOST, IDLE, IMAGE,
    INIT_CONTAINER, LIFETIME, LISTENER, LOG_LEVEL, MEMORY, NAME_SERVER, PATIENCE, PORT, PULL_POLICY, RENDERING,
    SERVICE, SHUTDOWN, SUBDOMAIN, TOLERATED_VARIABLE, TOLERATED_VOLUME, TRUST_DELAY, UID,
};
use super::{CertificateSource, Config};

/// One setting.
pub(super) struct Row {
    /// The key in dotted form, as `sidecar.image`.
    pub(super) path: &'static str,
    /// What stands for its value in the reference.
    pub(super) placeholder: &'static str,
    /// What it does, and why its default is what it is.
    pub(super) help: &'static str,
    /// Sets it from the file; what is wrong is a problem, and the default stays.
    pub(super) read: fn(&mut Config, &Field<'_>, &mut Problems),
    /// Its value: a text, a list of texts, or null.
    pub(super) show: fn(&Config) -> Value,
}

/// The settings under one key of the file.
pub(super) struct Section {
    pub(super) name: &'static str,
    /// What they are about, and what a change of them needs.
    pub(super) about: &'static str,
    /// Whether a change holds for the next pod; else it needs a restart.
    pub(super) live: bool,
    pub(super) rows: &'static [Row],
}

macro_rules! read {
    (one, $target:expr, $codec:ident, $field:ident, $problems:ident) => {
        if let Some(value) = $field.parse($problems, $codec.parse) {
            $target = value;
        }
    };
    (many, $target:expr, $codec:ident, $field:ident, $problems:ident) => {
        $target = $field.parse_items($problems, $codec.parse)
    };
    // What only `certificate.mode: files`, which stands before it, gives a meaning.
    (beside_files, $target:expr, $codec:ident, $field:ident, $problems:ident) => {
        match &mut $target {
            CertificateSource::Managed => $field.refuse($problems, "has a meaning only beside mode: files; remove it"),
            source => read!(one, *source, $codec, $field, $problems),
        }
    };
    (optional, $target:expr, $codec:ident, $field:ident, $problems:ident) => {
        $target = $field.parse_unless_null($problems, $codec.parse)
    };
}

macro_rules! show {
    (one, $source:expr, $codec:ident) => {
        Value::String(($codec.show)(&$source))
    };
    (beside_files, $source:expr, $codec:ident) => {
        show!(one, $source, $codec)
    };
    (many, $source:expr, $codec:ident) => {
        $source.iter().map($codec.show).collect()
    };
    (optional, $source:expr, $codec:ident) => {
        $source.as_ref().map($codec.show).into()
    };
}

/// Rows as `field.of.the.struct: kind(CODEC) "key" "PLACEHOLDER";`, each below its help.
macro_rules! rows {
    ($($(#[doc = $help:literal])+ $($field:ident).+: $kind:ident($codec:ident) $path:literal $placeholder:literal;)+) => {
        &[$(Row {
            path: $path,
            placeholder: $placeholder,
            help: concat!($($help),+).trim_ascii(),
            read: |config, field, problems| read!($kind, config.$($field).+, $codec, field, problems),
            show: |config| show!($kind, config.$($field).+, $codec),
        },)+]
    };
}

/// Every section, in the order of the reference.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "sidecar",
        about: "The injected container. A change holds for the next pod; pods that run keep theirs.",
        live: true,
        rows: SIDECAR,
    },
    Section {
        name: "ca",
        about: "Where the CA of the sidecars comes from. A change holds for the next pod.",
        live: true,
        rows: CA,
    },
    Section { name: "policy", about: "Where policies are. A change holds for the next pod.", live: true, rows: POLICY },
    Section {
        name: "environment",
        about: "The environment of the other containers. A change holds for the next pod.",
        live: true,
        rows: ENVIRONMENT,
    },
    Section {
        name: "dns",
        about: "How the sidecar resolves names. It doesn't read the pod's resolv.conf, which the workload may write. A \
                change holds for the next pod.",
        live: true,
        rows: DNS,
    },
    Section {
        name: "server",
        about: "The webhook's own server. A change needs a restart, and the log says so.",
        live: false,
        rows: SERVER,
    },
    Section {
        name: "certificate",
        about: "The webhook's own certificate. A change needs a restart, and the log says so.",
        live: false,
        rows: CERTIFICATE,
    },
];

const SIDECAR: &[Row] = rows! {
    /// Its image. A digest behind it (`@sha256:...`) makes sure that it is that one.
    sidecar.image: one(IMAGE) "sidecar.image" "IMAGE";
    /// When the image is pulled. `Always` asks the registry at every start of a pod.
    sidecar.image_pull_policy: one(PULL_POLICY) "sidecar.imagePullPolicy" "`IfNotPresent`, `Always`, `Never`";
    /// Secrets that are added to the pod's, for the sidecar's image. They have to be in the pod's namespace.
    sidecar.image_pull_secrets: many(SUBDOMAIN) "sidecar.imagePullSecrets" "list of NAMES";
    /// Other images that a genuine sidecar may have, for a time of transition.
    sidecar.accepted_images: many(IMAGE) "sidecar.acceptedImages" "list of IMAGES";
    /// Hashes of earlier renderings (the keys of ConfigMap `sandgate-renderings`) that are genuine no longer.
    sidecar.withdrawn_renderings: many(RENDERING) "sidecar.withdrawnRenderings" "list of HASHES";
    /// User and group that it runs as, 1 to 2147483647. Not one that a workload has: who has the sidecar's user may
    /// signal it. In required namespaces a pod that declares it is refused.
    sidecar.uid: one(UID) "sidecar.uid" "N";
    /// Where the proxy listens on loopback, 1024 to 65535. No container of a pod can listen there too.
    sidecar.proxy_port: one(PORT) "sidecar.proxyPort" "PORT";
    /// Where health and metrics are served on the pod's address, 1024 to 65535. No container of a pod can listen there
    /// too.
    sidecar.health_port: one(PORT) "sidecar.healthPort" "PORT";
    /// What the scheduler reserves. In a Guaranteed pod it becomes the limit.
    sidecar.resources.cpu_request: one(CPU) "sidecar.resources.requests.cpu" "QUANTITY";
    /// As for CPU.
    sidecar.resources.memory_request: one(MEMORY) "sidecar.resources.requests.memory" "QUANTITY";
    /// What it may use. A VM of Kata is sized by limits.
    sidecar.resources.cpu_limit: one(CPU) "sidecar.resources.limits.cpu" "QUANTITY";
    /// Past this the sidecar is killed and started again.
    sidecar.resources.memory_limit: one(MEMORY) "sidecar.resources.limits.memory" "QUANTITY";
    /// What a pod's own annotation, a LimitRange or an autoscaler may not go below, for the sidecar to stay genuine.
    sidecar.resources_min.cpu_request: one(CPU) "sidecar.resourceBounds.min.requests.cpu" "QUANTITY";
    /// As for CPU.
    sidecar.resources_min.memory_request: one(MEMORY) "sidecar.resourceBounds.min.requests.memory" "QUANTITY";
    /// A starved sidecar lets nothing past; it only slows the pod down.
    sidecar.resources_min.cpu_limit: one(CPU) "sidecar.resourceBounds.min.limits.cpu" "QUANTITY";
    /// The least that it starts with.
    sidecar.resources_min.memory_limit: one(MEMORY) "sidecar.resourceBounds.min.limits.memory" "QUANTITY";
    /// What they may not go above.
    sidecar.resources_max.cpu_request: one(CPU) "sidecar.resourceBounds.max.requests.cpu" "QUANTITY";
    /// As for CPU.
    sidecar.resources_max.memory_request: one(MEMORY) "sidecar.resourceBounds.max.requests.memory" "QUANTITY";
    /// As for requests.
    sidecar.resources_max.cpu_limit: one(CPU) "sidecar.resourceBounds.max.limits.cpu" "QUANTITY";
    /// As for requests.
    sidecar.resources_max.memory_limit: one(MEMORY) "sidecar.resourceBounds.max.limits.memory" "QUANTITY";
    /// Init containers, by name, that may stand before the sidecar. They run before the proxy is there, and reach
    /// whatever the network lets them.
    sidecar.may_precede: many(INIT_CONTAINER) "sidecar.mayPrecede" "list of NAMES";
    /// Variables, by name, that other webhooks may add to the sidecar. Never one that it reads.
    sidecar.tolerated_env: many(TOLERATED_VARIABLE) "sidecar.tolerated.env" "list of NAMES";
    /// Volumes, by name, that other webhooks may mount into the sidecar. Never one of its own.
    sidecar.tolerated_mounts: many(TOLERATED_VOLUME) "sidecar.tolerated.mounts" "list of NAMES";
    /// What its log holds.
    sidecar.log_level: one(LOG_LEVEL) "sidecar.logLevel" "`error`, `warn`, `info`, `debug`, `trace`";
    /// A ConfigMap in the pod's namespace whose key `ca.crt` has further roots that origins are verified with. A
    /// namespace without it has the public ones. Whoever may write ConfigMaps there, as ClusterRole `edit` may, can add roots.
    sidecar.upstream_ca_config_map: optional(SUBDOMAIN) "sidecar.upstreamCaConfigMap" "NAME";
};

const CA: &[Row] = rows! {
    /// `pod`: each sidecar makes its own, and the key never leaves it. `secret`: from a Secret in the pod's namespace, in
    /// required namespaces only; whoever may read Secrets there has the key.
    ca.mode: one(CA_MODE) "ca.mode" "`pod`, `secret`";
    /// That Secret, of type `kubernetes.io/tls`. No workload may name it, in either mode.
    ca.secret_name: one(SUBDOMAIN) "ca.secretName" "NAME";
};

const POLICY: &[Row] = rows! {
    /// The ConfigMap with the policy, for namespaces whose annotation `sandgate.dev/policy` names none. A namespace
    /// without it denies everything. Label a ConfigMap of another name `sandgate.dev/policy: "true"`, so that a broken
    /// one is refused even while the webhook is away.
    policy.config_map: one(SUBDOMAIN) "policy.configMap" "NAME";
};

const ENVIRONMENT: &[Row] = rows! {
    /// What workloads reach without the proxy: names, `.suffixes`, addresses, or networks such as `10.0.0.0/8`. It opens
    /// nothing by itself: the network has to let them.
    environment.no_proxy: many(DIRECT_HOST) "environment.noProxy" "list of HOSTS";
    /// `direct`: NO_PROXY names the Kubernetes API, so that in-cluster clients work. `refused`: it is a destination like
    /// any other. In required namespaces it is always `refused`.
    environment.api_server: one(API_SERVER) "environment.apiServer" "`direct`, `refused`";
};

const DNS: &[Row] = rows! {
    /// Its name servers; port 53 unless named. Without any, those of the webhook's own resolv.conf.
    dns.servers: many(NAME_SERVER) "dns.servers" "list of ADDR[:PORT]";
};

const SERVER: &[Row] = rows! {
    /// Where the API server connects, over TLS.
    server.listen: one(LISTENER) "server.listen" "ADDR:PORT";
    /// Where /healthz, /readyz and /metrics are served, in the clear.
    server.admin_listen: one(LISTENER) "server.adminListen" "ADDR:PORT";
    /// How long connections are still accepted after SIGTERM, for API servers that don't know yet. At most 1h.
    server.drain_delay: one(SHUTDOWN) "server.drainDelay" "TIME";
    /// All of the shutdown, the delay included. Below the pod's grace period, 35 s in the manifests. At most 1h.
    server.drain_grace: one(SHUTDOWN) "server.drainGrace" "TIME";
    /// Connections open at once, 16 to 1000000; past that the longest unused one is closed.
    server.max_connections: one(CONNECTIONS) "server.maxConnections" "N";
    /// The largest AdmissionReview, 1MiB to 64MiB. An object in etcd has at most 1.5 MiB, and a review may hold two.
    server.max_body_bytes: one(BODY_SIZE) "server.maxBodyBytes" "SIZE";
    /// A TLS handshake, 100ms to 30s.
    server.handshake_timeout: one(PATIENCE) "server.handshakeTimeout" "TIME";
    /// A request's head and its body, each, 100ms to 30s. The API server waits for 5 s in all.
    server.request_timeout: one(PATIENCE) "server.requestTimeout" "TIME";
    /// A connection between two requests, 1s to 24h. API servers keep theirs for reuse.
    server.idle_timeout: one(IDLE) "server.idleTimeout" "TIME";
};

const CERTIFICATE: &[Row] = rows! {
    /// `managed`: the replicas agree on a CA in a Secret and keep every caBundle. `files`: `tls.crt` and `tls.key` in a
    /// directory, from cert-manager say; then the caBundles are somebody else's.
    certificate.source: one(CERTIFICATE_MODE) "certificate.mode" "`managed`, `files`";
    /// That directory. Only beside `mode: files`.
    certificate.source: beside_files(CERTIFICATE_DIR) "certificate.dir" "DIR";
    /// The Secret with the CA, in the webhook's namespace.
    certificate.secret_name: one(SUBDOMAIN) "certificate.secretName" "NAME";
    /// The Service that the webhook configurations name, in the webhook's namespace.
    certificate.service_name: one(SERVICE) "certificate.serviceName" "NAME";
    /// How long a CA is valid, 1m to 87600h.
    certificate.ca_lifetime: one(LIFETIME) "certificate.caLifetime" "TIME";
    /// How long a serving certificate is valid, less than the CA; it is made anew after two thirds.
    certificate.serving_lifetime: one(LIFETIME) "certificate.servingLifetime" "TIME";
    /// How long before its end a CA is replaced, less than its lifetime.
    certificate.rotate_before: one(LIFETIME) "certificate.rotateBefore" "TIME";
    /// How long a new CA is in every bundle before it serves, 1s to 24h: API servers learn of it by watching.
    certificate.trust_delay: one(TRUST_DELAY) "certificate.trustDelay" "TIME";
    /// The name of the MutatingWebhookConfiguration.
    certificate.mutating_configuration: one(SUBDOMAIN) "certificate.mutatingConfiguration" "NAME";
    /// The name of the ValidatingWebhookConfiguration.
    certificate.validating_configuration: one(SUBDOMAIN) "certificate.validatingConfiguration" "NAME";
};
