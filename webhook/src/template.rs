//! What will happen to the pods of a Deployment, Job or the like, said when it is applied: its controller creates the
//! pods, and nobody sees the warnings of those. Never a refusal.

use serde_json::Value;

use crate::decision::Decision;
use crate::mutate;
use crate::reason::Reason;
use crate::situation::Situation;

/// Warnings for whoever applies `pod_template` (a PodTemplateSpec): those that its pods would get, or why they would be
/// refused, one warning for each reason.
#[must_use]
pub fn template(situation: &Situation<'_>, pod_template: &Value) -> Decision {
    match mutate::create(situation, pod_template) {
        Ok(decision) => Decision { patch: Vec::new(), ..decision },
        Err(refusals) => Decision {
            warnings: refusals.iter().map(|refusal| format!("pods will be refused: {}", refusal.message)).collect(),
            message: Decision::refuse(&refusals).message,
            ..Decision::pass(Reason::TemplateRefused)
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;
    use crate::decision::EGRESS_ADVISORY;
    use crate::mode::Mode;
    use crate::namespace::Namespace;
    use crate::rendering::Rendering;

    fn decide(mode: Mode, template: &Value) -> Decision {
        let config = Config::default();
        let rendering = Rendering::new(&config, &[]);
        let namespace = Namespace::default();
        let (namespace, config, rendering) = (&namespace, &config, &rendering);
        super::template(&Situation { mode, namespace, config, rendering, accepted: &[] }, template)
    }

    #[test]
    fn warnings_of_the_pods_are_said_and_nothing_is_patched() {
        let template = json!({"spec": {"containers": [{"name": "c", "env": [{"name": "PIP_CERT", "value": "/own"}]}]}});
        let decision = decide(Mode::Enabled, &template);
        assert!(decision.allowed() && decision.patch.is_empty());
        assert_eq!(decision.warnings.len(), 1);
        assert!(decision.warnings[0].contains("keeps its own PIP_CERT"), "{:?}", decision.warnings);
        let decision = decide(Mode::Required, &template);
        assert!(decision.warnings.iter().any(|warning| warning == EGRESS_ADVISORY));
    }

    #[test]
    fn a_refusal_to_come_is_a_warning_and_no_refusal() {
        let template = json!({"metadata": {"labels": {"sandgate.dev/inject": "false"}}, "spec": {"containers": []}});
        let decision = decide(Mode::Required, &template);
        assert!(decision.allowed());
        assert!(decision.warnings[0].starts_with("pods will be refused: namespace"), "{:?}", decision.warnings);
        for odd in [json!(null), json!([]), json!({"spec": {"containers": {}}})] {
            assert!(decide(Mode::Required, &odd).allowed());
        }
    }
}
