//! What others may add to a genuine sidecar: what the configuration tolerates by name, and what API servers add.
//! Never anything that decides what runs, with which rights, or what it reads.

use std::cell::LazyCell;
use std::collections::HashSet;

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
    let taken = LazyCell::new(|| taken(expected));
    let tokens = LazyCell::new(|| tokens(pod));
    let is_mount =
        |mount: &Value| is_tolerated_mount(sidecar, &taken, mount) || is_service_account(&taken, &tokens, mount);
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

/// Where something of the sidecar's is: the program, and what is mounted.
fn taken(expected: &Value) -> Vec<String> {
    let program = expected.get("command").and_then(|command| command.get(0)).and_then(Value::as_str);
    let ours = elements(expected, "volumeMounts").filter_map(|ours| pod::text(ours, "/mountPath"));
    ours.chain(program).map(path::normal).collect()
}

/// A mount of a tolerated volume. The volume is tolerated by its name, which a pod's author writes; so it may lie only
/// where it replaces nothing: not the program, nothing of ours, nothing of the kernel's.
fn is_tolerated_mount(sidecar: &Sidecar, taken: &[String], mount: &Value) -> bool {
    let (Some(name), Some(place)) = (pod::text(mount, "/name"), pod::text(mount, "/mountPath")) else { return false };
    if VOLUMES.contains(&name) || !sidecar.tolerated_mounts.iter().any(|tolerated| tolerated == name) {
        return false;
    }
    let place = path::normal(place);
    let mut taken = taken.iter().map(String::as_str).chain(KERNEL).chain([SERVICE_ACCOUNT_DIR]);
    !taken.any(|taken| path::is_within(&place, taken) || path::is_within(taken, &place))
}

/// The names of volumes with a ServiceAccount's token.
fn tokens(pod: &Value) -> HashSet<&str> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let is_token = |source: &Value| source.get("serviceAccountToken").is_some_and(Value::is_object);
    let has_token =
        |volume: &&Value| volume.get("projected").is_some_and(|projected| elements(projected, "sources").any(is_token));
    elements(spec, "volumes").filter(has_token).filter_map(|volume| pod::text(volume, "/name")).collect()
}

/// The mount of a ServiceAccount's token, as the API server's own plugin adds it to containers that mount nothing at
/// its path. Our renderings do mount something there, so that it never comes; beside ours it is somebody's forgery.
fn is_service_account(taken: &[String], tokens: &HashSet<&str>, mount: &Value) -> bool {
    let name = pod::text(mount, "/name").unwrap_or_default();
    let plain = || json!({"name": name, "mountPath": SERVICE_ACCOUNT_DIR, "readOnly": true});
    name.starts_with("kube-api-access-")
        && !taken.iter().any(|ours| ours == SERVICE_ACCOUNT_DIR)
        && tokens.contains(name)
        && same("volumeMounts", &plain(), mount)
}
