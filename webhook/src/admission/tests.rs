use json_patch::{AddOperation, PatchOperation};
use serde_json::json;

use super::*;
use crate::decision::{Decision, Refusal};
use crate::reason::Reason;

fn review() -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "team", "operation": "CREATE", "dryRun": true,
            "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "a-"}, "unknown": {"z": 1, "a": 2}},
        },
    })
}

fn read(review: &Value) -> Result<Request, BadReview> {
    Request::read(review.to_string().as_bytes())
}

/// The review with the value at `pointer` replaced, or taken out.
fn with(pointer: &str, value: Option<Value>) -> Value {
    let mut review = review();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = review.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => drop(parent.insert(field.to_owned(), value)),
        None => drop(parent.shift_remove(field)),
    }
    review
}

#[test]
fn a_review_is_read_and_its_object_stays_as_it_came() {
    let request = read(&review()).unwrap();
    assert_eq!(
        (request.kind.as_str(), request.resource.as_str(), request.operation.as_str()),
        ("v1/Pod", "pods", "CREATE")
    );
    assert_eq!((request.namespace.as_str(), request.name.as_str(), request.dry_run), ("team", "", true));
    assert_eq!(request.object.to_string(), review()["request"]["object"].to_string());
    assert_eq!(request.old_object, Value::Null);
    let other = with("/request/kind", Some(json!({"group": "apps", "version": "v1", "kind": "Deployment"})));
    assert_eq!(read(&other).unwrap().kind, "apps/v1/Deployment");
}

#[test]
fn what_is_wrong_is_named_and_the_identifier_kept() {
    for (pointer, value, words) in [
        ("/apiVersion", Some(json!("admission.k8s.io/v1beta1")), "apiVersion is \"admission.k8s.io/v1beta1\""),
        ("/apiVersion", None, "apiVersion is missing"),
        ("/kind", Some(json!("Pod")), "kind is \"Pod\""),
        ("/request/object", None, "request.object is missing"),
        ("/request/object", Some(Value::Null), "request.object is missing"),
        ("/request/object", Some(json!([])), "request.object is not an object"),
        ("/request/oldObject", Some(json!("x")), "request.oldObject is not an object"),
        ("/request/kind", None, "request.kind is missing"),
        ("/request/kind", Some(json!({})), "request.kind.kind is missing"),
        ("/request/resource", None, "request.resource is missing"),
        ("/request/operation", None, "request.operation is missing"),
        ("/request/namespace", Some(json!(7)), "request.namespace is not a string"),
    ] {
        let bad = read(&with(pointer, value)).unwrap_err();
        assert!(bad.message.starts_with(words), "{pointer}: {}", bad.message);
        let denial = bad.denial().unwrap_or_else(|| panic!("{pointer}: no denial"));
        assert_eq!((&denial["response"]["uid"], &denial["response"]["allowed"]), (&json!("u-1"), &json!(false)));
        assert_eq!(denial["response"]["status"]["code"], 400);
    }
}

#[test]
fn without_an_identifier_there_is_no_denial() {
    let long = "u".repeat(LONGEST_UID + 1);
    for (pointer, value) in [
        ("/request", None),
        ("/request", Some(json!("x"))),
        ("/request/uid", None),
        ("/request/uid", Some(json!(""))),
        ("/request/uid", Some(json!(7))),
        ("/request/uid", Some(json!(long))),
    ] {
        let bad = read(&with(pointer, value.clone())).unwrap_err();
        assert_eq!((bad.uid.as_deref(), bad.denial()), (None, None), "{pointer} {value:?}");
    }
    for body in ["", "nonsense", "[]", "null", "{\"a\":", "\u{feff}{}"] {
        assert_eq!(Request::read(body.as_bytes()).unwrap_err().uid, None, "{body:?}");
    }
}

#[test]
fn json_that_is_too_deep_is_refused_before_it_can_overflow_the_stack() {
    for body in ["[".repeat(1 << 17), "{\"a\":".repeat(1 << 17)] {
        assert!(Request::read(body.as_bytes()).unwrap_err().message.contains("recursion limit"));
    }
}

#[test]
fn json_of_more_values_than_any_pod_has_is_refused_before_it_takes_the_memory() {
    let message = |object: &str| {
        let body = review().to_string().replacen(r#"{"z":1,"a":2}"#, object, 1);
        Request::read(body.as_bytes()).map(drop).map_err(|bad| bad.message)
    };
    for element in ["{}", "[]", "0", r#"{"a":0}"#] {
        let many = format!("[{}]", vec![element; 200_000].join(","));
        assert_eq!(message(&many), Err("the body holds more than 200000 JSON values; no pod does".to_owned()));
        let fewer = format!("[{}]", vec![element; 50_000].join(","));
        assert_eq!(message(&fewer), Ok(()), "{element}");
    }
    // What stands in a text is no value, wherever the text seems to end.
    for text in [",[{".repeat(200_000), r#"a\",{["#.repeat(100_000), r"\".repeat(100_000)] {
        assert_eq!(message(&format!(r#"["{text}",{{}}]"#)), Ok(()));
    }
}

fn answer(decision: &Decision) -> Value {
    Answer::new("u-1", decision, Some("required"), "abc").to_json()["response"].take()
}

#[test]
fn a_patch_is_there_only_where_something_changes() {
    let mut decision = Decision::pass(Reason::AlreadyInjected);
    assert_eq!(
        answer(&decision),
        json!({"uid": "u-1", "allowed": true, "auditAnnotations": {
        "configuration": "abc", "decision": "injected", "mode": "required", "reason": "already_injected"}})
    );
    let path = "/metadata".parse().unwrap();
    decision.patch.push(PatchOperation::Add(AddOperation { path, value: json!({}) }));
    let answer = answer(&decision);
    assert_eq!(answer["patchType"], "JSONPatch");
    use base64::Engine as _;
    let patch = base64::engine::general_purpose::STANDARD.decode(answer["patch"].as_str().unwrap()).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&patch).unwrap(),
        json!([{"op": "add", "path": "/metadata", "value": {}}])
    );
}

#[test]
fn a_refusal_says_why_and_a_passing_one_when_to_try_again() {
    let refusal = |reason| answer(&Refusal::new(reason, "because").into());
    let opt_out = refusal(Reason::OptOut);
    assert_eq!(
        opt_out["status"],
        json!({"status": "Failure", "code": 403, "reason": "Forbidden", "message": "because"})
    );
    assert_eq!(opt_out["auditAnnotations"]["message"], "because");
    assert_eq!(opt_out.get("patch"), None);
    let unknown = refusal(Reason::NamespaceUnknown);
    assert_eq!(
        (&unknown["status"]["code"], &unknown["status"]["details"]),
        (&json!(503), &json!({"retryAfterSeconds": 1}))
    );
    assert_eq!(refusal(Reason::PolicyInvalid)["status"]["code"], 422);
    assert_eq!(refusal(Reason::Malformed)["status"]["code"], 400);
}

#[test]
fn what_a_pod_says_is_bounded_and_cannot_steer_a_terminal() {
    let mut decision: Decision =
        Refusal::new(Reason::Malformed, format!("a\x1b[2J\u{202e}b\nc{}", "é".repeat(9000))).into();
    decision.warnings = (0..40).map(|number| format!("{number}\r\n{}", "ü".repeat(300))).collect();
    let answer = answer(&decision);
    let message = answer["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("a\u{fffd}[2J\u{fffd}b\nc") && message.ends_with('…') && message.len() <= 8192);
    let warnings: Vec<&str> =
        answer["warnings"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!((warnings.len(), warnings[11]), (12, "and 29 more warnings of Sandgate"));
    assert!(warnings.iter().all(|text| text.len() <= 256 && !text.contains(char::is_control)), "{warnings:?}");
    assert!(warnings.iter().map(|text| text.len()).sum::<usize>() <= 4096);
    assert!(answer["auditAnnotations"]["message"].as_str().unwrap().len() <= 1024);
}
