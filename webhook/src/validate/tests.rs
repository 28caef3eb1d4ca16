use serde_json::{Value, json};

use super::*;
use crate::config::CaMode;
use crate::sample::{Sample, plain, with, without};

const SIDECAR: &str = "/spec/initContainers/0";

fn request(operation: &str, sub_resource: &str, object: Value, old_object: Value) -> Request {
    Request {
        uid: "1".to_owned(),
        kind: "v1/Pod".to_owned(),
        resource: "pods".to_owned(),
        sub_resource: sub_resource.to_owned(),
        namespace: "sandboxes".to_owned(),
        name: String::new(),
        operation: operation.to_owned(),
        dry_run: false,
        object,
        old_object,
    }
}

fn create(sample: &Sample, pod: &Value) -> Decision {
    validate(&sample.situation(), &request("CREATE", "", pod.clone(), Value::Null))
}

fn sample(mode: Mode) -> Sample {
    Sample { mode, ..Sample::new() }
}

/// A pod for a namespace of `mode`, which asks for the sidecar.
fn asking() -> Value {
    with(&plain(), "/metadata/labels/sandgate.dev~1inject", json!("true"))
}

#[test]
fn what_the_webhook_made_is_verified_in_every_mode_without_a_word() {
    for mode in [Mode::Required, Mode::Enabled, Mode::Unlabelled] {
        let sample = sample(mode);
        let decision = create(&sample, &sample.injected(&asking()));
        assert_eq!((decision.reason, decision.warnings), (Reason::Verified, vec![]), "{mode:?}");
        assert!(decision.patch.is_empty());
    }
}

#[test]
fn a_required_pod_without_the_sidecar_does_not_get_in_whoever_removed_it() {
    let sample = sample(Mode::Required);
    let decision = create(&sample, &plain());
    assert_eq!(decision.reason, Reason::Missing);
    assert!(decision.message.contains("no sidecar \"auth-proxy\""), "{}", decision.message);
    let removed = create(&sample, &without(&sample.pod(), SIDECAR));
    assert_eq!(removed.reason, Reason::Missing);
    assert!(!removed.message.contains("rename"), "its volumes are not called foreign: {}", removed.message);
    let opted_out = with(&plain(), "/metadata/labels/sandgate.dev~1inject", json!("false"));
    assert_eq!(create(&sample, &opted_out).reason, Reason::OptOut);
    let late = with(&sample.pod(), "/metadata/labels/sandgate.dev~1inject", json!("false"));
    assert_eq!(create(&sample, &late).reason, Reason::OptOut, "a label that came late");
    assert_eq!(create(&sample, &with(&plain(), "/spec/hostNetwork", json!(true))).reason, Reason::Impossible);
}

#[test]
fn a_sidecar_that_is_not_genuine_is_refused_by_its_field_in_every_mode() {
    for mode in [Mode::Required, Mode::Enabled, Mode::Unlabelled] {
        let sample = sample(mode);
        let pod = sample.injected(&asking());
        for (pointer, value, text) in [
            (format!("{SIDECAR}/args"), json!(["serve"]), "args[1] is absent instead of \"--no-env\""),
            (format!("{SIDECAR}/image"), json!("evil.example/x"), "image is \"evil.example/x\" instead of"),
            (format!("{SIDECAR}/lifecycle/preStop"), json!({"exec": {}}), "lifecycle.preStop"),
            ("/spec/volumes/1".to_owned(), json!({"name": "sandgate-ca", "emptyDir": {}}), "volume sandgate-ca"),
        ] {
            let decision = create(&sample, &with(&pod, &pointer, value));
            assert_eq!(decision.reason, Reason::NotGenuine, "{mode:?} {pointer}");
            assert!(decision.message.contains(text), "{}", decision.message);
        }
        let forged = with(&asking(), "/spec/containers/-", json!({"name": "auth-proxy", "image": "busybox"}));
        assert_eq!(create(&sample, &forged).reason, Reason::NotGenuine);
    }
}

#[test]
fn a_pod_is_judged_by_the_configuration_that_its_sidecar_was_made_with() {
    let mut theirs = sample(Mode::Required);
    theirs.config.ca.mode = CaMode::Secret;
    theirs.config.sidecar.uid = 20_202;
    theirs.config.sidecar.proxy_port = 18_080;
    theirs.rendering = Rendering::new(&theirs.config, &[]);
    let ours = Sample { accepted: vec![theirs.rendering.clone()], ..sample(Mode::Required) };
    // What we would refuse, and the replica with the other configuration does not.
    let port = with(&plain(), "/spec/containers/0/ports/-", json!({"containerPort": 8080}));
    let uid = with(&plain(), "/spec/containers/0/securityContext/runAsUser", json!(10_101));
    for pod in [port, uid] {
        assert!(mutate::create(&ours.situation(), &pod).is_err());
        assert_eq!(create(&ours, &theirs.injected(&pod)).reason, Reason::Verified);
    }
    // And the other way round.
    let uid = with(&theirs.pod(), "/spec/containers/0/securityContext/runAsUser", json!(20_202));
    assert_eq!(create(&ours, &uid).reason, Reason::SidecarUid);
    let enabled = Sample { mode: Mode::Enabled, ..ours };
    assert_eq!(create(&enabled, &theirs.pod()).reason, Reason::CaMode);
}

#[test]
fn an_earlier_rendering_and_an_accepted_image_are_verified() {
    let mut sample = sample(Mode::Required);
    let earlier = sample.pod();
    sample.accepted = vec![sample.rendering.clone()];
    sample.config.sidecar.proxy_port = 18080;
    sample.rendering = Rendering::new(&sample.config, &[]);
    assert_eq!(create(&sample, &earlier).reason, Reason::Verified, "complete by the rendering that it is of");
    sample.accepted.clear();
    assert_eq!(create(&sample, &earlier).reason, Reason::NotGenuine);
    sample.config.sidecar.accepted_images = vec!["mirror.example/sidecar:1".to_owned()];
    let mirrored = with(&sample.pod(), &format!("{SIDECAR}/image"), json!("mirror.example/sidecar:1"));
    assert_eq!(create(&sample, &mirrored).reason, Reason::Verified);
}

#[test]
fn only_named_containers_stand_before_the_sidecar() {
    let mut sample = sample(Mode::Required);
    let first = |sample: &Sample, name: &str| {
        let pod = sample.injected(&with(&asking(), "/spec/initContainers", json!([{"name": name, "image": "x"}])));
        let mut swapped = pod.clone();
        swapped["spec"]["initContainers"].as_array_mut().unwrap().swap(0, 1);
        create(sample, &swapped)
    };
    let decision = first(&sample, "istio-init");
    assert_eq!(decision.reason, Reason::Precedes);
    assert!(decision.message.contains("initContainers[0] \"istio-init\" starts before"), "{}", decision.message);
    sample.config.sidecar.may_precede = vec!["istio-init".to_owned()];
    assert_eq!(first(&sample, "istio-init").reason, Reason::Verified);
    assert_eq!(first(&sample, "istio-init2").reason, Reason::Precedes);
    sample.mode = Mode::Enabled;
    let decision = first(&sample, "other");
    assert_eq!(decision.reason, Reason::Verified);
    assert!(decision.warnings[0].contains("\"other\" starts before the sidecar"));
}

#[test]
fn a_container_that_came_too_late_is_refused_by_name_with_what_it_lacks_and_elsewhere_a_warning() {
    let late = json!({"name": "late", "image": "x"});
    for list in ["containers", "initContainers"] {
        let required = sample(Mode::Required);
        let decision = create(&required, &with(&required.pod(), &format!("/spec/{list}/-"), late.clone()));
        assert_eq!(decision.reason, Reason::Incomplete);
        for text in [&format!("{list}[1] \"late\" lacks"), "HTTPS_PROXY", "and", "/etc/proxy-ca", "NET_RAW"] {
            assert!(decision.message.contains(text), "{text}: {}", decision.message);
        }
        let enabled = sample(Mode::Enabled);
        let decision = create(&enabled, &with(&enabled.pod(), &format!("/spec/{list}/-"), late.clone()));
        assert_eq!(decision.reason, Reason::Verified);
        assert!(decision.warnings[0].contains("\"late\" lacks"), "{:?}", decision.warnings);
    }
}

#[test]
fn what_another_webhook_undid_is_named() {
    let sample = sample(Mode::Required);
    let pod = sample.pod();
    let env = pod.pointer("/spec/containers/0/env").unwrap().as_array().unwrap();
    let proxy = env.iter().position(|variable| variable["name"] == "HTTPS_PROXY").unwrap();
    for (changed, text) in [
        (
            with(&pod, &format!("/spec/containers/0/env/{proxy}/value"), json!("http://other:3128")),
            "environment (HTTPS_PROXY)",
        ),
        (without(&pod, &format!("/spec/containers/0/env/{proxy}")), "environment (HTTPS_PROXY)"),
        (with(&pod, "/spec/containers/0/volumeMounts", json!([])), "lacks the trust files in /etc/proxy-ca:"),
        (
            with(&pod, "/spec/containers/0/securityContext", Value::Null),
            "lacks NET_RAW in securityContext.capabilities.drop:",
        ),
    ] {
        let decision = create(&sample, &changed);
        assert_eq!(decision.reason, Reason::Incomplete);
        assert!(
            decision.message.contains(text) && decision.message.contains("containers[0] \"workload\""),
            "{}",
            decision.message
        );
    }
}

#[test]
fn clashes_are_asked_again_in_every_mode_and_evasions_where_it_is_required() {
    for mode in [Mode::Required, Mode::Enabled, Mode::Unlabelled] {
        let sample = sample(mode);
        let pod = sample.injected(&asking());
        let key = with(&pod, "/spec/containers/0/volumeMounts/-", json!({"name": "sandgate-ca", "mountPath": "/k"}));
        assert_eq!(create(&sample, &key).reason, Reason::OurVolumeMounted, "{mode:?}");
        let writable =
            with(&pod, "/spec/containers/0/volumeMounts/-", json!({"name": "sandgate-trust", "mountPath": "/t"}));
        assert_eq!(create(&sample, &writable).reason, Reason::OurVolumeMounted, "{mode:?}");
        let named = with(&pod, "/spec/containers/0/envFrom", json!([{"secretRef": {"name": "sandbox-proxy-ca"}}]));
        assert_eq!(create(&sample, &named).reason, Reason::CaSecret, "{mode:?}");
        let shared = create(&sample, &with(&pod, "/spec/shareProcessNamespace", json!(true)));
        let expected = if mode == Mode::Required { Reason::SharedProcesses } else { Reason::Verified };
        assert_eq!(shared.reason, expected, "{mode:?}");
    }
}

#[test]
fn everything_wrong_with_a_final_pod_is_told_at_once() {
    let sample = sample(Mode::Required);
    let pod = with(&sample.pod(), "/spec/containers/-", json!({"name": "late", "image": "x"}));
    let pod = with(&pod, "/spec/hostPID", json!(true));
    let pod = with(&pod, "/spec/containers/0/ports", json!([{"containerPort": 8080}]));
    let decision = create(&sample, &pod);
    assert_eq!(decision.reason, Reason::PortTaken);
    for text in ["port 8080", "hostPID", "\"late\" lacks"] {
        assert!(decision.message.contains(text), "{text}: {}", decision.message);
    }
}

#[test]
fn pods_that_were_skipped_pass_as_they_are() {
    let sample = sample(Mode::Enabled);
    let opted_out = with(&plain(), "/metadata/labels/sandgate.dev~1inject", json!("false"));
    assert_eq!(create(&sample, &opted_out).reason, Reason::OptedOut);
    let own = with(&opted_out, "/spec/containers/-", json!({"name": "auth-proxy", "image": "theirs"}));
    assert_eq!(create(&sample, &own).reason, Reason::OptedOut);
    let host = create(&sample, &with(&plain(), "/spec/hostNetwork", json!(true)));
    assert_eq!((host.reason, host.warnings), (Reason::HostNetwork, vec![]));
    let windows = create(&sample, &with(&plain(), "/spec/os", json!({"name": "windows"})));
    assert_eq!(windows.reason, Reason::Windows);
}

#[test]
fn a_sidecar_that_was_lost_where_it_is_not_required_is_a_warning_unless_traces_of_it_are_left() {
    let sample = sample(Mode::Enabled);
    let decision = create(&sample, &plain());
    assert_eq!(decision.reason, Reason::NoSidecar);
    assert!(decision.warnings[0].contains("no sidecar \"auth-proxy\""));
    assert_eq!(create(&sample, &without(&sample.pod(), SIDECAR)).reason, Reason::Missing);
}

#[test]
fn a_key_from_a_secret_is_for_required_namespaces() {
    let mut sample = sample(Mode::Required);
    sample.config.ca.mode = CaMode::Secret;
    sample.rendering = Rendering::new(&sample.config, &[]);
    let pod = sample.pod();
    assert_eq!(create(&sample, &pod).reason, Reason::Verified);
    sample.mode = Mode::Enabled;
    assert_eq!(create(&sample, &pod).reason, Reason::CaMode);
}

#[test]
fn other_objects_and_operations_are_refused() {
    let sample = sample(Mode::Required);
    for (kind, operation, sub_resource) in [
        ("v1/ConfigMap", "CREATE", ""),
        ("apps/v1/Deployment", "CREATE", ""),
        ("v1/Pod", "UPDATE", ""),
        ("v1/Pod", "DELETE", ""),
        ("v1/Pod", "CREATE", "binding"),
        ("v2/Pod", "CREATE", ""),
        ("v1/Pod", "UPDATE", "resize"),
        ("v1/Pod", "create", ""),
    ] {
        let mut request = request(operation, sub_resource, sample.pod(), Value::Null);
        request.kind = kind.to_owned();
        assert_eq!(
            validate(&sample.situation(), &request).reason,
            Reason::NotOurs,
            "{kind} {operation} {sub_resource}"
        );
    }
}

#[test]
fn nulls_and_shapes_that_no_pod_has_are_refused_where_the_sidecar_is_required() {
    let sample = sample(Mode::Required);
    for odd in
        [Value::Null, json!({}), json!([]), json!({"spec": null}), json!({"spec": {"containers": {}}}), json!("pod")]
    {
        assert!(!create(&sample, &odd).allowed(), "{odd}");
    }
}

fn debug(sample: &Sample, pod: &Value, old: &Value) -> Decision {
    validate(&sample.situation(), &request("UPDATE", "ephemeralcontainers", pod.clone(), old.clone()))
}

/// The pod with a new ephemeral container as `/mutate` leaves it, and `fields` set in it afterwards.
fn debugged_with(sample: &Sample, old: &Value, fields: &Value) -> Value {
    let pod = with(old, "/spec/ephemeralContainers/-", json!({"name": "debugger", "image": "x"}));
    let asked = request("UPDATE", "ephemeralcontainers", pod.clone(), old.clone());
    let mut pod = pod;
    json_patch::patch(&mut pod, &mutate::mutate(&sample.situation(), &asked).patch).unwrap();
    let debugger = pod.pointer_mut("/spec/ephemeralContainers/0").unwrap().as_object_mut().unwrap();
    debugger.extend(fields.as_object().unwrap().clone());
    pod
}

#[test]
fn a_new_ephemeral_container_is_judged_in_a_pod_with_our_sidecar() {
    for mode in [Mode::Required, Mode::Enabled, Mode::Unlabelled] {
        let sample = sample(mode);
        let old = sample.injected(&asking());
        let judged = |fields: Value| debug(&sample, &debugged_with(&sample, &old, &fields), &old);
        let decision = judged(json!({}));
        assert_eq!((decision.reason, decision.warnings), (Reason::Verified, vec![]), "{mode:?}");
        let key = judged(json!({"volumeMounts": [{"name": "sandgate-ca", "mountPath": "/k"}]}));
        assert_eq!(key.reason, Reason::OurVolumeMounted, "{mode:?}");
        let bare = judged(json!({"env": null}));
        match mode {
            Mode::Required => assert_eq!(bare.reason, Reason::Incomplete),
            _ => assert!(bare.warnings[0].contains("\"debugger\" lacks"), "{bare:?}"),
        }
    }
    let sample = sample(Mode::Required);
    let old = sample.pod();
    let judged = |fields: Value| debug(&sample, &debugged_with(&sample, &old, &fields), &old);
    assert_eq!(judged(json!({"targetContainerName": "auth-proxy"})).reason, Reason::SidecarTarget);
    assert_eq!(judged(json!({"targetContainerName": "workload"})).reason, Reason::Verified);
    let traced = judged(json!({"securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}}));
    assert_eq!(traced.reason, Reason::Baseline);
    assert!(traced.message.contains("--profile=restricted"), "{}", traced.message);
    let restricted = judged(json!({"securityContext": {"runAsNonRoot": true, "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}}));
    assert_eq!(restricted.reason, Reason::Verified);
}

#[test]
fn only_new_containers_of_a_running_pod_are_judged() {
    let mut sample = sample(Mode::Required);
    let old = with(&sample.pod(), "/spec/ephemeralContainers/-", json!({"name": "old", "image": "x"}));
    assert_eq!(debug(&sample, &old, &old).reason, Reason::Verified);
    // It came in before the namespace required the sidecar.
    let old = with(&sample.pod(), "/spec/containers/0/securityContext", json!({"privileged": true}));
    let pod = debugged_with(&sample, &old, &json!({}));
    assert_eq!(debug(&sample, &pod, &old).reason, Reason::Verified);
    sample.namespace.policy = Some("renamed-since".to_owned());
    assert_eq!(debug(&sample, &pod, &old).reason, Reason::Verified);
    let shared = with(&old, "/spec/shareProcessNamespace", json!(true));
    let pod = with(&pod, "/spec/shareProcessNamespace", json!(true));
    assert_eq!(debug(&sample, &pod, &shared).reason, Reason::SharedProcesses, "the new one would see the sidecar");
}

#[test]
fn a_pod_without_our_sidecar_gets_no_ephemeral_container_where_it_is_required() {
    let required = sample(Mode::Required);
    let debugger = with(&plain(), "/spec/ephemeralContainers/-", json!({"name": "debugger", "image": "x"}));
    assert_eq!(debug(&required, &debugger, &plain()).reason, Reason::Missing);
    assert_eq!(debug(&sample(Mode::Enabled), &debugger, &plain()).reason, Reason::NoSidecar);
    let forged = with(&debugger, SIDECAR.trim_end_matches("/0"), json!([{"name": "auth-proxy", "image": "busybox"}]));
    assert!(!debug(&required, &forged, &plain()).allowed());
}
