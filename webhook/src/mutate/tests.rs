//! Who gets the sidecar, and what is not answered here.

use serde_json::json;

use super::*;
use crate::names::STATUS_ANNOTATION;
use crate::reason::Outcome;
use crate::sample::{Sample, plain, with};

fn request(kind: &str, operation: &str, sub_resource: &str, object: Value) -> Request {
    Request {
        uid: "1".to_owned(),
        kind: kind.to_owned(),
        resource: "pods".to_owned(),
        sub_resource: sub_resource.to_owned(),
        namespace: "sandboxes".to_owned(),
        name: String::new(),
        operation: operation.to_owned(),
        dry_run: false,
        object,
        old_object: Value::Null,
    }
}

fn decide(mode: Mode, pod: &Value) -> Decision {
    let sample = Sample { mode, ..Sample::new() };
    mutate(&sample.situation(), &request("v1/Pod", "CREATE", "", pod.clone()))
}

#[test]
fn every_cell_of_the_table_of_labels_is_decided_as_documented() {
    use Reason::{Injected, NamespaceDisabled, NamespaceLabel, NotAsked, OptOut, OptedOut, PodLabel};
    let labels = [None, Some("true"), Some("false"), Some("yes")];
    let table = [
        (Mode::Unlabelled, [NotAsked, Injected, NotAsked, PodLabel]),
        (Mode::Enabled, [Injected, Injected, OptedOut, PodLabel]),
        (Mode::Required, [Injected, Injected, OptOut, PodLabel]),
        (Mode::Disabled, [NotAsked, NamespaceDisabled, NotAsked, PodLabel]),
        (Mode::Invalid, [NamespaceLabel; 4]),
    ];
    for (mode, row) in table {
        for (label, reason) in labels.into_iter().zip(row) {
            let pod =
                label.map_or_else(plain, |label| with(&plain(), "/metadata/labels/sandgate.dev~1inject", label.into()));
            let decision = decide(mode, &pod);
            assert_eq!(decision.reason, reason, "{mode:?} {label:?}");
            assert_eq!(decision.patch.is_empty(), reason != Injected, "{mode:?} {label:?}");
            let warned = reason == NamespaceDisabled || (mode, reason) == (Mode::Required, Injected);
            assert_eq!(!decision.warnings.is_empty(), warned, "{mode:?} {label:?}");
        }
    }
}

#[test]
fn pods_that_cannot_have_a_sidecar_are_skipped_with_a_warning_or_refused_where_it_is_required() {
    let asked = with(&plain(), "/metadata/labels/sandgate.dev~1inject", "true".into());
    for (pod, reason) in [
        (with(&asked, "/spec/hostNetwork", true.into()), Reason::HostNetwork),
        (with(&asked, "/spec/os", json!({"name": "windows"})), Reason::Windows),
        (with(&asked, "/spec/nodeSelector", json!({"kubernetes.io/os": "windows"})), Reason::Windows),
        (with(&asked, "/metadata/annotations", json!({MIRROR_ANNOTATION: "1"})), Reason::MirrorPod),
    ] {
        for mode in [Mode::Enabled, Mode::Unlabelled] {
            let decision = decide(mode, &pod);
            assert_eq!((decision.reason, decision.warnings.len()), (reason, 1));
        }
        assert_eq!(decide(Mode::Required, &pod).reason, Reason::Impossible);
    }
    let linux = with(&asked, "/spec/os", json!({"name": "linux"}));
    assert_eq!(decide(Mode::Required, &linux).reason, Reason::Injected);
}

#[test]
fn other_kinds_operations_and_subresources_are_refused_in_words() {
    let sample = Sample::new();
    for (kind, operation, sub_resource) in [
        ("v1/Pod", "UPDATE", ""),
        ("v1/Pod", "DELETE", ""),
        ("v1/Pod", "CONNECT", "exec"),
        ("v1/Pod", "CREATE", "ephemeralcontainers"),
        ("apps/v1/Deployment", "CREATE", ""),
        ("v2/Pod", "CREATE", ""),
        ("", "", ""),
    ] {
        let decision = mutate(&sample.situation(), &request(kind, operation, sub_resource, plain()));
        assert_eq!(decision.reason, Reason::NotOurs, "{kind} {operation} {sub_resource}");
        assert!(decision.message.contains(&format!("not {operation} of {kind}")), "{}", decision.message);
    }
}

#[test]
fn all_refusals_are_told_at_once() {
    let mut sample = Sample::new();
    sample.namespace.policy = Some("No Name".to_owned());
    sample.namespace.sidecar_resources = Some("1".to_owned());
    let pod = with(&plain(), "/spec/hostPID", true.into());
    let refusals = create(&sample.situation(), &pod).unwrap_err();
    let reasons: Vec<Reason> = refusals.iter().map(|refusal| refusal.reason).collect();
    assert!(reasons.starts_with(&[Reason::PolicyName, Reason::SidecarResources]), "{reasons:?}");
    assert!(reasons.contains(&Reason::Baseline), "{reasons:?}");
}

#[test]
fn a_running_pod_is_debugged_by_its_sidecar_and_not_by_its_label() {
    let mut sample = Sample::new();
    let pod = sample.pod();
    let with_label = with(&pod, "/metadata/labels/sandgate.dev~1inject", "false".into());
    let new = with(&with_label, "/spec/ephemeralContainers", json!([{"name": "debugger", "image": "busybox"}]));
    let mut review = request("v1/Pod", "UPDATE", "ephemeralcontainers", new);
    review.old_object = with_label;
    for mode in [Mode::Required, Mode::Enabled, Mode::Disabled, Mode::Unlabelled] {
        sample.mode = mode;
        let decision = mutate(&sample.situation(), &review);
        assert_eq!(decision.reason, Reason::EphemeralContainer, "{mode:?}: {}", decision.message);
        let is_new = |path: String| path.starts_with("/spec/ephemeralContainers/0/");
        assert!(decision.patch.iter().all(|operation| is_new(operation.path().to_string())));
    }
    sample.mode = Mode::Invalid;
    assert_eq!(mutate(&sample.situation(), &review).reason, Reason::NamespaceLabel);
}

#[test]
fn a_running_pod_with_an_earlier_sidecar_gets_the_environment_of_that_one() {
    let earlier = {
        let mut sample = Sample::new();
        sample.config.sidecar.proxy_port = 9080;
        sample.rendering = crate::rendering::Rendering::new(&sample.config, &[]);
        sample
    };
    let pod = earlier.pod();
    let sample = Sample { accepted: vec![earlier.rendering], ..Sample::new() };
    let mut review = request("v1/Pod", "UPDATE", "ephemeralcontainers", Value::Null);
    review.object = with(&pod, "/spec/ephemeralContainers", json!([{"name": "debugger", "image": "busybox"}]));
    review.old_object = pod;
    let decision = mutate(&sample.situation(), &review);
    assert_eq!(decision.reason.outcome(), Outcome::Injected, "{}", decision.message);
    let mut patched = review.object;
    json_patch::patch(&mut patched, &decision.patch).unwrap();
    assert_eq!(patched["spec"]["ephemeralContainers"][0]["env"][0]["value"], "http://127.0.0.1:9080");
}

#[test]
fn a_pod_whose_sidecar_was_taken_out_is_refused_for_that_and_not_for_the_volumes_that_are_left() {
    let decision = decide(Mode::Required, &plain());
    let mut pod = plain();
    json_patch::patch(&mut pod, &decision.patch).unwrap();
    pod["spec"]["initContainers"].as_array_mut().unwrap().remove(0);
    for mode in [Mode::Enabled, Mode::Required] {
        let decision = decide(mode, &pod);
        assert_eq!(decision.reason, Reason::Missing);
        assert!(decision.message.contains("something took the container out"), "{}", decision.message);
        assert!(!decision.message.contains("sandgate-"), "{}", decision.message);
    }
    // One volume of that name alone is somebody's own.
    let volumes = json!([{"name": "sandgate-trust", "emptyDir": {}}]);
    assert_eq!(decide(Mode::Required, &with(&plain(), "/spec/volumes", volumes)).reason, Reason::ForeignVolume);
}

#[test]
fn a_label_or_annotation_of_ours_that_is_not_read_is_named_in_a_warning() {
    let annotated = |key: &str| json!({key: "false"});
    let not_read = |kind: &str, key: &str| {
        let pod = with(&plain(), &format!("/metadata/{kind}s"), annotated(key));
        let decision = decide(Mode::Enabled, &pod);
        assert_eq!(decision.reason, Reason::Injected);
        decision.warnings.into_iter().filter(|warning| warning.contains("is not read")).collect::<Vec<_>>()
    };
    for (kind, key, advice) in [
        ("annotation", "sandgate.dev/inject", "make it a label"),
        ("label", "sandgate.dev/sidecar-resources", "make it an annotation"),
        ("annotation", "sandgate.dev/pod-policy", "it belongs to the namespace"),
        ("annotation", "sandgate.dev/sidecar-resource", "it may be misspelt"),
    ] {
        assert_eq!(not_read(kind, key), [format!("the {kind} {key} is not read: {advice}")]);
    }
    assert!(not_read("annotation", STATUS_ANNOTATION).is_empty() && not_read("annotation", "example.com/a").is_empty());
    let many: serde_json::Map<_, _> = (0..100).map(|n| (format!("sandgate.dev/x{n}"), json!(""))).collect();
    let pod = with(&plain(), "/metadata/annotations", many.into());
    assert!(decide(Mode::Enabled, &pod).warnings.len() < 10);
}
