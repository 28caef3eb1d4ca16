//! What a patch would still have to do to containers, in words: for each what it lacks.

use std::collections::BTreeMap;

use json_patch::PatchOperation;
use sandgate_contract::TRUST_DIR;
use serde_json::Value;

use crate::decision::Refusal;
use crate::pod::{Container, List, containers};
use crate::reason::Reason;

/// How many variables a message names.
const NAMED: usize = 4;

/// What one container lacks.
#[derive(Default)]
struct Lack {
    variables: Vec<String>,
    trust: bool,
    drop: bool,
}

/// One refusal for each container that an operation changes.
pub(super) fn refusals(pod: &Value, operations: &[PatchOperation]) -> Vec<Refusal> {
    let mut lacks: BTreeMap<(List, usize), Lack> = BTreeMap::new();
    for operation in operations {
        let (path, value) = match operation {
            PatchOperation::Add(add) => (&add.path, Some(&add.value)),
            PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value)),
            PatchOperation::Remove(remove) => (&remove.path, None),
            _ => continue,
        };
        let tokens: Vec<String> = path.tokens().map(|token| token.decoded().into_owned()).collect();
        let [_, list, index, field, rest @ ..] = &tokens[..] else { continue };
        let list = List::ALL.into_iter().find(|known| known.field() == list);
        let (Some(list), Ok(index)) = (list, index.parse::<usize>()) else { continue };
        let lack = lacks.entry((list, index)).or_default();
        match field.as_str() {
            "env" => lack.variables.extend(variables(pod, list, index, rest, value)),
            "volumeMounts" => lack.trust = true,
            _ => lack.drop = true,
        }
    }
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let place = |container: Container<'_>| Some(refusal(&container, lacks.get(&(container.list, container.index))?));
    containers(spec).filter_map(place).collect()
}

/// The names of the variables that an operation at or below `env` sets.
fn variables(pod: &Value, list: List, index: usize, rest: &[String], value: Option<&Value>) -> Vec<String> {
    let name = |variable: &Value| Some(variable.get("name")?.as_str()?.to_owned());
    match (rest, value) {
        ([], Some(Value::Array(all))) => all.iter().filter_map(name).collect(),
        ([_], Some(variable)) => name(variable).into_iter().collect(),
        ([place, ..], _) => {
            let pointer = format!("/spec/{}/{index}/env/{place}", list.field());
            pod.pointer(&pointer).and_then(name).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn refusal(container: &Container<'_>, lack: &Lack) -> Refusal {
    let mut parts = Vec::new();
    if !lack.variables.is_empty() {
        let mut named: Vec<&str> = Vec::new();
        for name in &lack.variables {
            if !named.contains(&name.as_str()) {
                named.push(name);
            }
        }
        let more = named.len().saturating_sub(NAMED);
        let shown = named.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        parts.push(format!("the proxy's environment ({shown}{more})"));
    }
    if lack.trust {
        parts.push(format!("the trust files in {TRUST_DIR}"));
    }
    if lack.drop {
        parts.push("NET_RAW in securityContext.capabilities.drop".to_owned());
    }
    let message = format!(
        "{} lacks {}: another webhook added or changed it after Sandgate's; have the administrator order that webhook before, \
         or set its reinvocationPolicy to IfNeeded",
        container.place(),
        parts.join(", ")
    );
    Refusal::new(Reason::Incomplete, message)
}
