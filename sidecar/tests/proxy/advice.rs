//! What a refusal says could be added to the policy, as clients read it; and that it helps.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use sandgate_testkit::client::{Fetched, connect_through};
use serde_json::Value;

use crate::harness::{DEADLINE, Setup, allow, code, resolve, start_origin, url};

/// Puts an item where it is said to belong: `destinations`, each on a line of its own, or a field of one of them.
fn added(policy: &str, allow: &Value) -> String {
    let (add, to) = (allow["add"].as_str().unwrap(), allow["to"].as_str().unwrap());
    if to == "destinations" {
        return format!("{policy}  {add}\n");
    }
    let (id, field) = to.rsplit_once('.').unwrap();
    let item = add.strip_prefix("- ").unwrap();
    let of_rule = |line: &str| line.contains(&format!("id: {id},"));
    let list = format!("{field}: [");
    let with_item = |line: &str| match line.split_once(&list) {
        Some((before, after)) => format!("{before}{list}{item}, {after}\n"),
        None => format!("{}, {list}{item}]}}\n", line.trim_end_matches('}')),
    };
    let line = |line: &str| if of_rule(line) { with_item(line) } else { format!("{line}\n") };
    policy.lines().map(line).collect()
}

async fn refused_connect(setup: &Setup, authority: &str) -> Value {
    let (reply, _) = connect_through(setup.sidecar.proxy(), authority).await.unwrap();
    assert_eq!(reply.status, 403, "{authority}");
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn whoever_adds_what_each_refusal_says_is_answered_in_the_end() {
    let origin = start_origin().await;
    let mut policy = "  - {id: other, host: other.test}\n".to_owned();
    let setup = Setup::start(origin.ca(), &policy, &["--resolve", &resolve(&origin)]).await;
    let port = origin.port();
    let body = refused_connect(&setup, &format!("origin.test:{port}")).await;
    let id = format!("origin.test-{port}");
    let yaml = format!("- {{id: {id}, host: origin.test, ports: [{port}]}}");
    assert_eq!(body["allow"], serde_json::json!({"add": yaml, "to": "destinations"}));
    policy = added(&policy, &body["allow"]);
    setup.enforce(&policy).await;

    let body = setup.client(&origin).await.get(&url(&origin, "/zen")).await.unwrap().json();
    assert_eq!((&body["error"], &body["rule"]), (&"address_not_allowed".into(), &id.as_str().into()));
    assert_eq!(body["allow"]["to"], format!("{id}.private_cidrs"));
    policy = added(&policy, &body["allow"]);
    setup.enforce(&policy).await;
    assert_eq!(setup.client(&origin).await.get(&url(&origin, "/zen")).await.unwrap().status, 200);

    // A list of its author's allows something else, and each refusal inside the tunnel what to add to it.
    policy = policy.replace("ports:", "allow: [{methods: [PUT]}], ports:");
    setup.enforce(&policy).await;
    for (path, http2) in [("/zen", false), ("/echo/@scope%2Fname?secret=1", true)] {
        let client = async || if http2 { setup.http2_client(&origin).await } else { setup.client(&origin).await };
        let refused = client().await.get(&url(&origin, path)).await.unwrap();
        assert_eq!((refused.status.as_u16(), code(&refused).as_str()), (403, "request_not_allowed"));
        let body = refused.json();
        let path_alone = path.split('?').next().unwrap();
        let add = format!("- {{methods: [GET], paths: [\"{path_alone}\"]}}");
        assert_eq!(body["allow"], serde_json::json!({"add": add, "to": format!("{id}.allow")}));
        policy = added(&policy, &body["allow"]);
        setup.enforce(&policy).await;
        assert_eq!(client().await.get(&url(&origin, path)).await.unwrap().status, 200, "{policy}");
    }
}

#[tokio::test]
async fn what_is_refused_on_purpose_or_never_reached_says_that_nothing_can_be_added() {
    let origin = start_origin().await;
    let denies = format!("{}    deny: [{{paths: [/zen]}}]\n", allow(&origin));
    let setup = Setup::start(origin.ca(), &denies, &["--resolve", &resolve(&origin)]).await;
    let body = setup.client(&origin).await.get(&url(&origin, "/zen")).await.unwrap().json();
    assert_eq!(
        (&body["error"], &body["rule"], &body["allow"]),
        (&"request_denied".into(), &"origin".into(), &Value::Null)
    );
    assert!(body["message"].as_str().unwrap().contains("on purpose"), "{body}");
    let proxy = setup.sidecar.proxy().port();
    for authority in ["169.254.169.254:80", "224.0.0.1:443", &format!("127.0.0.1:{proxy}"), "[::ffff:a9fe:a9fe]:80"] {
        let body = refused_connect(&setup, authority).await;
        assert_eq!((&body["error"], &body["allow"]), (&"host_not_allowed".into(), &Value::Null), "{authority}");
        assert!(body["message"].as_str().unwrap().contains("no policy can allow it"), "{body}");
    }
    std::fs::remove_file(setup.dir.path().join("policy.yaml")).unwrap();
    setup.sidecar.wait_for_stderr("everything is refused", DEADLINE).await;
    let body = refused_connect(&setup, "new.test:443").await;
    assert_eq!(body["allow"], Value::Null);
    assert!(body["message"].as_str().unwrap().contains("there is no valid policy"), "{body}");
}

#[tokio::test]
async fn nothing_secret_and_nothing_of_other_rules_is_in_what_could_be_added() {
    let origin = start_origin().await;
    let rules =
        format!("{}    allow: [{{paths: [/only/this]}}]\n  - {{id: hidden-rule, host: hidden.test}}\n", allow(&origin));
    let setup = Setup::start(origin.ca(), &rules, &["--resolve", &resolve(&origin)]).await;
    let token = "sk-0123456789abcdefghijklmnop";
    let path = format!("/v1/{token}/items?key={token}");
    let check = |refused: &Fetched| {
        let text = refused.text();
        assert_eq!(refused.json()["allow"]["add"], "- {methods: [GET], paths: [\"/v1/*/items\"]}");
        for hidden in ["sk-0", "key", "only", "hidden"] {
            assert!(!text.contains(hidden), "{hidden}: {text}");
        }
        assert!(text.len() < 500, "{text}");
    };
    check(&setup.client(&origin).await.get(&url(&origin, &path)).await.unwrap());
    check(&setup.http2_client(&origin).await.get(&url(&origin, &path)).await.unwrap());
    let line = setup.sidecar.wait_for_audit(|line| line["path"] == "/v1/*/items", DEADLINE).await;
    assert!(line.get("addition").is_none() && line.get("allow").is_none(), "{line}");
}
