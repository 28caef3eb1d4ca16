//! Bad input, as an API server would never send it: an error or a denial, never a panic, never a lost server.

use bytes::Bytes;
use http::{Request, StatusCode};
use sandgate_testkit::client::{bytes_body, pattern_body};
use serde_json::{Value, json};

use crate::harness::{NAME, Webhook, answered, config, patched, pod, post, request, review, sent, start};

const PATH: &str = "/mutate/enabled";

fn webhook() -> Webhook {
    start(config(|_| {}))
}

fn with(pointer: &str, value: Option<Value>) -> Value {
    let mut review = review(&pod());
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = review.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => drop(parent.insert(field.to_owned(), value)),
        None => drop(parent.remove(field)),
    }
    review
}

#[tokio::test]
async fn what_is_no_review_is_a_4xx_that_says_what_to_send() {
    let webhook = webhook();
    for body in ["", "x", "{", "[]", "null", "7", "{}", "{\"request\":{}}", "\u{0}", "{\"a\":1}{\"b\":2}"] {
        let mut client = webhook.http2().await;
        let fetched = post(&mut client, PATH, body).await;
        assert_eq!(fetched.status, StatusCode::BAD_REQUEST, "{body:?}");
        assert!(fetched.text().len() > 20, "{body:?}: {}", fetched.text());
    }
    let deep = post(&mut webhook.http1().await, PATH, "[".repeat(1 << 20)).await;
    assert_eq!(deep.status, StatusCode::BAD_REQUEST, "deep nesting does not overflow the stack");
    assert_eq!(webhook.rejected("bad_review"), 11.0);
    webhook.ask(PATH, &review(&pod())).await;
}

#[tokio::test]
async fn a_compressed_or_mistyped_body_is_415() {
    let webhook = webhook();
    const GZIP: [u8; 22] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0];
    for (name, value) in [("content-encoding", "gzip"), ("content-type", "text/yaml"), ("content-type", "")] {
        let mut odd = request(PATH, &GZIP[..]);
        odd.headers_mut().insert(name, value.parse().unwrap());
        let fetched = webhook.http2().await.fetch(odd).await.unwrap();
        assert_eq!(fetched.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{name}: {value}");
    }
    // Compressed without saying so, it is no JSON.
    assert_eq!(post(&mut webhook.http1().await, PATH, &GZIP[..]).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn fifty_mebibytes_are_413_and_not_kept() {
    // The client of a test build is slow.
    let webhook = start(config(|server| server.request_timeout = crate::harness::DEADLINE));
    for announced in [true, false] {
        let body = pattern_body(50 << 20, announced);
        let large = Request::post(format!("https://{NAME}{PATH}")).header("content-type", "application/json");
        let mut client = webhook.http2().await;
        let response = client.send(large.body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE, "announced: {announced}");
    }
    let head = Request::post(PATH).header("host", NAME).header("content-type", "application/json");
    let head = head.header("content-length", 50 << 20).header("expect", "100-continue");
    let response = webhook.http1().await.send(head.body(pattern_body(50 << 20, true)).unwrap()).await;
    // An HTTP/1 client may notice the end of the connection first.
    assert!(response.is_err() || response.unwrap().status() == StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(webhook.rejected("too_large"), 3.0);
    webhook.ask(PATH, &review(&pod())).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let webhook = webhook();
    for mut client in [webhook.http1().await, webhook.http2().await] {
        let mut large = request(PATH, review(&pod()).to_string());
        large.headers_mut().insert("x-large", "x".repeat(64 << 10).parse().unwrap());
        let refused = client.send(large).await;
        assert!(refused.as_ref().is_ok_and(|response| response.status() == 431) || refused.is_err(), "{refused:?}");
    }
    webhook.ask(PATH, &review(&pod())).await;
}

#[tokio::test]
async fn other_methods_paths_and_modes_are_405_and_404() {
    let webhook = webhook();
    let mut client = webhook.http2().await;
    let get = Request::get(format!("https://{NAME}{PATH}")).body(bytes_body(Bytes::new())).unwrap();
    assert_eq!(client.fetch(get).await.unwrap().status, StatusCode::METHOD_NOT_ALLOWED);
    for path in ["/mutate/maybe", "/validate", "/healthz", "/metrics", "/mutate/enabled/more"] {
        assert_eq!(post(&mut client, path, review(&pod()).to_string()).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_review_that_cannot_be_answered_is_a_denial_under_its_uid_or_a_400() {
    let webhook = webhook();
    for (pointer, value, words) in [
        ("/apiVersion", Some(json!("admission.k8s.io/v1beta1")), "v1beta1"),
        ("/kind", Some(json!("Pod")), "AdmissionReview"),
        ("/request/object", None, "request.object"),
        ("/request/object", Some(Value::Null), "request.object"),
        ("/request/kind", None, "request.kind"),
        ("/request/kind/kind", Some(json!("Node")), "v1/Node"),
        ("/request/namespace", None, "request.namespace"),
        ("/request/operation", Some(json!("UPDATE")), "UPDATE"),
        ("/request/operation", Some(json!("DELETE")), "DELETE"),
    ] {
        let answer = webhook.ask(PATH, &with(pointer, value)).await;
        let message = answer["status"]["message"].as_str().unwrap();
        assert!(answer["allowed"] == false && message.contains(words), "{pointer}: {answer}");
        assert_eq!(answer.get("patch"), None);
    }
    for pointer in ["/request", "/request/uid"] {
        let fetched = post(&mut webhook.http2().await, PATH, with(pointer, None).to_string()).await;
        assert_eq!(fetched.status, StatusCode::BAD_REQUEST, "{pointer}");
    }
}

#[tokio::test]
async fn its_own_output_sent_again_changes_nothing() {
    let webhook = webhook();
    for mode in ["enabled", "required"] {
        let path = format!("/mutate/{mode}");
        let first = webhook.ask(&path, &review(&pod())).await;
        let injected = patched(&pod(), &first);
        assert_ne!(injected, pod());
        let again = webhook.ask(&path, &review(&injected)).await;
        assert_eq!((&again["allowed"], again.get("patch")), (&true.into(), None), "{again}");
        let final_check = webhook.ask(&format!("/validate/{mode}"), &review(&injected)).await;
        assert_eq!((&final_check["allowed"], final_check.get("patch")), (&true.into(), None), "{final_check}");
    }
}

#[tokio::test]
async fn a_forged_sidecar_annotation_or_opt_out_is_not_taken_for_injected() {
    let webhook = webhook();
    let mut forged = pod();
    forged["spec"]["initContainers"] = json!([{"name": "auth-proxy", "image": "evil:1", "restartPolicy": "Always"}]);
    let answer = webhook.ask("/mutate/required", &review(&forged)).await;
    assert_eq!(
        (&answer["allowed"], &answer["auditAnnotations"]["reason"]),
        (&false.into(), &"foreign_container".into())
    );
    let mut annotated = pod();
    annotated["metadata"]["annotations"] = json!({"sandgate.dev/status": "{\"version\":\"9\",\"mode\":\"required\"}"});
    let answer = webhook.ask("/mutate/required", &review(&annotated)).await;
    assert_eq!(patched(&annotated, &answer)["spec"]["initContainers"][0]["name"], "auth-proxy");
    let mut opted_out = pod();
    opted_out["metadata"]["labels"] = json!({"sandgate.dev/inject": "false"});
    let answer = webhook.ask("/mutate/required", &review(&opted_out)).await;
    assert_eq!((&answer["allowed"], &answer["auditAnnotations"]["reason"]), (&false.into(), &"opt_out".into()));
}

#[tokio::test]
async fn a_pod_without_name_or_namespace_is_injected_by_the_reviews_namespace() {
    let webhook = webhook();
    let mut nameless = pod();
    nameless["metadata"] = json!({"generateName": "plain-"});
    let mut review = review(&nameless);
    review["request"]["name"] = Value::Null;
    let answer = webhook.ask(PATH, &review).await;
    let injected = patched(&nameless, &answer);
    assert_eq!(injected["spec"]["initContainers"][0]["name"], "auth-proxy");
    assert_eq!((&injected["metadata"]["generateName"], injected["metadata"].get("name")), (&"plain-".into(), None));
}

#[tokio::test]
async fn a_dry_run_gets_the_same_answer() {
    let webhook = webhook();
    let wet = webhook.ask(PATH, &review(&pod())).await;
    assert_eq!(webhook.ask(PATH, &with("/request/dryRun", Some(true.into()))).await, wet);
}

#[tokio::test]
async fn a_mirror_pod_is_skipped_or_refused_and_never_changed() {
    let webhook = webhook();
    let mut mirror = pod();
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "0123456789abcdef"});
    let skipped = webhook.ask("/mutate/enabled", &review(&mirror)).await;
    assert_eq!((&skipped["allowed"], skipped.get("patch")), (&true.into(), None), "{skipped}");
    assert!(!skipped["warnings"].as_array().unwrap().is_empty());
    assert_eq!(webhook.ask("/mutate/required", &review(&mirror)).await["allowed"], false);
}

#[tokio::test]
async fn null_absent_and_empty_lists_get_a_valid_patch_or_a_denial() {
    let webhook = webhook();
    for field in ["initContainers", "volumes", "imagePullSecrets", "ephemeralContainers"] {
        for value in [Value::Null, json!([])] {
            let mut odd = pod();
            odd["spec"][field] = value.clone();
            let injected = patched(&odd, &webhook.ask(PATH, &review(&odd)).await);
            assert_eq!(injected["spec"]["initContainers"][0]["name"], "auth-proxy", "{field}: {value}");
        }
    }
    for value in [Value::Null, json!({})] {
        for field in ["annotations", "labels"] {
            let mut odd = pod();
            odd["metadata"][field] = value.clone();
            patched(&odd, &webhook.ask(PATH, &review(&odd)).await);
        }
    }
    for spec in [Value::Null, json!([]), json!("x"), json!({"containers": {}}), json!({"containers": [7]})] {
        for path in ["/mutate/required", "/mutate/enabled", "/validate/required"] {
            let mut odd = pod();
            odd["spec"] = spec.clone();
            let answer = webhook.ask(path, &review(&odd)).await;
            assert_eq!(answer["allowed"], false, "{path} {spec}: {answer}");
        }
    }
}

#[tokio::test]
async fn ephemeral_containers_get_the_environment_only_beside_a_sidecar() {
    let webhook = webhook();
    let with_debugger = |pod: &Value| {
        let mut object = pod.clone();
        object["spec"]["ephemeralContainers"] = json!([{"name": "debugger", "image": "debug:1"}]);
        let mut review = review(&object);
        review["request"]["operation"] = "UPDATE".into();
        review["request"]["subResource"] = "ephemeralcontainers".into();
        review["request"]["oldObject"] = pod.clone();
        (object, review)
    };
    let (_, plain) = with_debugger(&pod());
    let answer = webhook.ask(PATH, &plain).await;
    assert_eq!((&answer["allowed"], answer.get("patch")), (&true.into(), None), "{answer}");
    let injected = patched(&pod(), &webhook.ask(PATH, &review(&pod())).await);
    let (object, review) = with_debugger(&injected);
    let patched = patched(&object, &webhook.ask(PATH, &review).await);
    let names = patched["spec"]["ephemeralContainers"][0]["env"].as_array().unwrap();
    assert!(names.iter().any(|variable| variable["name"] == "HTTPS_PROXY"), "{names:?}");
    let mut rest = patched.clone();
    rest["spec"]["ephemeralContainers"] = object["spec"]["ephemeralContainers"].clone();
    assert_eq!(rest, object, "nothing else may change");
}

#[tokio::test]
async fn a_template_is_answered_with_warnings_and_never_refused() {
    let webhook = webhook();
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"template": {"metadata": {}, "spec": {"hostNetwork": true, "containers": [{"name": "a", "image": "a"}]}}}});
    let mut review = review(&deployment);
    review["request"]["kind"] = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    review["request"]["resource"] = json!({"group": "apps", "version": "v1", "resource": "deployments"});
    let answer = webhook.ask("/validate/templates/required", &review).await;
    assert_eq!(answer["allowed"], true);
    assert!(answer["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty()), "{answer}");
}

#[tokio::test]
async fn a_broken_policy_is_refused_with_all_its_errors() {
    let webhook = webhook();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sandgate-policy", "namespace": "team"},
        "data": {"policy.yaml": "nonsense: 1\nallow: 7\n"}});
    let mut review = review(&map);
    review["request"]["kind"] = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    review["request"]["resource"] = json!({"group": "", "version": "v1", "resource": "configmaps"});
    review["request"]["name"] = "sandgate-policy".into();
    let answer = webhook.ask("/validate/policies", &review).await;
    assert_eq!((&answer["allowed"], &answer["status"]["code"]), (&false.into(), &422.into()), "{answer}");
    assert_eq!(answer["auditAnnotations"].get("mode"), None);
}

#[tokio::test]
async fn answers_are_json_with_audit_annotations() {
    let webhook = webhook();
    let review = review(&pod());
    let response = sent(&mut webhook.http2().await, PATH, review.to_string()).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let answer = answered(&sandgate_testkit::client::read(response).await.unwrap(), &review);
    let audit = &answer["auditAnnotations"];
    assert_eq!(
        (&audit["decision"], &audit["reason"], &audit["mode"]),
        (&"injected".into(), &"injected".into(), &"enabled".into())
    );
    assert_eq!(audit["configuration"].as_str().unwrap().len(), 12);
}
