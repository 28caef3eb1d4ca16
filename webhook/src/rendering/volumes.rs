//! Our volumes and where they are mounted, in the sidecar and in the others.
//!
//! Directories are mounted, never a subPath: what is mounted by subPath does not change when its source does.

use sandgate_contract::{
    CA_CERT_FILE, CA_DIR, CA_KEY_FILE, CA_PREVIOUS_FILE, CA_SECRET_CERT_KEY, CA_SECRET_PREVIOUS_KEY,
    CA_SECRET_PRIVATE_KEY, TRUST_DIR,
};
use serde_json::{Value, json};

use crate::config::{CaMode, Config};
use crate::names::{
    CA_VOLUME, NO_TOKEN_VOLUME, POLICY_KEY, POLICY_VOLUME, SERVICE_ACCOUNT_DIR, TRUST_VOLUME, UPSTREAM_CA_VOLUME,
};

/// Where the sidecar writes the trust files.
pub(super) const TRUST_SOURCE_DIR: &str = "/run/sandgate/trust";
/// Where the sidecar keeps a CA that it made.
pub(super) const STATE_DIR: &str = "/run/sandgate/ca";
/// Where the sidecar reads the policy.
pub(super) const POLICY_DIR: &str = "/etc/sandgate/policy";
/// Where the sidecar reads further roots.
pub(super) const UPSTREAM_CA_DIR: &str = "/etc/sandgate/upstream-ca";
/// The key of the ConfigMap with further roots, and the file's name.
pub(super) const UPSTREAM_CA_KEY: &str = "ca.crt";

/// What the API server takes for an absent `defaultMode`: 0644.
const DEFAULT_MODE: u32 = 420;

/// All volumes, the policy's without the name of its ConfigMap.
pub(super) fn all(config: &Config) -> Vec<Value> {
    let mut volumes = vec![
        // The bundle, the Java store and the small files are below 1 MiB; while they change there are two of each.
        memory(TRUST_VOLUME, "4Mi"),
        match config.ca.mode {
            CaMode::Pod => memory(CA_VOLUME, "1Mi"),
            CaMode::Secret => secret(&config.ca.secret_name),
        },
        config_map(POLICY_VOLUME, "", POLICY_KEY),
        memory(NO_TOKEN_VOLUME, "64Ki"),
    ];
    volumes.extend(
        config.sidecar.upstream_ca_config_map.iter().map(|name| config_map(UPSTREAM_CA_VOLUME, name, UPSTREAM_CA_KEY)),
    );
    volumes
}

/// The sidecar's mounts. The empty one is where the ServiceAccount's token would be mounted.
pub(super) fn sidecar_mounts(config: &Config) -> Vec<Value> {
    let mut mounts = vec![
        json!({"name": TRUST_VOLUME, "mountPath": TRUST_SOURCE_DIR}),
        match config.ca.mode {
            CaMode::Pod => json!({"name": CA_VOLUME, "mountPath": STATE_DIR}),
            CaMode::Secret => read_only(CA_VOLUME, CA_DIR),
        },
        read_only(POLICY_VOLUME, POLICY_DIR),
        read_only(NO_TOKEN_VOLUME, SERVICE_ACCOUNT_DIR),
    ];
    if config.sidecar.upstream_ca_config_map.is_some() {
        mounts.push(read_only(UPSTREAM_CA_VOLUME, UPSTREAM_CA_DIR));
    }
    mounts
}

/// The mount of the trust files in every other container.
pub(super) fn trust_mount() -> Value {
    read_only(TRUST_VOLUME, TRUST_DIR)
}

fn read_only(volume: &str, path: &str) -> Value {
    json!({"name": volume, "mountPath": path, "readOnly": true})
}

fn memory(name: &str, limit: &str) -> Value {
    json!({"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": limit}})
}

/// Optional, so that a pod without it starts and refuses everything, instead of hanging.
fn config_map(volume: &str, name: &str, key: &str) -> Value {
    let items = [json!({"key": key, "path": key})];
    json!({"name": volume, "configMap": {"name": name, "items": items, "defaultMode": DEFAULT_MODE, "optional": true}})
}

/// Optional, so that the sidecar can say which Secret is missing; and so that an item that it lacks, as the certificate
/// before the first rotation, is passed over.
fn secret(name: &str) -> Value {
    let item = |key: &str, path: &str| json!({"key": key, "path": path});
    let items = [
        item(CA_SECRET_CERT_KEY, CA_CERT_FILE),
        item(CA_SECRET_PRIVATE_KEY, CA_KEY_FILE),
        item(CA_SECRET_PREVIOUS_KEY, CA_PREVIOUS_FILE),
    ];
    json!({
        "name": CA_VOLUME,
        "secret": {"secretName": name, "items": items, "defaultMode": DEFAULT_MODE, "optional": true},
    })
}
