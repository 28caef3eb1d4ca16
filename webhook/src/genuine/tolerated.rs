//! What others may add to a genuine sidecar: what the configuration tolerates by name, and what API servers add.
//! Never anything that decides what runs, with which rights, or what it reads.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::config::Sidecar;
use crate::evasion::path;
use crate::names::{SERVICE_ACCOUNT_DIR, VOLUMES};
use crate::pod;

/// Beginnings of names that a program or its libraries read whatever the configuration says: never tolerated.
const READ: [&str; 8] = ["SANDGATE_", "LD_", "GLIBC_", "MALLOC_", "MIMALLOC_", "RUST_", "TOKIO_", "SSL_"];

/// Where nobody mounts anything into the sidecar, whatever the volume is called.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Takes out of a pod's sidecar what is tolerated, so that the rest is compared exactly with `expected`.
pub(super) fn strip(sidecar: &Sidecar, expected: &Value, pod: &Value, found: &mut Value) {
    let Some(fields) = found.as_object_mut() else { return };
    fields.remove("resources");
    if fields.get("resizePolicy").is_some_and(is_default_resize_policy) {
        fields.remove("resizePolicy");
    }
    // The API server's plugin AlwaysPullImages says it for every container; the image is the same.
    if fields.get("imagePullPolicy").is_some_and(|policy| policy == "Always") {
        fields.insert("imagePullPolicy".to_owned(), expected.get("imagePullPolicy").cloned().unwrap_or_default());
    }
    let accepted = |image: &Value| sidecar.accepted_images.iter().any(|accepted| image == accepted.as_str());
    if fields.get("image").is_some_and(accepted) {
        fields.insert("image".to_owned(), expected.get("image").cloned().unwrap_or_default());
    }
    if let Some(env) = fields.get_mut("env").and_then(Value::as_array_mut) {
        env.retain(|variable| !is_tolerated_variable(sidecar, expected, variable));
    }
    if let Some(mounts) = fields.get_mut("volumeMounts").and_then(Value::as_array_mut) {
        mounts
            .retain(|mount| !is_tolerated_mount(sidecar, expected, mount) && !is_service_account(expected, pod, mount));
    }
}

/// What API servers from 1.33 on write: a resize needs no restart.
fn is_default_resize_policy(policy: &Value) -> bool {
    policy.as_array().is_some_and(|rules| {
        rules.iter().all(|rule| {
            ["cpu", "memory"].iter().any(|name| *rule == json!({"resourceName": name, "restartPolicy": "NotRequired"}))
        })
    })
}

fn is_tolerated_variable(sidecar: &Sidecar, expected: &Value, variable: &Value) -> bool {
    let Some(name) = pod::text(variable, "/name") else { return false };
    let is_expected = pod::named(expected, "env", name).is_some();
    let is_read = READ.iter().any(|start| name.starts_with(start));
    !is_expected && !is_read && sidecar.tolerated_env.iter().any(|tolerated| tolerated == name)
}

/// A mount of a tolerated volume. The volume is tolerated by its name, which a pod's author writes; so it may lie only
/// where it replaces nothing: not the program, nothing of ours, nothing of the kernel's.
fn is_tolerated_mount(sidecar: &Sidecar, expected: &Value, mount: &Value) -> bool {
    let (Some(name), Some(place)) = (pod::text(mount, "/name"), pod::text(mount, "/mountPath")) else { return false };
    let place = path::normal(place);
    let program = expected.get("command").and_then(|command| command.get(0)).and_then(Value::as_str);
    let ours = pod::elements(expected, "volumeMounts").filter_map(|ours| pod::text(ours, "/mountPath"));
    let mut taken = ours.chain(program).chain(KERNEL).chain([SERVICE_ACCOUNT_DIR]).map(path::normal);
    !VOLUMES.contains(&name)
        && sidecar.tolerated_mounts.iter().any(|tolerated| tolerated == name)
        && !taken.any(|taken| path::is_within(&place, &taken) || path::is_within(&taken, &place))
}

/// The mount of a ServiceAccount's token, as the API server's own plugin adds it to containers that mount nothing at
/// its path. Our renderings do mount something there, so that it never comes; beside ours it is somebody's forgery.
fn is_service_account(expected: &Value, pod: &Value, mount: &Value) -> bool {
    let name = pod::text(mount, "/name").unwrap_or_default();
    let is_taken = pod::elements(expected, "volumeMounts")
        .filter_map(|ours| pod::text(ours, "/mountPath"))
        .any(|ours| path::normal(ours) == SERVICE_ACCOUNT_DIR);
    let plain = json!({"name": name, "mountPath": SERVICE_ACCOUNT_DIR, "readOnly": true});
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let volumes: HashSet<&str> = pod::elements(spec, "volumes")
        .filter(|volume| {
            pod::elements(&volume["projected"], "sources").any(|source| source["serviceAccountToken"].is_object())
        })
        .filter_map(|volume| pod::text(volume, "/name"))
        .collect();
    !is_taken
        && name.starts_with("kube-api-access-")
        && volumes.contains(name)
        && super::same("volumeMounts", &plain, mount)
}
