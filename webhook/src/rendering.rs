//! What a configuration makes of a pod: the sidecar's container, its volumes, and the environment of the others, with
//! every field that the API server would default written out, so that what is read back can be compared field by field.
//!
//! A rendering is published by its hash before it is used, so that all replicas take what any of them made for genuine.

mod container;
mod volumes;

use std::net::{Ipv4Addr, SocketAddr};

use aws_lc_rs::digest;
use sandgate_contract::TRUST_DIR;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{ApiServer, Ca, CaMode, Config};
use crate::mode::Mode;
use crate::names::{CA_VOLUME, POLICY_VOLUME};
use crate::pod;
use crate::resources::Resources;

/// How clients in a pod name the API server: the variable is the kubelet's, which expands it in every container.
const API_SERVER: [&str; 2] = ["$(KUBERNETES_SERVICE_HOST)", "kubernetes.default.svc"];

/// What a configuration gives to pods beside the rendering, where neither pod nor namespace decides otherwise: what a replica
/// of another configuration needs to judge its pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Given {
    /// `policy.configMap`.
    pub policy: String,
    /// `sidecar.resources`, as a container has them.
    pub resources: Value,
    /// `sidecar.resourceBounds.min`.
    pub least: Value,
    /// `sidecar.resourceBounds.max`.
    pub most: Value,
}

/// What a configuration makes, apart from what a single pod or namespace decides: the sidecar's resources, and the name
/// of the policy's ConfigMap.
///
/// A field that is not known is ignored: during an upgrade the old replicas have to take what the new ones publish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rendering {
    /// The version of the program that made it.
    pub version: String,
    /// The hash of the configuration: the first 12 hexadecimal digits of its SHA-256.
    pub configuration: String,
    /// The sidecar's container, without `resources`.
    pub container: Value,
    /// The pod's volumes that are ours, in their order; the policy's has an empty `configMap.name`.
    pub volumes: Vec<Value>,
    /// The mount of the trust files that every other container gets.
    pub trust_mount: Value,
    /// The environment of the other containers in required namespaces: names and values, in order.
    pub environment_required: Vec<(String, String)>,
    /// The same in every other namespace.
    pub environment: Vec<(String, String)>,
    /// What goes with it; versions before did not publish it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Given>,
}

impl Rendering {
    /// What `config` makes. `dns` are the name servers for a configuration that names none: the webhook's own.
    #[must_use]
    pub fn new(config: &Config, dns: &[SocketAddr]) -> Self {
        let servers = if config.dns.servers.is_empty() { dns } else { &config.dns.servers };
        let direct = match config.environment.api_server {
            ApiServer::Direct => &API_SERVER[..],
            ApiServer::Refused => &[],
        };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: config.hash(),
            container: container::sidecar(config, servers),
            volumes: volumes::all(config),
            trust_mount: volumes::trust_mount(),
            environment_required: environment(config, &[]),
            environment: environment(config, direct),
            given: Some(Given {
                policy: config.policy.config_map.clone(),
                resources: config.sidecar.resources.json(),
                least: config.sidecar.resources_min.json(),
                most: config.sidecar.resources_max.json(),
            }),
        }
    }

    /// `ours` with what this rendering was made with: what its pods are judged by. What can't be read stays ours.
    #[must_use]
    pub fn config(&self, ours: &Config) -> Config {
        let mut config = ours.clone();
        self.read_into(&mut config);
        let Some(given) = &self.given else { return config };
        config.policy.config_map.clone_from(&given.policy);
        let sidecar = &mut config.sidecar;
        let all = [
            (&mut sidecar.resources, &given.resources),
            (&mut sidecar.resources_min, &given.least),
            (&mut sidecar.resources_max, &given.most),
        ];
        for (ours, given) in all {
            if let Some(given) = Resources::read(given) {
                *ours = given;
            }
        }
        config
    }

    /// Sets what the container and the volumes themselves say: UID, ports, and where the CA comes from.
    fn read_into(&self, config: &mut Config) {
        let uid = self.container.pointer("/securityContext/runAsUser").and_then(Value::as_u64);
        let port = |name| pod::named(&self.container, "ports", name)?.1.get("containerPort")?.as_u64()?.try_into().ok();
        let sidecar = &mut config.sidecar;
        sidecar.uid = uid.and_then(|uid| uid.try_into().ok()).unwrap_or(sidecar.uid);
        sidecar.proxy_port = port("proxy").unwrap_or(sidecar.proxy_port);
        sidecar.health_port = port("health").unwrap_or(sidecar.health_port);
        let ca = self.volumes.iter().find(|volume| pod::text(volume, "/name") == Some(CA_VOLUME));
        match ca.and_then(|volume| pod::text(volume, "/secret/secretName")) {
            Some(name) => config.ca = Ca { mode: CaMode::Secret, secret_name: name.to_owned() },
            None => config.ca.mode = CaMode::Pod,
        }
    }

    /// The first 12 hexadecimal digits of the SHA-256 of its JSON, with keys in order.
    #[must_use]
    pub fn hash(&self) -> String {
        hash_of(serde_json::to_value(self).expect("texts, lists and JSON are JSON"))
    }

    /// The sidecar's container.
    #[must_use]
    pub fn sidecar(&self, resources: &Resources) -> Value {
        let mut container = self.container.clone();
        container["resources"] = resources.json();
        container
    }

    /// Our volumes, in their order, with the policy from the ConfigMap `policy`.
    #[must_use]
    pub fn volumes(&self, policy: &str) -> Vec<Value> {
        let mut volumes = self.volumes.clone();
        for volume in volumes.iter_mut().filter(|volume| volume["name"] == POLICY_VOLUME) {
            volume["configMap"]["name"] = policy.into();
        }
        volumes
    }

    /// The environment of the other containers in a namespace of this mode.
    #[must_use]
    pub fn environment_in(&self, mode: Mode) -> &[(String, String)] {
        match mode {
            Mode::Required => &self.environment_required,
            _ => &self.environment,
        }
    }
}

fn environment(config: &Config, direct: &[&str]) -> Vec<(String, String)> {
    let proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, config.sidecar.proxy_port));
    let mut no_proxy = config.environment.no_proxy.clone();
    no_proxy.extend(direct.iter().map(|host| (*host).to_owned()));
    let rows = sandgate_contract::environment(proxy, TRUST_DIR, &no_proxy);
    rows.into_iter().map(|(row, value)| (row.name.to_owned(), value)).collect()
}

/// The hash of a rendering as JSON, which another version may have written.
pub(crate) fn hash_of(json: Value) -> String {
    let digest = digest::digest(&digest::SHA256, sorted(json).to_string().as_bytes());
    digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// The same JSON with the keys of every object in order.
fn sorted(json: Value) -> Value {
    match json {
        Value::Object(object) => {
            let mut members: Vec<_> = object.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(Map::from_iter(members))
        }
        Value::Array(elements) => elements.into_iter().map(sorted).collect(),
        plain => plain,
    }
}

#[cfg(test)]
mod tests;
