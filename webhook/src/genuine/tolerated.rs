//! What others may add to a genuine sidecar: what the configuration tolerates by name, and what API servers add.
//! Never anything that decides what runs, with which rights, or what it reads.

use serde_json::{Value, json};

use crate::config::Sidecar;
use crate::evasion::path;
use crate::genuine::difference::{Fields, same};
use crate::names::{SERVICE_ACCOUNT_DIR, VOLUMES};
use crate::pod::{self, elements};

/// Beginnings of names that a program or its libraries read whatever the configuration says: never tolerated.
const READ: [&str; 8] = ["SANDGATE_", "LD_", "GLIBC_", "MALLOC_", "MIMALLOC_", "RUST_", "TOKIO_", "SSL_"];

/// Where nobody mounts anything into the sidecar, whatever the volume is called.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// What a pod's sidecar has in the fields in which something is tolerated, without that, so that the rest is compared
/// exactly with `expected`. A container may be as large as a pod: no more of it is copied than shows a difference.
pub(super) fn without(sidecar: &Sidecar, expected: &Value, pod: &Value, found: &Value) -> Fields {
    let mut fields = Fields::new();
    fields.insert("resources".to_owned(), Value::Null);
    if found.get("resizePolicy").is_some_and(is_default_resize_policy) {
        fields.insert("resizePolicy".to_owned(), Value::Null);
    }
    let accepted = |image: &Value| sidecar.accepted_images.iter().any(|accepted| image == accepted.as_str());
    // The API server's plugin AlwaysPullImages says it for every container; the image is the same.
    let always = |policy: &Value| policy == "Always";
    for (field, is_as_good) in [("image", &accepted as &dyn Fn(&Value) -> bool), ("imagePullPolicy", &always)] {
        if found.get(field).is_some_and(is_as_good) {
            fields.insert(field.to_owned(), expected.get(field).cloned().unwrap_or_default());
        }
    }
    let is_mount =
        |mount: &Value| is_tolerated_mount(sidecar, expected, mount) || is_service_account(expected, pod, mount);
    let is_variable = |variable: &Value| is_tolerated_variable(sidecar, expected, variable);
    for (field, is_tolerated) in [("env", &is_variable as &dyn Fn(&Value) -> bool), ("volumeMounts", &is_mount)] {
        if found.get(field).is_some_and(Value::is_array) {
            let enough = elements(expected, field).count() + 1;
            let rest = elements(found, field).filter(|element| !is_tolerated(element)).take(enough);
            fields.insert(field.to_owned(), rest.cloned().collect());
        }
    }
    fields
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
    let ours = elements(expected, "volumeMounts").filter_map(|ours| pod::text(ours, "/mountPath"));
    let mut taken = ours.chain(program).chain(KERNEL).chain([SERVICE_ACCOUNT_DIR]).map(path::normal);
    !VOLUMES.contains(&name)
        && sidecar.tolerated_mounts.iter().any(|tolerated| tolerated == name)
        && !taken.any(|taken| path::is_within(&place, &taken) || path::is_within(&taken, &place))
}

/// The mount of a ServiceAccount's token, as the API server's own plugin adds it to containers that mount nothing at
/// its path. Our renderings do mount something there, so that it never comes; beside ours it is somebody's forgery.
fn is_service_account(expected: &Value, pod: &Value, mount: &Value) -> bool {
    let name = pod::text(mount, "/name").unwrap_or_default();
    let plain = json!({"name": name, "mountPath": SERVICE_ACCOUNT_DIR, "readOnly": true});
    if !name.starts_with("kube-api-access-") || !same("volumeMounts", &plain, mount) {
        return false;
    }
    let mut ours = elements(expected, "volumeMounts").filter_map(|ours| pod::text(ours, "/mountPath"));
    let is_taken = ours.any(|ours| path::normal(ours) == SERVICE_ACCOUNT_DIR);
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let volume = pod::named(spec, "volumes", name).and_then(|(_, volume)| volume.get("projected"));
    let is_token = |source: &Value| source.get("serviceAccountToken").is_some_and(Value::is_object);
    !is_taken && volume.is_some_and(|volume| elements(volume, "sources").any(is_token))
}
