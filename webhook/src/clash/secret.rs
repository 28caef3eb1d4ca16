//! Whether a pod names the Secret with the CA. It may not, in either mode of the CA: not every namespace has the Secret,
//! but where it is, who can read it can sign for every host.
//!
//! The search knows no list of volume types. A field whose name has `secret` in it, and that holds the Secret's name or
//! an object that does, names the Secret: `secretName`, `secretRef`, `secretKeyRef`, `nodePublishSecretRef`, a projected
//! `secret`, and what Kubernetes will invent. `imagePullSecrets` is not looked at: the kubelet alone reads it.

use serde_json::Value;

use crate::decision::Refusal;
use crate::genuine::Genuine;
use crate::names::VOLUMES;
use crate::pod;
use crate::pod::{Container, List, elements};
use crate::reason::Reason;

/// Refusals for everything in a pod's spec but its containers. Our own volumes are the sidecar's.
pub(super) fn in_spec(secret: &str, sidecar: &Genuine<'_>, spec: &Value) -> Vec<Refusal> {
    let carried = sidecar.index().is_some();
    let mut refusals = Vec::new();
    for (index, volume) in elements(spec, "volumes").enumerate() {
        let name = pod::text(volume, "/name").unwrap_or_default();
        if !(carried && VOLUMES.contains(&name)) {
            refusals.extend(
                named(secret, volume).map(|field| refusal(secret, &format!("volumes[{index}] {name:?}"), &field)),
            );
        }
    }
    let apart = ["volumes", "imagePullSecrets"].into_iter().chain(List::ALL.map(List::field));
    let apart: Vec<&str> = apart.collect();
    for (field, value) in spec.as_object().into_iter().flatten().filter(|(field, _)| !apart.contains(&field.as_str())) {
        let named = named(secret, value).map(|below| joined(field, &below));
        refusals.extend(named.map(|field| refusal(secret, "the pod", &field)));
    }
    refusals
}

/// Refusals for one container.
pub(super) fn in_container(secret: &str, container: &Container<'_>) -> Option<Refusal> {
    named(secret, container.json).map(|field| refusal(secret, &container.place(), &field))
}

/// The first field at or below `value` that names the Secret. Its path is made on the way back, once it is found.
fn named(secret: &str, value: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(field, value)| {
            let is_name = |value: &Value| value.as_str() == Some(secret);
            let refers =
                || is_name(value) || ["name", "secretName"].iter().any(|key| value.get(key).is_some_and(is_name));
            if is_about_secrets(field) && refers() {
                return Some(field.clone());
            }
            named(secret, value).map(|below| joined(field, &below))
        }),
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .find_map(|(index, element)| named(secret, element).map(|below| joined(&format!("[{index}]"), &below))),
        _ => None,
    }
}

fn is_about_secrets(field: &str) -> bool {
    const WORD: &[u8] = b"secret";
    field.as_bytes().windows(WORD.len()).any(|part| part.eq_ignore_ascii_case(WORD))
}

fn joined(field: &str, below: &str) -> String {
    let dot = if below.starts_with('[') { "" } else { "." };
    format!("{field}{dot}{below}")
}

fn refusal(secret: &str, place: &str, field: &str) -> Refusal {
    let message = format!(
        "{place} names the Secret {secret:?} in {field}; it holds the proxy's CA key, which no workload may have: leave it \
         out (ca.crt in the trust directory is what clients need)"
    );
    Refusal::new(Reason::CaSecret, message)
}
