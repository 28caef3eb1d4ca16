use std::fmt::Write as _;

use serde_json::json;

use super::*;
use crate::reason::Outcome;

const SOUND: &str = "version: 1\ndestinations:\n- {id: a, host: a.test}\n";
const BROKEN: &str = "version: 1\nmod: audit\ndestinations:\n- {id: a, host: '*', ports: [0]}\n";

fn namespace() -> Namespace {
    Namespace { name: "sandboxes".to_owned(), policy: Some("egress".to_owned()), ..Namespace::default() }
}

fn request(operation: &str, name: &str, object: Value, old_object: Value) -> Request {
    Request {
        uid: "u".to_owned(),
        kind: "v1/ConfigMap".to_owned(),
        resource: "configmaps".to_owned(),
        sub_resource: String::new(),
        namespace: "sandboxes".to_owned(),
        name: name.to_owned(),
        operation: operation.to_owned(),
        dry_run: false,
        object,
        old_object,
    }
}

fn decided(request: &Request) -> Decision {
    validate_policy(&namespace(), &Config::default(), request)
}

fn created(name: &str, object: Value) -> Decision {
    decided(&request("CREATE", name, object, Value::Null))
}

fn with(text: &str) -> Value {
    json!({"data": {POLICY_KEY: text}})
}

fn labelled(value: &str, text: &str) -> Value {
    json!({"metadata": {"labels": {POLICY_LABEL: value}}, "data": {POLICY_KEY: text}})
}

#[test]
fn a_config_map_is_a_policy_by_its_name_its_label_or_the_namespace_s_annotation() {
    for name in ["sandgate-policy", "egress"] {
        assert_eq!(created(name, with(BROKEN)).reason, Reason::PolicyInvalid, "{name}");
    }
    assert_eq!(created("other", labelled("true", BROKEN)).reason, Reason::PolicyInvalid);
    for object in [with(BROKEN), labelled("True", BROKEN), labelled("false", BROKEN), json!({"data": null})] {
        let decision = created("other", object.clone());
        assert_eq!((decision.reason, decision.allowed()), (Reason::NotAsked, true));
        let warned =
            decision.warnings.iter().any(|warning| warning.contains("\"True\" makes this ConfigMap no policy"));
        assert_eq!(warned, object == labelled("True", BROKEN), "{:?}", decision.warnings);
    }
    let mut config = Config::default();
    config.policy.config_map = "other".to_owned();
    let request = request("CREATE", "other", with(BROKEN), Value::Null);
    assert_eq!(validate_policy(&namespace(), &config, &request).reason, Reason::PolicyInvalid);
}

#[test]
fn a_name_that_is_still_to_be_made_is_no_policy_s_but_the_label_counts() {
    let object = |label: &str| json!({"metadata": {"generateName": "p-", "labels": {POLICY_LABEL: label}}, "data": {POLICY_KEY: BROKEN}});
    assert_eq!(created("", object("no")).reason, Reason::NotAsked);
    let refused = created("", object("true"));
    assert!(refused.message.starts_with("ConfigMap \"p-...\" is no valid policy:\n"), "{}", refused.message);
    let named = json!({"metadata": {"name": "sandgate-policy"}, "data": {POLICY_KEY: BROKEN}});
    assert_eq!(created("", named).reason, Reason::PolicyInvalid);
}

#[test]
fn where_pods_may_name_their_policy_a_broken_one_is_a_warning() {
    let namespace = Namespace { pod_policy: Some("allowed".to_owned()), ..namespace() };
    let decided = |object| {
        let request = request("CREATE", "other", object, Value::Null);
        validate_policy(&namespace, &Config::default(), &request)
    };
    let decision = decided(with(BROKEN));
    assert_eq!((decision.reason, decision.warnings.len()), (Reason::NotAsked, 4));
    assert!(decision.warnings[1].starts_with("policy.yaml:2: mod: "), "{:?}", decision.warnings);
    for object in [with(SOUND), json!({"data": {"other": "x"}}), json!({})] {
        assert_eq!(decided(object).warnings, Vec::<String>::new());
    }
}

#[test]
fn a_label_that_an_update_takes_away_still_makes_it_a_policy() {
    let decision = decided(&request("UPDATE", "x", with(BROKEN), labelled("true", SOUND)));
    assert_eq!(decision.reason, Reason::PolicyInvalid);
    let decision = decided(&request("UPDATE", "x", labelled("true", BROKEN), with(BROKEN)));
    assert_eq!(
        decision.reason,
        Reason::PolicyInvalid,
        "what becomes a policy is checked, though its content was there"
    );
}

#[test]
fn every_problem_of_a_policy_is_told_with_its_line() {
    let decision = created("sandgate-policy", with(BROKEN));
    assert!(!decision.allowed());
    let lines: Vec<&str> = decision.message.lines().collect();
    assert_eq!(lines[0], "ConfigMap \"sandgate-policy\" is no valid policy:");
    assert!(lines[1].starts_with("policy.yaml:2: mod: there is no such field; did you mean mode?"), "{lines:?}");
    for field in ["host", "ports[0]"] {
        let place = format!("policy.yaml:4: destinations[0].{field}: ");
        assert_eq!(lines.iter().filter(|line| line.starts_with(&place)).count(), 1, "{lines:?}");
    }
    assert_eq!(lines.len(), 4);
    let long = created("sandgate-policy", with(&SOUND.replace("a.test", &"ä".repeat(100_000)))).message;
    assert!(!long.is_empty() && long.chars().count() < 2 * MAX_PROBLEM, "a long text is not quoted in full");
    let mut endless = "version: 1\ndestinations:\n".to_owned();
    (0..5000).for_each(|_| endless.push_str("- 7\n"));
    let message = created("sandgate-policy", with(&endless)).message;
    assert_eq!(message.lines().count(), 1 + MAX_PROBLEMS);
    assert!(message.ends_with("and 4901 more; sandgate-sidecar validate FILE lists them all"), "{message}");
}

#[test]
fn a_config_map_without_the_key_is_refused_and_says_what_it_has() {
    for (object, expected) in [
        (json!({}), "data has no key \"policy.yaml\", and it has no data"),
        (json!({"data": null}), "it has no data"),
        (json!({"data": {}}), "it has no data"),
        (json!({"data": {"policy.yml": SOUND, "b": ""}}), "it has \"b\", \"policy.yml\""),
        (json!({"binaryData": {"policy.yml": ""}}), "it has \"policy.yml\""),
        (json!({"binaryData": {POLICY_KEY: "dmVyc2lvbjogMQ=="}}), "stands in binaryData; put it into data"),
        (json!({"data": {POLICY_KEY: SOUND}, "binaryData": {POLICY_KEY: ""}}), "stands in binaryData"),
        (json!({"data": {POLICY_KEY: ""}}), "policy.yaml:1: the file is empty"),
        (json!({"data": {POLICY_KEY: null}}), "policy.yaml has to be a text"),
        (json!({"data": {POLICY_KEY: {"version": 1}}}), "policy.yaml has to be a text"),
        (json!({"data": [SOUND]}), "data has to be a map of texts"),
    ] {
        let decision = created("sandgate-policy", object.clone());
        assert_eq!(decision.reason, Reason::PolicyInvalid, "{object}");
        assert!(decision.message.contains(expected), "{object}: {}", decision.message);
    }
}

#[test]
fn a_sound_policy_passes_with_the_warnings_of_validate() {
    let decision = created("sandgate-policy", with(SOUND));
    assert_eq!((decision.reason, decision.reason.outcome()), (Reason::PolicyValid, Outcome::Skipped));
    assert_eq!((decision.warnings.len(), decision.message.as_str()), (0, "a sound policy with 1 destination"));
    let decision = created("sandgate-policy", with("version: 1\nmode: audit\ndestinations: []\n"));
    assert_eq!(
        decision.warnings[0],
        "policy.yaml: mode: audit refuses nothing by policy; it only logs what enforce would refuse"
    );
    let mut many = "version: 1\ndestinations:\n".to_owned();
    (0..50).for_each(|n| writeln!(many, "- {{id: r{n}, host: h{n}.test, scheme: http}}").unwrap());
    let decision = created("sandgate-policy", with(&many));
    assert_eq!(decision.warnings.len(), MAX_WARNINGS);
    assert!(decision.warnings[9].starts_with("and 41 more; "), "{:?}", decision.warnings);
    assert!(decision.warnings[0].starts_with("policy.yaml:3: r0.scheme: http is neither"), "{:?}", decision.warnings);
}

#[test]
fn files_that_a_policy_names_are_a_warning_since_a_pod_has_none() {
    let text = "version: 1\ndestinations:\n- {id: a, host: a.test, upstream: {ca: [/extra.pem], \
                client_cert: {certificate: /c.pem, key: /k.pem}}}\n";
    let warnings = created("sandgate-policy", with(text)).warnings;
    assert_eq!(
        warnings,
        ["policy.yaml:3: a.upstream names files: unless its container has them, the sidecar refuses the whole policy \
          (/extra.pem, /c.pem, /k.pem)"]
    );
    let long = text.replace("/extra.pem", &format!("/{}", "ä".repeat(400)));
    let warnings = created("sandgate-policy", with(&long)).warnings;
    assert_eq!(warnings[0].chars().count(), MAX_WARNING + 1);
}

#[test]
fn a_broken_policy_can_still_lose_its_finalizers_and_owners() {
    let mut object = labelled("true", BROKEN);
    let old = object.clone();
    object["metadata"]["ownerReferences"] = json!([]);
    let decision = decided(&request("UPDATE", "x", object.clone(), old.clone()));
    assert_eq!((decision.reason, decision.allowed()), (Reason::NotAsked, true));
    assert!(decision.warnings[1].starts_with("policy.yaml:2: mod: "), "{:?}", decision.warnings);
    object["data"]["other"] = json!("x");
    assert!(!decided(&request("UPDATE", "x", object, old)).allowed());
}

#[test]
fn reviews_of_anything_else_are_denied() {
    let ours = request("CREATE", "sandgate-policy", with(SOUND), Value::Null);
    for (request, expected) in [
        (
            Request { kind: "v1/Secret".into(), resource: "secrets".into(), ..ours.clone() },
            "not for v1/Secret (secrets)",
        ),
        (Request { sub_resource: "status".into(), ..ours.clone() }, "(configmaps/status)"),
        (Request { operation: "DELETE".into(), object: Value::Null, ..ours.clone() }, "not for DELETE"),
        (Request { operation: "CONNECT".into(), ..ours.clone() }, "not for CONNECT"),
        (Request { object: Value::Null, ..ours.clone() }, "holds no ConfigMap"),
        (Request { object: json!([]), ..ours.clone() }, "holds no ConfigMap"),
    ] {
        let decision = decided(&request);
        assert_eq!((decision.reason, decision.allowed()), (Reason::NotOurs, false));
        assert!(decision.message.contains(expected), "{}", decision.message);
    }
}
