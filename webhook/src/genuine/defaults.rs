//! What the API server writes into a pod where its author wrote nothing: a table of values. A field with its default and
//! an absent field are the same pod.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// Parent, field, default (k8s.io/kubernetes, `pkg/apis/core/v1/defaults.go`, and zero values that are left out in
/// writing). The parent is the field that holds the object or list of objects; empty for the container or volume itself.
/// Not here, because they have no constant: `imagePullPolicy`, which a rendering always states, and `resizePolicy`,
/// which `tolerated` knows.
static TABLE: LazyLock<[(&[&str], &str, Value); 23]> = LazyLock::new(|| {
    const PROBES: &[&str] = &["livenessProbe", "readinessProbe", "startupProbe"];
    const FILES: &[&str] = &["configMap", "secret", "projected", "downwardAPI"];
    [
        (&[""], "terminationMessagePath", json!("/dev/termination-log")),
        (&[""], "terminationMessagePolicy", json!("File")),
        (&[""], "stdin", json!(false)),
        (&[""], "stdinOnce", json!(false)),
        (&[""], "tty", json!(false)),
        (&["ports"], "protocol", json!("TCP")),
        (PROBES, "initialDelaySeconds", json!(0)),
        (PROBES, "timeoutSeconds", json!(1)),
        (PROBES, "periodSeconds", json!(10)),
        (PROBES, "successThreshold", json!(1)),
        (PROBES, "failureThreshold", json!(3)),
        (&["httpGet"], "path", json!("/")),
        (&["httpGet"], "scheme", json!("HTTP")),
        (&["env"], "value", json!("")),
        (&["fieldRef"], "apiVersion", json!("v1")),
        (&["volumeMounts"], "readOnly", json!(false)),
        (&["volumeMounts"], "mountPropagation", json!("None")),
        (&["volumeMounts"], "recursiveReadOnly", json!("Disabled")),
        (&["securityContext"], "procMount", json!("Default")),
        (&["emptyDir"], "medium", json!("")),
        (FILES, "defaultMode", json!(0o644)),
        (&["configMap", "secret"], "optional", json!(false)),
        (&["serviceAccountToken"], "expirationSeconds", json!(3600)),
    ]
});

/// Whether `value` says no more than an absent `field` of `parent` would: null, an empty list, or the default.
pub(super) fn is_absent(parent: &str, field: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(elements) => elements.is_empty(),
        Value::Object(_) => false,
        scalar => TABLE
            .iter()
            .any(|(parents, name, default)| *name == field && parents.contains(&parent) && default == scalar),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genuine::same;

    #[test]
    fn every_default_of_the_table_is_the_same_as_an_absent_field_and_another_value_is_not() {
        for (parents, field, default) in TABLE.iter() {
            for parent in *parents {
                assert!(is_absent(parent, field, default), "{parent}.{field}");
                assert!(!is_absent(parent, field, &json!("other")), "{parent}.{field}");
                assert!(!is_absent("elsewhere", field, default), "{parent}.{field}");
                assert!(same(parent, &json!({}), &json!({(*field): default})), "{parent}.{field}");
                assert!(same(parent, &json!({(*field): default}), &json!({})), "{parent}.{field}");
                assert!(!same(parent, &json!({(*field): "other"}), &json!({})), "{parent}.{field}");
            }
        }
    }

    #[test]
    fn null_and_empty_lists_are_absent_and_empty_objects_are_not() {
        assert!(same("", &json!({}), &json!({"envFrom": null, "volumeDevices": []})));
        assert!(!same("", &json!({}), &json!({"lifecycle": {}})));
        assert!(!same("", &json!({"name": "x"}), &json!({"name": "x", "emptyDir": {}})));
    }
}
