//! The table of modes, cell by cell: what becomes of a pod.

use sandgate_webhook::mode::{Mode, PodLabel, Wanted, wanted};
use serde_json::json;

use crate::cluster::Cluster;

const NAMESPACES: [(&str, &str); 5] =
    [("none", ""), ("enabled", "enabled"), ("required", "required"), ("disabled", "disabled"), ("other", "Required")];
const LABELS: [Option<&str>; 4] = [None, Some("true"), Some("false"), Some("yes")];

fn sidecar_is_first(pod: &serde_json::Value) -> bool {
    pod["spec"]["initContainers"][0]["name"] == "auth-proxy"
}

#[test]
fn every_cell_of_the_table_is_as_documented_on_a_real_api_server() {
    let cluster = Cluster::start();
    for (namespace, label) in NAMESPACES {
        cluster.namespace(namespace, label);
        let mode = Mode::of_label(Some(label).filter(|label| !label.is_empty()));
        for (number, pod_label) in LABELS.into_iter().enumerate() {
            let labels = pod_label.map(|value| json!({"sandgate.dev/inject": value})).unwrap_or(json!({}));
            let pod = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("pod-{number}"), "labels": labels},
                "spec": {"containers": [{"name": "workload", "image": "any"}]}});
            let created = cluster.create(&cluster.edit, namespace, &pod.to_string());
            let is = format!("{namespace} {pod_label:?}: {created:?}");
            match wanted(mode, PodLabel::of(&pod)) {
                Wanted::Inject => assert!(sidecar_is_first(&cluster.pod(namespace, &format!("pod-{number}"))), "{is}"),
                Wanted::Nothing | Wanted::Skip => {
                    let pod = cluster.pod(namespace, &format!("pod-{number}"));
                    assert!(pod["spec"].get("initContainers").is_none(), "{is}");
                }
                Wanted::RefuseOptOut | Wanted::RefusePodLabel | Wanted::RefuseNamespaceLabel => {
                    let error = created.unwrap_err();
                    assert!(error.contains(".inject.sandgate.dev\" denied the request"), "{error}");
                    assert!(error.contains("sandgate.dev/inject"), "{error}");
                }
            }
        }
    }
}
