//! Annotations with resources, and Guaranteed pods.

use serde_json::json;

use super::*;
use crate::config::Config;
use crate::mode::Mode;
use crate::namespace::Namespace;
use crate::rendering::Rendering;

fn resources(namespace: Option<&str>, pod: &Value) -> Result<String, String> {
    let config = Config::default();
    let namespace = Namespace {
        name: "team".to_owned(),
        sidecar_resources: namespace.map(ToOwned::to_owned),
        ..Namespace::default()
    };
    let rendering = Rendering::new(&config, &[]);
    let situation =
        Situation { mode: Mode::Enabled, namespace: &namespace, config: &config, rendering: &rendering, accepted: &[] };
    let shown = |resources: Resources| resources.amounts().map(|(_, _, amount)| amount.to_string()).join(" ");
    of_pod(&situation, pod).map(shown).map_err(|refusal| refusal.message)
}

fn annotated(text: &str) -> Value {
    json!({
        "metadata": {"annotations": {RESOURCES_ANNOTATION: text}},
        "spec": {"containers": [{"name": "workload"}]},
    })
}

#[test]
fn the_pods_annotation_comes_after_the_namespaces_after_the_configuration() {
    let plain = json!({"spec": {"containers": [{"name": "workload"}]}});
    assert_eq!(resources(None, &plain).unwrap(), "10m 32Mi 1 128Mi");
    let namespace = r#"{"limits": {"cpu": 2, "memory": "256Mi"}}"#;
    assert_eq!(resources(Some(namespace), &plain).unwrap(), "10m 32Mi 2 256Mi");
    let pod = annotated(r#"{"requests": {"cpu": "50m"}, "limits": {"cpu": "500m"}}"#);
    assert_eq!(resources(Some(namespace), &pod).unwrap(), "50m 32Mi 500m 256Mi");
    assert_eq!(resources(None, &annotated("{}")).unwrap(), "10m 32Mi 1 128Mi");
}

#[test]
fn a_mistake_is_named_with_the_annotation_its_owner_and_the_value() {
    for (text, expected) in [
        ("cpu=1", r#""cpu=1" is not JSON"#),
        ("[]", r#""[]" is not an object"#),
        (r#"{"request":{}}"#, r#""request" is not known, only requests and limits are"#),
        (r#"{"limits":1}"#, "limits: 1 is not an object"),
        (r#"{"limits":{"gpu":1}}"#, r#"limits.gpu: "gpu" is not known"#),
        (r#"{"limits":{"cpu":"lots"}}"#, r#"limits.cpu: "lots" is no quantity"#),
        (r#"{"limits":{"cpu":null}}"#, "limits.cpu: null is no quantity"),
        (r#"{"limits":{"cpu":"-1"}}"#, r#"limits.cpu: "-1" is no quantity"#),
        (r#"{"limits":{"cpu":0},"requests":{"cpu":0}}"#, "limits.cpu: 0 is no limit"),
        (r#"{"requests":{"cpu":"2"}}"#, "requests.cpu 2 is above limits.cpu 1"),
    ] {
        let message = resources(None, &annotated(text)).unwrap_err();
        let expected = format!("annotation sandgate.dev/sidecar-resources of the pod: {expected}");
        assert!(message.starts_with(&expected), "{message}\n{expected}");
        let plain = json!({"spec": {}});
        let message = resources(Some(text), &plain).unwrap_err();
        assert!(message.contains(r#"of namespace "team": "#), "{message}");
    }
}

#[test]
fn a_pod_stays_within_bounds_and_a_namespace_need_not() {
    let huge = r#"{"limits": {"cpu": "64"}}"#;
    let message = resources(None, &annotated(huge)).unwrap_err();
    assert!(message.contains("limits.cpu 64 is not within 50m and 8"), "{message}");
    assert!(resources(None, &annotated(r#"{"requests": {"memory": "1Mi"}}"#)).is_err());
    assert_eq!(resources(Some(huge), &annotated("{}")).unwrap(), "10m 32Mi 64 128Mi");
}

#[test]
fn a_guaranteed_pod_stays_guaranteed() {
    let limits = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
    let equal = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}});
    let below = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Mi"}});
    let only_memory = json!({"limits": {"memory": "1Gi"}});
    let pod = |init: &Value, main: &Value| json!({"spec": {"initContainers": [{"name": "i", "resources": init}], "containers": [{"name": "c", "resources": main}]}});
    for guaranteed in [pod(&limits, &equal), pod(&equal, &limits)] {
        assert_eq!(resources(None, &guaranteed).unwrap(), "1 128Mi 1 128Mi");
    }
    for burstable in [pod(&limits, &below), pod(&only_memory, &limits), pod(&Value::Null, &limits)] {
        assert_eq!(resources(None, &burstable).unwrap(), "10m 32Mi 1 128Mi");
    }
}

#[test]
fn resources_of_the_pod_itself_decide_before_those_of_containers() {
    let equal = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
    let pod = json!({"spec": {"resources": equal, "containers": [{"name": "c"}]}});
    assert_eq!(resources(None, &pod).unwrap(), "1 128Mi 1 128Mi");
    let pod =
        json!({"spec": {"resources": {"limits": {"cpu": "1"}}, "containers": [{"name": "c", "resources": equal}]}});
    assert_eq!(resources(None, &pod).unwrap(), "10m 32Mi 1 128Mi");
}
