//! Pods of a hostile author, given to the decisions that the server makes: they get no more than a refusal, and soon.

#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect fails")]

use std::net::SocketAddr;
use std::time::Instant;

use sandgate_webhook::admission::Request;
use sandgate_webhook::config::Config;
use sandgate_webhook::decision::Decision;
use sandgate_webhook::mode::Mode;
use sandgate_webhook::namespace::Namespace;
use sandgate_webhook::reason::Reason;
use sandgate_webhook::rendering::Rendering;
use sandgate_webhook::situation::Situation;
use sandgate_webhook::{mutate, validate};
use serde_json::{Value, json};

fn request(object: Value) -> Request {
    Request {
        uid: "1".to_owned(),
        kind: "v1/Pod".to_owned(),
        resource: "pods".to_owned(),
        sub_resource: String::new(),
        namespace: "sandboxes".to_owned(),
        name: "evil".to_owned(),
        operation: "CREATE".to_owned(),
        dry_run: false,
        object,
        old_object: Value::Null,
    }
}

fn both(request: &Request) -> [Decision; 2] {
    let config = Config::default();
    let rendering = Rendering::new(&config, &[SocketAddr::from(([10, 96, 0, 10], 53))]);
    let namespace = Namespace { name: "sandboxes".to_owned(), ..Namespace::default() };
    let situation = Situation {
        mode: Mode::Required,
        namespace: &namespace,
        config: &config,
        rendering: &rendering,
        accepted: &[],
    };
    [mutate::mutate(&situation, request), validate::validate(&situation, request)]
}

/// A pod of a container with these fields.
fn pod(fields: &Value) -> Value {
    let mut container = json!({"name": "workload", "image": "any"});
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "evil"}, "spec": {"containers": [container]}})
}

fn refused_as_too_large(request: &Request, text: &str) {
    for decision in both(request) {
        assert_eq!((decision.reason, decision.patch.len()), (Reason::Malformed, 0));
        assert!(decision.message.contains(text), "{}", decision.message);
    }
}

#[test]
fn containers_without_number_are_refused_before_each_gets_a_patch_of_its_own() {
    let containers =
        |count: usize| -> Value { (0..count).map(|number| json!({"name": format!("c-{number}")})).collect() };
    let mut request = request(pod(&json!({})));
    request.object["spec"]["containers"] = containers(256);
    assert_eq!(both(&request)[0].reason, Reason::Injected);
    request.object["spec"]["initContainers"] = json!([{"name": "one-more"}]);
    refused_as_too_large(&request, "257 containers, and may have 256");
    let page = include_str!("../../docs/webhook.md");
    assert!(page.contains("more than\n  256 containers is refused (`malformed`)"), "docs/webhook.md has the bound");

    request.object = pod(&json!({}));
    let [injected, _] = both(&request);
    json_patch::patch(&mut request.object, &injected.patch).unwrap();
    request.object["spec"]["containers"] = containers(20_000);
    refused_as_too_large(&request, "20001 containers");

    (request.operation, request.sub_resource) = ("UPDATE".to_owned(), "ephemeralcontainers".to_owned());
    request.object["spec"]["containers"] = containers(1);
    request.old_object = request.object.clone();
    request.object["spec"]["ephemeralContainers"] = containers(20_000);
    refused_as_too_large(&request, "20002 containers");
}

#[test]
fn a_variable_that_is_set_without_number_is_refused_before_each_gets_a_patch_of_its_own() {
    let variables: Vec<Value> = (0..20_000).map(|_| json!({"name": "JAVA_TOOL_OPTIONS"})).collect();
    refused_as_too_large(&request(pod(&json!({"env": variables}))), "variables of the proxy 20000 times");
}

#[test]
fn hundreds_of_thousands_of_hosts_in_no_proxy_take_no_longer_than_reading_them() {
    let time = |count: usize| {
        let hosts: Vec<String> = (0..count).map(|number| format!("{number:x}")).collect();
        let request = request(pod(&json!({"env": [{"name": "NO_PROXY", "value": hosts.join(",")}]})));
        let began = Instant::now();
        let [injected, _] = both(&request);
        assert_eq!(injected.reason, Reason::Injected);
        assert!(injected.warnings.iter().any(|warning| warning.contains(&format!("and {} more", count - 6))));
        began.elapsed()
    };
    // Each with each would take ten thousand times as long.
    let (few, many) = (time(3_000), time(300_000));
    assert!(many < few * 2_000, "{few:?} and {many:?}");
}
