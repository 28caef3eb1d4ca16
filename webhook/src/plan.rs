//! What a single pod and its namespace decide about the sidecar: the policy's ConfigMap and the resources. Everything
//! else is the rendering's.

use serde_json::Value;

use crate::decision::Refusal;
use crate::names::{POD_POLICY_ANNOTATION, POLICY_ANNOTATION};
use crate::reason::Reason;
use crate::resources::{self, Resources};
use crate::situation::Situation;

/// The longest name of a ConfigMap (RFC 1123, a DNS subdomain).
const MAX_NAME: usize = 253;

/// What is particular to one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The name of the policy's ConfigMap.
    pub policy: String,
    /// The sidecar's resources.
    pub resources: Resources,
}

impl Plan {
    /// For `pod`.
    ///
    /// # Errors
    /// Every annotation that can't be followed, each with a message that names it and its value.
    pub fn of(situation: &Situation<'_>, pod: &Value) -> Result<Self, Vec<Refusal>> {
        match (policy(situation, pod), resources::of_pod(situation, pod)) {
            (Ok(policy), Ok(resources)) => Ok(Self { policy, resources }),
            (policy, resources) => Err([policy.err(), resources.err()].into_iter().flatten().collect()),
        }
    }
}

/// The name of the policy's ConfigMap for `pod`: its own where the namespace allows one, else the namespace's, else the
/// configuration's.
///
/// # Errors
/// A name that is none, a pod's name where the namespace allows none, and a permission that says something else than
/// `allowed`, whatever the pod has.
pub fn policy(situation: &Situation<'_>, pod: &Value) -> Result<String, Refusal> {
    let namespace = situation.namespace;
    let named = namespace.policy.as_ref().unwrap_or(&situation.config.policy.config_map);
    config_map_name(named, &format!("annotation {POLICY_ANNOTATION} of namespace {:?}", namespace.name))?;
    let allowed = match namespace.pod_policy.as_deref() {
        None => false,
        Some("allowed") => true,
        Some(other) => {
            return Err(Refusal::new(
                Reason::PodPolicy,
                format!(
                    "annotation {POD_POLICY_ANNOTATION} of namespace {:?} is {other:?}: write \"allowed\", or remove it",
                    namespace.name
                ),
            ));
        }
    };
    let own = pod.pointer("/metadata/annotations").and_then(|all| all.get(POLICY_ANNOTATION)).and_then(Value::as_str);
    match own {
        None => Ok(named.clone()),
        Some(own) if own == named => Ok(named.clone()),
        Some(own) if allowed => {
            config_map_name(own, &format!("annotation {POLICY_ANNOTATION} of the pod"))?;
            Ok(own.to_owned())
        }
        Some(own) => Err(Refusal::new(
            Reason::PodPolicy,
            format!(
                "the pod names the policy {own:?} (annotation {POLICY_ANNOTATION}) and namespace {:?} does not allow that: \
                 remove the annotation, or annotate the namespace {POD_POLICY_ANNOTATION}=allowed",
                namespace.name
            ),
        )),
    }
}

fn config_map_name(name: &str, place: &str) -> Result<(), Refusal> {
    let is_label = |label: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let bytes = label.as_bytes();
        let inside = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inside)
    };
    if name.len() <= MAX_NAME && name.split('.').all(is_label) {
        return Ok(());
    }
    Err(Refusal::new(Reason::PolicyName, format!("{place}: {name:?} can't be the name of a ConfigMap")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;
    use crate::mode::Mode;
    use crate::namespace::Namespace;
    use crate::rendering::Rendering;

    fn named(namespace: Option<&str>, pod_policy: Option<&str>, own: Option<&str>) -> Result<String, (Reason, String)> {
        let config = Config::default();
        let namespace = Namespace {
            name: "team".to_owned(),
            policy: namespace.map(ToOwned::to_owned),
            pod_policy: pod_policy.map(ToOwned::to_owned),
            ..Namespace::default()
        };
        let rendering = Rendering::new(&config, &[]);
        let (mode, namespace) = (Mode::Enabled, &namespace);
        let situation = Situation { mode, namespace, config: &config, rendering: &rendering, accepted: &[] };
        let pod = own.map_or_else(|| json!({}), |own| json!({"metadata": {"annotations": {POLICY_ANNOTATION: own}}}));
        policy(&situation, &pod).map_err(|refusal| (refusal.reason, refusal.message))
    }

    #[test]
    fn the_pods_name_is_taken_only_where_the_namespace_allows_it() {
        assert_eq!(named(None, None, None).unwrap(), "sandgate-policy");
        assert_eq!(named(Some("strict"), None, None).unwrap(), "strict");
        assert_eq!(named(Some("strict"), Some("allowed"), None).unwrap(), "strict");
        assert_eq!(named(Some("strict"), Some("allowed"), Some("own")).unwrap(), "own");
        assert_eq!(named(Some("strict"), None, Some("strict")).unwrap(), "strict");
        let (reason, message) = named(None, None, Some("own")).unwrap_err();
        assert_eq!(reason, Reason::PodPolicy);
        assert!(message.contains("\"own\"") && message.contains("sandgate.dev/pod-policy=allowed"), "{message}");
    }

    #[test]
    fn another_word_than_allowed_is_refused_whatever_the_pod_says() {
        for word in ["Allowed", "true", ""] {
            for own in [None, Some("own")] {
                let (reason, message) = named(None, Some(word), own).unwrap_err();
                assert_eq!(reason, Reason::PodPolicy);
                assert!(message.contains(&format!("of namespace \"team\" is {word:?}")), "{message}");
            }
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_place() {
        for name in ["", "Upper", "a_b", "-a", "a-", "a..b", "a/b", &"a".repeat(254)] {
            let (reason, message) = named(Some(name), None, None).unwrap_err();
            assert_eq!(reason, Reason::PolicyName);
            assert!(message.starts_with("annotation sandgate.dev/policy of namespace \"team\""), "{message}");
            let (reason, message) = named(None, Some("allowed"), Some(name)).unwrap_err();
            assert_eq!(reason, Reason::PolicyName);
            assert!(message.starts_with("annotation sandgate.dev/policy of the pod"), "{message}");
        }
        assert_eq!(named(Some("a.b-1"), None, None).unwrap(), "a.b-1");
    }
}
