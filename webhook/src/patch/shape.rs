//! Whether a pod has the shapes that a patch is made for. The API server has checked that before it calls; commands that
//! read files have not, and an object that we would misread is refused.

use sandgate_contract::VARIABLES;
use serde_json::Value;

use crate::decision::Refusal;
use crate::pod::{self, List};
use crate::reason::Reason;

/// Containers that a pod may have, in all lists. What is added to each is a hundred times what its author has to write,
/// and the API server has no bound of its own: a few hundred KiB of containers would take all of the memory.
const MOST_CONTAINERS: usize = 256;
/// Entries of all `env` with names of ours, for each of which there may be an operation: all of them in every container,
/// and some that are there twice.
const MOST_VARIABLES: usize = 2 * MOST_CONTAINERS * VARIABLES.len();

/// Checks everything that is read or patched, and that it is no more than a pod has.
///
/// # Errors
/// The first field with another shape than a pod's, by its path; or how much of what there is too much of.
pub fn check(pod: &Value) -> Result<(), Refusal> {
    let shape = || -> Result<(), String> {
        object(pod, "the pod")?;
        if let Some(metadata) = member(pod, "metadata") {
            object(metadata, "metadata")?;
            texts(metadata, "annotations", "metadata.annotations")?;
            texts(metadata, "labels", "metadata.labels")?;
        }
        let spec = member(pod, "spec").ok_or("spec is missing")?;
        object(spec, "spec")?;
        for field in ["volumes", "imagePullSecrets"] {
            objects(spec, field, &format!("spec.{field}"))?;
        }
        resources(spec, "spec")?;
        for list in List::ALL {
            objects(spec, list.field(), &format!("spec.{}", list.field()))?;
        }
        if pod::elements(spec, List::Main.field()).next().is_none() {
            return Err("spec.containers is empty".to_owned());
        }
        size(spec)?;
        pod::containers(spec).try_for_each(|container| {
            let place = format!("spec.{}[{}]", container.list.field(), container.index);
            self::container(container.json, &place)
        })
    };
    shape().map_err(|problem| Refusal::new(Reason::Malformed, format!("this is no pod: {problem}")))
}

fn size(spec: &Value) -> Result<(), String> {
    let containers = pod::containers(spec).count();
    if containers > MOST_CONTAINERS {
        return Err(format!("it has {containers} containers, and may have {MOST_CONTAINERS}; make several pods of it"));
    }
    let names = pod::containers(spec).flat_map(|container| pod::elements(container.json, "env"));
    let names = names.filter_map(|variable| pod::text(variable, "/name"));
    let ours = names.filter(|name| VARIABLES.iter().any(|variable| variable.name == *name)).count();
    if ours > MOST_VARIABLES {
        return Err(format!(
            "its containers set variables of the proxy {ours} times, and may do so {MOST_VARIABLES} times; set each once"
        ));
    }
    Ok(())
}

fn container(container: &Value, place: &str) -> Result<(), String> {
    for field in ["env", "envFrom", "volumeMounts", "ports"] {
        objects(container, field, &format!("{place}.{field}"))?;
    }
    named(container, place)?;
    for (index, variable) in pod::elements(container, "env").enumerate() {
        variable_shape(variable).map_err(|problem| format!("{place}.env[{index}]{problem}"))?;
    }
    resources(container, place)?;
    let Some(context) = member(container, "securityContext") else { return Ok(()) };
    object(context, &format!("{place}.securityContext"))?;
    let Some(capabilities) = member(context, "capabilities") else { return Ok(()) };
    object(capabilities, &format!("{place}.securityContext.capabilities"))?;
    match member(capabilities, "drop") {
        None | Some(Value::Array(_)) => Ok(()),
        Some(_) => Err(format!("{place}.securityContext.capabilities.drop is not a list")),
    }
}

fn resources(holder: &Value, place: &str) -> Result<(), String> {
    let Some(resources) = member(holder, "resources") else { return Ok(()) };
    object(resources, &format!("{place}.resources"))?;
    for kind in ["requests", "limits"] {
        if let Some(amounts) = member(resources, kind) {
            object(amounts, &format!("{place}.resources.{kind}"))?;
        }
    }
    Ok(())
}

/// The member `field`, unless it is absent or null.
fn member<'a>(holder: &'a Value, field: &str) -> Option<&'a Value> {
    holder.get(field).filter(|value| !value.is_null())
}

fn object(value: &Value, place: &str) -> Result<(), String> {
    if value.is_object() { Ok(()) } else { Err(format!("{place} is not an object")) }
}

fn named(value: &Value, place: &str) -> Result<(), String> {
    if value.get("name").is_some_and(Value::is_string) { Ok(()) } else { Err(format!("{place} has no name")) }
}

/// What is wrong with a variable, behind its place: there may be tens of thousands.
fn variable_shape(variable: &Value) -> Result<(), &'static str> {
    if !variable.get("name").is_some_and(Value::is_string) {
        return Err(" has no name");
    }
    match member(variable, "value") {
        None | Some(Value::String(_)) => Ok(()),
        Some(_) => Err(".value is not a text; put it in quotes"),
    }
}

fn objects(holder: &Value, field: &str, place: &str) -> Result<(), String> {
    match member(holder, field) {
        None => Ok(()),
        Some(Value::Array(elements)) => match elements.iter().position(|element| !element.is_object()) {
            None => Ok(()),
            Some(index) => Err(format!("{place}[{index}] is not an object")),
        },
        Some(_) => Err(format!("{place} is not a list")),
    }
}

fn texts(holder: &Value, field: &str, place: &str) -> Result<(), String> {
    let Some(value) = member(holder, field) else { return Ok(()) };
    let members = value.as_object().ok_or_else(|| format!("{place} is not an object"))?;
    match members.iter().find(|(_, value)| !value.is_string()) {
        None => Ok(()),
        Some((key, _)) => Err(format!("{place}: {key:?} is not a text; put it in quotes")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_of_more_containers_than_pods_have_is_refused_whatever_lists_they_are_in() {
        let some = |count: usize| (0..count).map(|number| json!({"name": format!("c{number}")})).collect::<Value>();
        let pod = |init, main| json!({"spec": {"initContainers": some(init), "containers": some(main)}});
        assert_eq!(check(&pod(1, MOST_CONTAINERS - 1)), Ok(()));
        let refusal = check(&pod(1, MOST_CONTAINERS)).unwrap_err();
        assert!(refusal.message.contains(&format!("{} containers", MOST_CONTAINERS + 1)), "{}", refusal.message);
    }

    #[test]
    fn a_variable_is_named_by_its_place() {
        let message = |variable: Value| {
            let pod = json!({"spec": {"containers": [{"name": "c", "env": [{"name": "ok"}, variable]}]}});
            check(&pod).unwrap_err().message
        };
        assert!(message(json!({})).ends_with("spec.containers[0].env[1] has no name"));
        assert!(message(json!({"name": "a", "value": 1})).contains("spec.containers[0].env[1].value is not a text"));
    }
}
