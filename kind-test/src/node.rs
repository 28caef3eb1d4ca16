//! What only the node can do: end a sidecar's process as a crash would. The workload does not see it, and required
//! namespaces let nobody enter the sidecar.

use serde_json::{Value, json};

use crate::objects::{pod_of, running};
use crate::stage::Stage;

/// Kills the sidecar of a running pod with SIGKILL, from a pod that sees the node's processes.
#[track_caller]
pub fn kill_sidecar(stage: &Stage, pod: &Value) {
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    // The brackets keep the pattern from matching the shell that runs it.
    let script = format!("pkill -KILL -f 'sandgate-sidecar serve .*[p]od-uid={uid}'");
    let spec = json!({
        "hostPID": true, "nodeName": pod["spec"]["nodeName"], "restartPolicy": "Never",
        "containers": [running("workload", &script)],
    });
    stage.bare_namespace("", &json!({})).run(&pod_of("killer", spec));
}
