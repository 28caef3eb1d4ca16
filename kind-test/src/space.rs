//! A namespace of a test: what people do in it with kubectl, and what becomes of its pods.

use std::time::Duration;

use sandgate_contract::CONTAINER_NAME;
use serde_json::Value;

use crate::api::{self, Refusal};
use crate::kubectl::{Printed, kubectl};
use crate::wait::{eventually, within};

/// One namespace.
#[derive(Clone, Debug)]
pub struct Space {
    /// Its name.
    pub name: String,
}

impl Space {
    /// The namespace of this name.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name }
    }

    /// Runs kubectl in it with the words of `line` as arguments.
    #[must_use]
    pub fn kubectl(&self, line: &str) -> Printed {
        self.kubectl_with(line, "")
    }

    /// The same with `input` on its standard input.
    #[must_use]
    pub fn kubectl_with(&self, line: &str, input: &str) -> Printed {
        let words: Vec<&str> = ["-n", &self.name].into_iter().chain(line.split_whitespace()).collect();
        kubectl(&words, input)
    }

    /// `kubectl apply` of an object.
    #[must_use]
    pub fn try_apply(&self, object: &Value) -> Printed {
        self.kubectl_with("apply -f -", &object.to_string())
    }

    /// `kubectl apply` of an object that is accepted.
    #[track_caller]
    pub fn apply(&self, object: &Value) {
        let _applied = self.try_apply(object).accepted();
    }

    /// Applies a pod, and waits until it is ready. Returns it.
    #[track_caller]
    pub fn start(&self, pod: &Value) -> Value {
        self.apply(pod);
        self.ready(pod["metadata"]["name"].as_str().unwrap())
    }

    /// Applies a pod, and waits until it has succeeded. Returns what its workload printed.
    #[track_caller]
    pub fn run(&self, pod: &Value) -> String {
        self.apply(pod);
        let name = pod["metadata"]["name"].as_str().unwrap();
        self.ended(name, "Succeeded");
        self.logs(name, "workload")
    }

    /// Where an object is, such as `pods/one`.
    #[must_use]
    pub fn path(&self, of: &str) -> String {
        format!("/api/v1/namespaces/{}/{of}", self.name)
    }

    /// An object of the core API, such as `pods/one`.
    ///
    /// # Errors
    /// What the API server said.
    pub fn get(&self, of: &str) -> Result<Value, Refusal> {
        api::get(&self.path(of))
    }

    /// A pod that is there.
    #[track_caller]
    #[must_use]
    pub fn pod(&self, name: &str) -> Value {
        self.get(&format!("pods/{name}")).unwrap_or_else(|refusal| panic!("pod {name}: {}", refusal.message))
    }

    /// The pods that a label selector finds.
    #[must_use]
    pub fn pods(&self, selector: &str) -> Vec<Value> {
        let list = self.get(&format!("pods?labelSelector={selector}")).expect("pods can be listed");
        list["items"].as_array().unwrap().clone()
    }

    /// Waits until a pod is ready; fails at once where it has ended.
    #[track_caller]
    pub fn ready(&self, name: &str) -> Value {
        let pod = eventually(&format!("pod {name} is ready"), || {
            let pod = self.pod(name);
            let ended = ["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or_default());
            if is_ready(&pod) || ended { Ok(pod) } else { Err(pod["status"].to_string()) }
        });
        assert!(is_ready(&pod), "the pod ended: {}", pod["status"]);
        pod
    }

    /// Waits until a pod has ended in this phase; fails at once where it ended in the other.
    #[track_caller]
    pub fn ended(&self, name: &str, phase: &str) {
        let last = eventually(&format!("pod {name} has ended"), || {
            let status = self.pod(name)["status"].take();
            let ended = ["Succeeded", "Failed"].contains(&status["phase"].as_str().unwrap_or_default());
            if ended { Ok(status) } else { Err(status.to_string()) }
        });
        assert_eq!(last["phase"], phase, "{last}: {}", self.logs(name, "workload"));
    }

    /// Waits until a pod is gone.
    #[track_caller]
    pub fn gone(&self, name: &str, limit: Duration) {
        within(limit, &format!("pod {name} is gone"), || match self.get(&format!("pods/{name}")) {
            Err(refusal) if refusal.code == 404 => Ok(()),
            Err(refusal) => Err(refusal.message),
            Ok(pod) => Err(pod["status"].to_string()),
        });
    }

    /// Runs a shell script in a pod's workload.
    #[must_use]
    pub fn sh(&self, pod: &str, script: &str) -> Printed {
        kubectl(&["-n", &self.name, "exec", pod, "-c", "workload", "--", "sh", "-c", script], "")
    }

    /// What a container has printed.
    #[must_use]
    pub fn logs(&self, pod: &str, container: &str) -> String {
        let printed = kubectl(&["-n", &self.name, "logs", pod, "-c", container], "");
        if printed.succeeded { printed.output } else { printed.errors }
    }

    /// What the sidecar has printed: its log, and the audit lines.
    #[must_use]
    pub fn sidecar_logs(&self, pod: &str) -> String {
        self.logs(pod, CONTAINER_NAME)
    }

    /// The messages of all events about an object, by its name.
    #[must_use]
    pub fn events(&self, name: &str) -> String {
        let list = self.get(&format!("events?fieldSelector=involvedObject.name={name}")).expect("events can be listed");
        let line = |event: &Value| format!("{}: {}", event["reason"], event["message"]);
        list["items"].as_array().unwrap().iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// A namespace has its ServiceAccount a moment later; before, no pod is admitted.
    pub(crate) fn wait_for_service_account(&self) {
        eventually("the namespace has its ServiceAccount", || {
            self.get("serviceaccounts/default").map_err(|refusal| refusal.message)
        });
    }
}

/// Whether a pod's condition Ready holds.
#[must_use]
pub fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True"))
}

/// A container of a pod, of any kind.
#[track_caller]
#[must_use]
pub fn container_of<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let kinds = ["containers", "initContainers", "ephemeralContainers"];
    let all = kinds.iter().filter_map(|kind| pod["spec"][kind].as_array()).flatten();
    all.into_iter()
        .find(|container| container["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {}", pod["spec"]))
}

/// The status of a container of a pod, of any kind.
#[must_use]
pub fn status_of(pod: &Value, name: &str) -> Value {
    let kinds = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let all = kinds.iter().filter_map(|kind| pod["status"][kind].as_array()).flatten();
    all.into_iter().find(|container| container["name"] == name).cloned().unwrap_or_default()
}

/// Whether a pod has the sidecar, as a native one.
#[must_use]
pub fn is_injected(pod: &Value) -> bool {
    let first = &pod["spec"]["initContainers"][0];
    first["name"] == CONTAINER_NAME && first["restartPolicy"] == "Always"
}
