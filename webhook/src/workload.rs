//! Where the pod stands in the objects that make pods. A table of kinds; nothing is decided here, and of an object's
//! name or labels nothing is believed.

use serde_json::Value;

/// A kind of object that is a pod or makes pods, and where its pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The kind.
    pub kind: &'static str,
    /// The group of its `apiVersion`; empty for the core group.
    pub group: &'static str,
    /// Where the pod stands in the object, as a JSON Pointer; empty where the object is itself the pod.
    pub pointer: &'static str,
}

const fn workload(kind: &'static str, group: &'static str, pointer: &'static str) -> Workload {
    Workload { kind, group, pointer }
}

/// Every kind that has pods, as Kubernetes defines them itself.
pub const WORKLOADS: [Workload; 9] = [
    workload("Pod", "", ""),
    workload("PodTemplate", "", "/template"),
    workload("ReplicationController", "", "/spec/template"),
    workload("Deployment", "apps", "/spec/template"),
    workload("StatefulSet", "apps", "/spec/template"),
    workload("DaemonSet", "apps", "/spec/template"),
    workload("ReplicaSet", "apps", "/spec/template"),
    workload("Job", "batch", "/spec/template"),
    workload("CronJob", "batch", "/spec/jobTemplate/spec/template"),
];

impl Workload {
    /// The row of a kind.
    #[must_use]
    pub fn of_kind(kind: &str) -> Option<Self> {
        WORKLOADS.into_iter().find(|workload| workload.kind == kind)
    }

    /// The row of an object, by its `kind` and the group of its `apiVersion`: another group's `Job` is not ours.
    #[must_use]
    pub fn of(object: &Value) -> Option<Self> {
        let text = |field| object.get(field).and_then(Value::as_str);
        let workload = Self::of_kind(text("kind")?)?;
        let group = text("apiVersion")?.rsplit_once('/').map_or("", |(group, _)| group);
        (group == workload.group).then_some(workload)
    }

    /// Whether the object is itself the pod, and no controller stands between.
    #[must_use]
    pub fn is_pod(&self) -> bool {
        self.pointer.is_empty()
    }

    /// The pod in the object: an object with `metadata` and `spec`. `None` where something else stands there.
    #[must_use]
    pub fn pod<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        object.pointer(self.pointer).filter(|pod| pod.is_object())
    }
}

/// The pod template in an object of this kind, or the object itself where it is a pod.
#[must_use]
pub fn pod_template<'a>(kind: &str, object: &'a Value) -> Option<&'a Value> {
    Workload::of_kind(kind)?.pod(object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_pod_of_every_kind_is_found_where_its_api_has_it() {
        let pod = json!({"spec": {"containers": []}});
        for workload in WORKLOADS {
            let mut object = pod.clone();
            for field in workload.pointer.split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
                object = json!({field: object});
            }
            assert_eq!(pod_template(workload.kind, &object), Some(&pod), "{}", workload.kind);
            assert_eq!(workload.is_pod(), workload.kind == "Pod");
        }
    }

    #[test]
    fn another_kind_or_shape_has_no_pod() {
        assert_eq!(pod_template("Service", &json!({"spec": {"template": {}}})), None);
        for object in [json!({}), json!({"spec": null}), json!({"spec": {"template": null}}), json!([])] {
            assert_eq!(pod_template("Deployment", &object), None, "{object}");
        }
        assert_eq!(pod_template("Pod", &json!("text")), None);
    }

    #[test]
    fn a_kind_counts_in_its_own_group_alone() {
        let of = |version: &str, kind: &str| {
            Workload::of(&json!({"apiVersion": version, "kind": kind})).map(|workload| workload.kind)
        };
        assert_eq!(of("v1", "Pod"), Some("Pod"));
        assert_eq!(of("apps/v1", "Deployment"), Some("Deployment"));
        assert_eq!(of("batch/v1beta1", "CronJob"), Some("CronJob"));
        assert_eq!(of("batch.volcano.sh/v1alpha1", "Job"), None);
        assert_eq!(of("apps/v1", "Pod"), None);
        assert_eq!(Workload::of(&json!({"kind": "Pod"})), None);
    }
}
