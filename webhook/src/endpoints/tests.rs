use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use super::*;
use crate::logged::logged;
use crate::namespace::Namespace;

fn reviews() -> Arc<Reviews> {
    let config = Config::default();
    let rendering = Rendering::new(&config, &[]);
    let in_force = InForce { config, hash: "abc".to_owned(), rendering };
    let namespaces = Namespaces::fixed(vec![Namespace { name: "team".to_owned(), ..Namespace::default() }]);
    let metrics = Arc::new(Metrics::new());
    Reviews::new(Arc::new(ArcSwap::from_pointee(in_force)), namespaces, Renderings::fixed(Vec::new()), metrics)
}

fn review(kind: &str, operation: &str) -> Value {
    let parts: Vec<&str> = kind.split('/').collect();
    let (group, version, kind) = match parts.as_slice() {
        [version, kind] => ("", version, kind),
        [group, version, kind] => (*group, version, kind),
        _ => panic!("{parts:?}"),
    };
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "operation": operation, "namespace": "team",
            "kind": {"group": group, "version": version, "kind": kind},
            "resource": {"group": group, "version": version, "resource": format!("{}s", kind.to_lowercase())},
            "object": {"kind": kind, "metadata": {}, "spec": {}},
        },
    })
}

fn pod() -> Value {
    review("v1/Pod", "CREATE")
}

fn with(pointer: &str, value: Value) -> Value {
    let mut review = pod();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    review.pointer_mut(parent).unwrap()[field] = value;
    review
}

fn request(method: Method, path: &str, content_type: &str, body: impl Into<Body>) -> HttpRequest {
    http::Request::builder().method(method).uri(path).header("content-type", content_type).body(body.into()).unwrap()
}

async fn send(router: &Router, request: HttpRequest) -> (StatusCode, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// What is answered to a review, which is no HTTP error.
async fn ask(router: &Router, path: &str, review: &Value) -> Value {
    let (status, body) = send(router, request(Method::POST, path, "application/json", review.to_string())).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    let mut answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["response"]["uid"], "u-1");
    answer["response"].take()
}

async fn denied(router: &Router, path: &str, review: &Value, words: &str) {
    let response = ask(router, path, review).await;
    let message = response["status"]["message"].as_str().unwrap_or_default();
    assert!(response["allowed"] == false && message.contains(words), "{path} {review}: {response}");
}

/// What `decide` says of every review, whatever the path.
fn deciding(decide: Decide) -> (Router, Arc<Reviews>) {
    let reviews = reviews();
    let router = Router::new().route("/{mode}", moded(Path::Mutate, decide)).with_state(Arc::clone(&reviews));
    (router, reviews)
}

#[tokio::test]
async fn a_panic_in_a_decision_is_an_error_and_the_next_review_is_answered() {
    let (router, reviews) = deciding(|_, request| {
        assert!(request.name != "bad", "a defect");
        Decision::pass(Reason::Injected)
    });
    let bad = request(Method::POST, "/required", "application/json", with("/request/name", "bad".into()).to_string());
    let (status, body) = send(&router, bad).await;
    assert_eq!((status, body.contains("defect")), (StatusCode::INTERNAL_SERVER_ERROR, true));
    assert!(reviews.metrics.encode().contains("requests_rejected_total{reason=\"panic\"} 1\n"));
    assert_eq!(ask(&router, "/required", &pod()).await["allowed"], true);
}

#[tokio::test]
async fn the_mode_is_that_of_the_path_and_the_namespace_that_of_the_review() {
    let (router, _) = deciding(|situation, _| {
        let mut decision = Decision::pass(Reason::NotAsked);
        decision.message = format!("{} {}", situation.mode.name(), situation.namespace.name);
        decision
    });
    for mode in Mode::ALL {
        let mut review = pod();
        review["request"]["object"]["metadata"]["namespace"] = "elsewhere".into();
        let response = ask(&router, &format!("/{}", mode.name()), &review).await;
        let audit = &response["auditAnnotations"];
        assert_eq!(audit["message"], format!("{} team", mode.name()));
        assert_eq!(
            (&audit["mode"], &audit["decision"], &audit["reason"], &audit["configuration"]),
            (&mode.name().into(), &"skipped".into(), &"not_asked".into(), &"abc".into())
        );
    }
}

#[tokio::test]
async fn a_namespace_that_is_not_known_is_refused_for_a_moment() {
    let (router, reviews) = deciding(|_, _| Decision::pass(Reason::Injected));
    let response = ask(&router, "/enabled", &with("/request/namespace", "other".into())).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&false.into(), &503.into()));
    assert_eq!(response["status"]["details"]["retryAfterSeconds"], 1);
    assert!(response["status"]["message"].as_str().unwrap().contains("try again"), "{response}");
    let series = "mode=\"enabled\",outcome=\"refused\",path=\"mutate\",reason=\"namespace_unknown\"} 1\n";
    assert!(reviews.metrics.encode().contains(series));
}

#[tokio::test]
async fn a_template_gets_in_with_a_warning_where_its_namespace_is_not_known() {
    let router = router(reviews());
    let mut review = review("apps/v1/Deployment", "CREATE");
    review["request"]["namespace"] = "other".into();
    let response = ask(&router, "/validate/templates/required", &review).await;
    assert_eq!(response["allowed"], true, "{response}");
    assert!(response["warnings"][0].as_str().unwrap().contains("namespace \"other\""), "{response}");
}

#[tokio::test]
async fn each_path_takes_its_own_kinds_and_operations_alone() {
    let router = router(reviews());
    let not = "does not take";
    for path in ["/mutate/enabled", "/validate/required"] {
        for kind in ["v1/ConfigMap", "apps/v1/Deployment", "v1beta1/Pod", "other.dev/v1/Pod"] {
            denied(&router, path, &review(kind, "CREATE"), not).await;
        }
        for operation in ["UPDATE", "DELETE", "CONNECT", "create"] {
            denied(&router, path, &review("v1/Pod", operation), not).await;
        }
        for (sub, operation) in [("status", "UPDATE"), ("ephemeralcontainers", "CREATE"), ("exec", "CONNECT")] {
            let mut other = review("v1/Pod", operation);
            other["request"]["subResource"] = sub.into();
            denied(&router, path, &other, not).await;
        }
        denied(&router, path, &with("/request/object/kind", "Secret".into()), "another kind").await;
        denied(&router, path, &with("/request/namespace", Value::Null), "request.namespace is missing").await;
    }
    denied(&router, "/validate/policies", &pod(), not).await;
    denied(&router, "/validate/policies", &review("v1/ConfigMap", "DELETE"), not).await;
    denied(&router, "/validate/templates/enabled", &pod(), not).await;
    denied(&router, "/validate/templates/enabled", &review("batch.volcano.sh/v1/Job", "CREATE"), not).await;
    let odd = ask(&router, "/validate/templates/required", &review("apps/v1/Deployment", "UPDATE")).await;
    assert_eq!(odd["allowed"], true, "a template is never refused: {odd}");
}

#[tokio::test]
async fn http_is_taken_strictly_and_errors_say_what_to_do() {
    let reviews = reviews();
    let router = router(Arc::clone(&reviews));
    let json = "application/json";
    for path in ["/", "/mutate", "/mutate/", "/mutate/Required", "/mutate/required/", "/validate/templates", "/nothing"]
    {
        let (status, body) = send(&router, request(Method::POST, path, json, pod().to_string())).await;
        assert!(status == StatusCode::NOT_FOUND && body.len() > 20, "{path}: {status} {body}");
    }
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let response = router.clone().oneshot(request(method, "/mutate/required", json, "")).await.unwrap();
        assert_eq!(
            (response.status(), &response.headers()["allow"]),
            (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
        );
    }
    for content_type in ["", "text/plain", "application/yaml", "application/jsonx", "multipart/form-data"] {
        let odd = request(Method::POST, "/mutate/required", content_type, pod().to_string());
        assert_eq!(send(&router, odd).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type:?}");
    }
    for content_type in ["application/json; charset=utf-8", "Application/JSON"] {
        let fine = request(Method::POST, "/mutate/required", content_type, pod().to_string());
        assert_eq!(send(&router, fine).await.0, StatusCode::OK, "{content_type:?}");
    }
    let mut gzip = request(Method::POST, "/mutate/required", json, pod().to_string());
    gzip.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
    assert_eq!(send(&router, gzip).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let (status, body) = send(&router, request(Method::POST, "/mutate/required", json, "")).await;
    assert!(status == StatusCode::BAD_REQUEST && body.contains("empty"), "{status} {body}");
    let text = reviews.metrics.encode();
    for (reason, count) in [("not_found", 7), ("method", 4), ("media_type", 6), ("bad_review", 1)] {
        let series = format!("requests_rejected_total{{reason=\"{reason}\"}} {count}\n");
        assert!(text.contains(&series), "{series} in {text}");
    }
}

#[tokio::test]
async fn what_is_malformed_is_a_line_in_the_log_with_its_status_and_cause() {
    let json = "application/json";
    let large = vec![b' '; Config::default().server.max_body_bytes + 1];
    let rows = [
        (request(Method::POST, "/mutate/required", json, "{"), 400, "column 1"),
        (request(Method::POST, "/mutate/required", json, ""), 400, "the body is empty"),
        (request(Method::POST, "/mutate/required", json, large), 413, "server.maxBodyBytes"),
        (request(Method::POST, "/mutate/required", "text/plain", "{}"), 415, "application/json"),
        (request(Method::POST, "/mutate/nothing", json, "{}"), 404, "names no mode"),
        (request(Method::GET, "/mutate/required", json, ""), 405, "POST"),
    ];
    for (request, status, cause) in rows {
        let router = router(reviews());
        let ((found, _), log) = logged(send(&router, request)).await;
        assert_eq!(found.as_u16(), status);
        let line = log.lines().next().unwrap_or_default();
        let said = [" WARN ", "a request that is no review", &format!("status={status}"), cause];
        assert!(said.iter().all(|words| line.contains(words)) && log.lines().count() == 1, "{status} {cause}: {log}");
    }
    let router = router(reviews());
    let old = with("/apiVersion", "admission.k8s.io/v1beta1\u{1b}[2J".into());
    let (denied, log) = logged(ask(&router, "/mutate/required", &old)).await;
    assert_eq!(denied["allowed"], false);
    let said = [" WARN ", "a review that cannot be answered", "v1beta1"].iter().all(|words| log.contains(words));
    assert!(said && log.lines().count() == 1 && !log.contains('\u{1b}'), "{log}");
    let (_, silent) = logged(send(&router, request(Method::POST, "/mutate/required", json, pod().to_string()))).await;
    assert!(!silent.contains(" WARN "), "a review is none of them: {silent}");
}

#[tokio::test]
async fn a_body_is_bounded_announced_or_not() {
    let router = router(reviews());
    let most = Config::default().server.max_body_bytes;
    let large = request(Method::POST, "/mutate/required", "application/json", vec![b' '; most + 1]);
    assert_eq!(send(&router, large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let mut announced = request(Method::POST, "/mutate/required", "application/json", "");
    announced.headers_mut().insert("content-length", HeaderValue::from(50 << 20));
    assert_eq!(send(&router, announced).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_times_out() {
    let router = router(reviews());
    let stream = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let slow = request(Method::POST, "/mutate/required", "application/json", Body::from_stream(stream));
    assert_eq!(send(&router, slow).await.0, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn large_bodies_have_a_bounded_part_of_the_memory_and_small_ones_need_none() {
    let reviews = reviews();
    let all = Arc::clone(&reviews.large_bodies).try_acquire_many_owned(reviews.bounds.all_large() as u32).unwrap();
    let router = router(Arc::clone(&reviews));
    let mut large = pod();
    large["request"]["object"]["spec"]["padding"] = "x".repeat(128 * 1024).into();
    let send_large = || send(&router, request(Method::POST, "/mutate/required", "application/json", large.to_string()));
    assert_eq!(send_large().await.0, StatusCode::TOO_MANY_REQUESTS);
    ask(&router, "/mutate/required", &pod()).await;
    drop(all);
    assert_eq!(send_large().await.0, StatusCode::OK);
    assert_eq!(reviews.large_bodies.available_permits(), reviews.bounds.all_large(), "all of it is given back");
}
