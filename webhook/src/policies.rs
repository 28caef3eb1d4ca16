//! ConfigMaps with policies: whether one is a policy at all, and whether it is sound, by the very code that the sidecar
//! reads it with. It judges content; who may write is for the cluster's rules.

use std::borrow::Cow;

use sandgate_policy::problem::{Problem, Unplaced};
use sandgate_policy::{Policy, Rule};
use serde_json::Value;

use crate::admission::Request;
use crate::config::Config;
use crate::decision::{Decision, Refusal};
use crate::names::{POLICY_CONFIG_MAP, POLICY_KEY, POLICY_LABEL};
use crate::namespace::Namespace;
use crate::pod;
use crate::reason::Reason;

/// Problems that one message holds; a file that is no policy at all has one for each of its lines.
const MAX_PROBLEMS: usize = 100;
/// Warnings that one response holds. The API server drops what comes behind 4 KiB of them.
const MAX_WARNINGS: usize = 10;
/// The most characters of a warning; the API server cuts off longer ones.
const MAX_WARNING: usize = 250;
/// The most characters of one problem, which quotes what it is about: a text may be as long as the ConfigMap.
const MAX_PROBLEM: usize = 500;

/// Where to find what a bound left out.
const ALL: &str = "sandgate-sidecar validate FILE lists them all";

/// Decides on the writing of a ConfigMap. One that is no policy passes; a policy passes when it is sound, with what its
/// author may not have meant as warnings.
#[must_use]
pub fn validate_policy(namespace: &Namespace, config: &Config, request: &Request) -> Decision {
    if let Some(refusal) = not_ours(request) {
        return refusal.into();
    }
    let object = &request.object;
    if !object.is_object() {
        let message = "the review holds no ConfigMap; is it a webhook of another version that asks?";
        return Refusal::new(Reason::NotOurs, message).into();
    }
    let is_policy = is_named(namespace, config, request) || is_labelled(object) || is_labelled(&request.old_object);
    if !is_policy {
        return other(namespace, object);
    }
    match policy_of(object) {
        Ok(policy) => sound(&policy),
        Err(problems) if changes_nothing(namespace, config, request) => tolerated(request, &problems),
        Err(problems) => refused(request, &problems),
    }
}

/// Why this path does not answer the review.
fn not_ours(request: &Request) -> Option<Refusal> {
    let Request { kind, resource, sub_resource, operation, .. } = request;
    let message = if kind != "v1/ConfigMap" || resource != "configmaps" || !sub_resource.is_empty() {
        let resource = format!("{resource}/{sub_resource}");
        let resource = resource.trim_end_matches('/');
        format!(
            "/validate/policies answers for v1/ConfigMap only, not for {kind} ({resource}); correct the webhook's rules"
        )
    } else if operation != "CREATE" && operation != "UPDATE" {
        format!(
            "/validate/policies answers for CREATE and UPDATE only, not for {operation}; correct the webhook's rules"
        )
    } else {
        return None;
    };
    Some(Refusal::new(Reason::NotOurs, message))
}

/// Whether pods of the namespace read their policy from a ConfigMap of this name.
fn is_named(namespace: &Namespace, config: &Config, request: &Request) -> bool {
    let name = name(request);
    let named = [POLICY_CONFIG_MAP, &config.policy.config_map];
    !name.is_empty() && (named.contains(&name) || namespace.policy.as_deref() == Some(name))
}

fn name(request: &Request) -> &str {
    match request.name.as_str() {
        "" => pod::text(&request.object, "/metadata/name").unwrap_or_default(),
        name => name,
    }
}

fn is_labelled(object: &Value) -> bool {
    let labels = object.pointer("/metadata/labels");
    labels.and_then(|labels| labels.get(POLICY_LABEL)).and_then(Value::as_str) == Some("true")
}

/// A ConfigMap that nothing makes a policy. Where pods may name one, it may still become one: then it is worth a word
/// that the sidecar would refuse it, but no refusal, for other programs too call their files `policy.yaml`.
fn other(namespace: &Namespace, object: &Value) -> Decision {
    let mut warnings: Vec<String> = odd_label(object).into_iter().collect();
    let holds = object.get("data").is_some_and(|data| data.get(POLICY_KEY).is_some());
    if holds
        && namespace.pod_policy.as_deref() == Some("allowed")
        && let Err(problems) = policy_of(object)
    {
        warnings.push("a pod that names this ConfigMap as its policy would reach nothing:".to_owned());
        warnings.extend(problems);
    }
    let warnings = shortened(bounded(warnings, MAX_WARNINGS, ALL), MAX_WARNING);
    Decision { warnings, ..Decision::pass(Reason::NotAsked) }
}

/// A label that looks as if it was to make the ConfigMap a policy, and does not.
fn odd_label(object: &Value) -> Option<String> {
    let value = object.pointer("/metadata/labels")?.get(POLICY_LABEL)?.as_str().filter(|value| *value != "false")?;
    Some(format!("label {POLICY_LABEL}: {value:?} makes this ConfigMap no policy; for one, write \"true\""))
}

/// Whether the same content was there before, as a policy: then the write is about labels, owners or finalizers, and to
/// refuse it would keep a broken policy from being cleaned up.
fn changes_nothing(namespace: &Namespace, config: &Config, request: &Request) -> bool {
    let (old, new) = (&request.old_object, &request.object);
    let was_policy = is_named(namespace, config, request) || is_labelled(old);
    let same = |field| old.get(field).unwrap_or(&Value::Null) == new.get(field).unwrap_or(&Value::Null);
    request.operation == "UPDATE" && old.is_object() && was_policy && same("data") && same("binaryData")
}

/// The policy of a ConfigMap, or all that is wrong with it.
fn policy_of(object: &Value) -> Result<Policy, Vec<String>> {
    let field = |name: &str| object.get(name).filter(|value| !value.is_null());
    let (data, binary) = (field("data"), field("binaryData"));
    if binary.is_some_and(|binary| binary.get(POLICY_KEY).is_some()) {
        return Err(vec![format!("{POLICY_KEY} stands in binaryData; put it into data, as text in UTF-8")]);
    }
    match data.map(|data| (data.is_object(), data.get(POLICY_KEY))) {
        Some((_, Some(Value::String(text)))) => Policy::parse(text.as_bytes())
            .map_err(|errors| errors.0.iter().map(|problem| placed(problem, "")).collect()),
        Some((_, Some(_))) => Err(vec![format!("{POLICY_KEY} has to be a text; write it as {POLICY_KEY}: |")]),
        Some((false, _)) => Err(vec!["data has to be a map of texts".to_owned()]),
        Some((true, None)) | None => Err(vec![missing(data, binary)]),
    }
}

fn missing(data: Option<&Value>, binary: Option<&Value>) -> String {
    let keys = [data, binary].into_iter().flatten().filter_map(Value::as_object).flat_map(|map| map.keys());
    let mut keys: Vec<String> = keys.take(MAX_PROBLEMS).map(|key| format!("{key:?}")).collect();
    keys.sort_unstable();
    let found = if keys.is_empty() { "it has no data".to_owned() } else { format!("it has {}", keys.join(", ")) };
    format!("data has no key {POLICY_KEY:?}, and {found}; put the policy under that key")
}

/// As `policy.yaml:3: warning: destinations[0].host: ...`.
fn placed(problem: &Problem, kind: &str) -> String {
    let line = if problem.line == 0 { String::new() } else { format!(":{}", problem.line) };
    format!("{POLICY_KEY}{line}: {kind}{}", Unplaced(problem))
}

/// The first `most` of `texts`, and how many more there are.
fn bounded(mut texts: Vec<String>, most: usize, rest: &str) -> Vec<String> {
    if texts.len() > most {
        let more = texts.len() - (most - 1);
        texts.truncate(most - 1);
        texts.push(format!("and {more} more; {rest}"));
    }
    texts
}

fn refused(request: &Request, problems: &[String]) -> Decision {
    let problems = bounded(problems.to_vec(), MAX_PROBLEMS, ALL);
    let problems = shortened(problems, MAX_PROBLEM);
    // One line each, as `sandgate-sidecar validate` has it; kubectl prints them so.
    let message = format!("ConfigMap {:?} is no valid policy:\n{}", shown(request), problems.join("\n"));
    Refusal::new(Reason::PolicyInvalid, message).into()
}

fn tolerated(request: &Request, problems: &[String]) -> Decision {
    let mut decision = Decision::pass(Reason::NotAsked);
    decision.message = format!("the content of ConfigMap {:?} is as it was", shown(request));
    let mut warnings = vec![format!("ConfigMap {:?} was no valid policy before, and is none now", shown(request))];
    warnings.extend(problems.iter().cloned());
    decision.warnings = shortened(bounded(warnings, MAX_WARNINGS, ALL), MAX_WARNING);
    decision
}

fn sound(policy: &Policy) -> Decision {
    let mut decision = Decision::pass(Reason::PolicyValid);
    let count = policy.rules().len();
    decision.message = format!("a sound policy with {count} destination{}", if count == 1 { "" } else { "s" });
    let files = policy.rules().iter().filter_map(|rule| named_files(rule));
    let warnings = files.chain(policy.warnings().iter().map(|warning| placed(warning, ""))).collect();
    decision.warnings = shortened(bounded(warnings, MAX_WARNINGS, ALL), MAX_WARNING);
    decision
}

/// A pod mounts the policy's key alone into the sidecar, and a sidecar that cannot read a file refuses the whole policy.
fn named_files(rule: &Rule) -> Option<String> {
    let upstream = &rule.upstream;
    let certificate = upstream.client_cert.as_ref();
    let files = upstream.ca.iter().chain(certificate.into_iter().flat_map(|files| [&files.certificate, &files.key]));
    let files: Vec<String> = files.map(|file| file.display().to_string()).collect();
    let place = format!("{POLICY_KEY}:{}: {}.upstream", rule.line, rule.id);
    let why = "unless its container has them, the sidecar refuses the whole policy";
    (!files.is_empty()).then(|| format!("{place} names files: {why} ({})", files.join(", ")))
}

fn shown(request: &Request) -> Cow<'_, str> {
    match (name(request), pod::text(&request.object, "/metadata/generateName")) {
        ("", Some(prefix)) => Cow::Owned(format!("{prefix}...")),
        (name, _) => Cow::Borrowed(name),
    }
}

fn shortened(texts: Vec<String>, most: usize) -> Vec<String> {
    let shorten = |text: String| match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    texts.into_iter().map(shorten).collect()
}

#[cfg(test)]
mod tests;
