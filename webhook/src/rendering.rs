//! What a configuration makes of a pod: the sidecar's container, its volumes, and the environment of the others, with
//! every field that the API server would default written out, so that what is read back can be compared field by field.
//!
//! A rendering is published by its hash before it is used, so that all replicas take what any of them made for genuine.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a configuration makes, apart from what a single pod or namespace decides: the sidecar's resources, and the name
/// of the policy's ConfigMap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
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
}
