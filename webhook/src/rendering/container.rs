//! The sidecar's container, every default of the API server written out. Says nothing that a pod decides.
//!
//! `resizePolicy` is not written: API servers before 1.33 drop it, and those after default it, so that whoever compares
//! tolerates the default instead.

use std::net::SocketAddr;

use sandgate_contract::{CA_DIR, CONTAINER_NAME, HEALTH_PATH, READY_PATH, TRUST_DIR};
use serde_json::{Value, json};

use super::volumes;
use crate::config::{CaMode, Config};
use crate::names::POLICY_KEY;

/// The program in the sidecar's image.
const PROGRAM: &str = "/sandgate-sidecar";

/// How long the workload waits for the proxy; it is up within some tenths of a second (docs/kind-test.md).
const START_WAIT: &str = "10s";

/// The container, without `resources`. `dns` are its name servers; none means those of the pod's resolv.conf.
pub(super) fn sidecar(config: &Config, dns: &[SocketAddr]) -> Value {
    let sidecar = &config.sidecar;
    let health = format!("--address=[::]:{}", sidecar.health_port);
    json!({
        "name": CONTAINER_NAME,
        "image": sidecar.image,
        "imagePullPolicy": sidecar.image_pull_policy,
        "command": [PROGRAM],
        "args": arguments(config, dns),
        "restartPolicy": "Always",
        "ports": [port("proxy", sidecar.proxy_port), port("health", sidecar.health_port)],
        "env": [
            downward("POD_NAME", "metadata.name"),
            downward("POD_NAMESPACE", "metadata.namespace"),
            downward("POD_UID", "metadata.uid"),
        ],
        // The address is said always: a variable of a Service's name must not lead the question elsewhere.
        "lifecycle": {"postStart": {"exec": {"command": [PROGRAM, "healthcheck", health, format!("--wait={START_WAIT}")]}}},
        "readinessProbe": probe(READY_PATH, sidecar.health_port, 5, 3),
        "livenessProbe": probe(HEALTH_PATH, sidecar.health_port, 10, 6),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsGroup": sidecar.uid,
            "runAsNonRoot": true,
            "runAsUser": sidecar.uid,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": volumes::sidecar_mounts(config),
    })
}

/// Settings come from here alone (`--no-env`): a Service named `sandgate...` puts `SANDGATE_*` into every container.
fn arguments(config: &Config, dns: &[SocketAddr]) -> Vec<String> {
    let sidecar = &config.sidecar;
    let mut arguments = vec![
        "serve".to_owned(),
        "--no-env".to_owned(),
        format!("--listen=127.0.0.1:{}", sidecar.proxy_port),
        format!("--listen=[::1]:{}", sidecar.proxy_port),
        format!("--admin-listen=[::]:{}", sidecar.health_port),
        format!("--policy={}/{POLICY_KEY}", volumes::POLICY_DIR),
    ];
    match config.ca.mode {
        CaMode::Pod => arguments.extend(["--ca=generate".to_owned(), format!("--state-dir={}", volumes::STATE_DIR)]),
        // The name is for the message of a sidecar whose Secret is missing.
        CaMode::Secret => arguments.extend([
            "--ca=files".to_owned(),
            format!("--ca-dir={CA_DIR}"),
            format!("--ca-secret={}", config.ca.secret_name),
        ]),
    }
    arguments.push(format!("--trust-dir={}", volumes::TRUST_SOURCE_DIR));
    arguments.push(format!("--trust-path={TRUST_DIR}"));
    arguments.extend(dns.iter().map(|server| format!("--dns={server}")));
    if sidecar.upstream_ca_config_map.is_some() {
        // The directory, for the file is not there where the namespace lacks the ConfigMap.
        arguments.push(format!("--upstream-ca={}", volumes::UPSTREAM_CA_DIR));
    }
    arguments.push(format!("--log-level={}", sidecar.log_level));
    arguments
        .extend(["name=$(POD_NAME)", "namespace=$(POD_NAMESPACE)", "uid=$(POD_UID)"].map(|of| format!("--pod-{of}")));
    arguments
}

fn port(name: &str, number: u16) -> Value {
    json!({"name": name, "containerPort": number, "protocol": "TCP"})
}

fn downward(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
}

/// A probe without a host: Pod Security "restricted" forbids one.
fn probe(path: &str, port: u16, period_seconds: u32, failures: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "timeoutSeconds": 5,
        "periodSeconds": period_seconds,
        "successThreshold": 1,
        "failureThreshold": failures,
    })
}
