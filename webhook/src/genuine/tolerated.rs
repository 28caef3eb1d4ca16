//! What others may change in a genuine sidecar: resources within bounds, and what the configuration tolerates by name.
//! Never anything that decides what runs, with which rights, or what it reads.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::config::Sidecar;
use crate::evasion::path;
use crate::names::{SERVICE_ACCOUNT_DIR, VOLUMES};
use crate::pod;
use crate::resources::{Quantity, Resources};
use crate::situation::Situation;

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

/// What is wrong with the resources of a pod's sidecar. A LimitRange and an autoscaler may change requests and limits
/// within the configured bounds, and a LimitRange adds ephemeral storage; devices and claims are nobody's business.
pub(super) fn resources(situation: &Situation<'_>, container: &Value) -> Option<String> {
    let Sidecar { resources, resources_min: min, resources_max: max, .. } = &situation.config.sidecar;
    let field = |name: &str| container.get("resources").and_then(|resources| resources.get(name));
    for (list, rows) in [
        (
            "requests",
            [
                ("cpu", row(resources, min, max, |r| &r.cpu_request)),
                ("memory", row(resources, min, max, |r| &r.memory_request)),
            ],
        ),
        (
            "limits",
            [
                ("cpu", row(resources, min, max, |r| &r.cpu_limit)),
                ("memory", row(resources, min, max, |r| &r.memory_limit)),
            ],
        ),
    ] {
        for (name, [own, min, max]) in rows {
            let Some(text) = field(list).and_then(|amounts| amounts.get(name)) else {
                return Some(format!("resources.{list}.{name} is absent instead of {own}"));
            };
            let amount = amount(text);
            let fits =
                amount.is_some_and(|amount| (min.milli()..=max.milli()).contains(&amount.milli()) || amount == *own);
            if !fits {
                return Some(format!("resources.{list}.{name} is {text} instead of {min} to {max}"));
            }
        }
        let other = field(list).and_then(Value::as_object).into_iter().flatten();
        if let Some((name, amount)) =
            other.into_iter().find(|(name, _)| !["cpu", "memory", "ephemeral-storage"].contains(&name.as_str()))
        {
            return Some(format!("resources.{list}.{name} is {amount} instead of absent"));
        }
    }
    let mut other = container.get("resources").and_then(Value::as_object).into_iter().flatten();
    let (name, value) = other.find(|(name, value)| {
        !["requests", "limits"].contains(&name.as_str()) && !value.is_null() && **value != json!([])
    })?;
    Some(format!("resources.{name} is {value} instead of absent"))
}

/// One amount of three resources.
fn row<'a>(
    own: &'a Resources,
    min: &'a Resources,
    max: &'a Resources,
    of: fn(&Resources) -> &Quantity,
) -> [&'a Quantity; 3] {
    [of(own), of(min), of(max)]
}

/// A quantity, also where an author wrote a number.
fn amount(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
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
