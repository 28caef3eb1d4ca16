use serde_json::{Value, json};

use super::*;
use crate::sample::{Sample, plain, with, without};

const SIDECAR: &str = "/spec/initContainers/0";

fn refusals(sample: &Sample, pod: &Value) -> Vec<(Reason, String)> {
    check(&sample.situation(), pod).into_iter().map(|refusal| (refusal.reason, refusal.message)).collect()
}

#[test]
fn a_plain_pod_and_one_that_we_made_clash_with_nothing() {
    let sample = Sample::new();
    assert_eq!(refusals(&sample, &plain()), []);
    assert_eq!(refusals(&sample, &sample.pod()), []);
    let older = with(&sample.pod(), &format!("{SIDECAR}/image"), json!("ghcr.io/sandgate/sidecar:0.0.1"));
    assert_eq!(refusals(&sample, &older), [], "carried in, to be made anew");
}

#[test]
fn a_reference_to_any_of_our_volumes_is_refused_in_every_kind_of_container() {
    let sample = Sample::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for volume in VOLUMES {
            for (field, value) in [
                ("volumeMounts", json!({"name": volume, "mountPath": "/x"})),
                ("volumeMounts", json!({"name": volume, "mountPath": "/x", "readOnly": true, "subPath": "ca.key"})),
                ("volumeDevices", json!({"name": volume, "devicePath": "/dev/x"})),
                (
                    "env",
                    json!({"name": "KEY", "valueFrom": {"fileKeyRef": {"volumeName": volume, "path": "x", "key": "x"}}}),
                ),
            ] {
                for pod in [plain(), sample.pod()] {
                    let pod = with(&pod, &format!("/spec/{list}/-"), json!({"name": "extra", field: [value]}));
                    let [(reason, message)] = &refusals(&sample, &pod)[..] else { panic!("one refusal for {pod}") };
                    assert_eq!(*reason, Reason::OurVolumeMounted);
                    assert!(message.starts_with(list) && message.contains("\"extra\""), "{message}");
                    assert!(message.contains(volume) && message.contains(field), "{message}");
                }
            }
        }
    }
}

#[test]
fn the_trust_mount_is_ours_exactly_as_we_make_it_and_only_beside_a_sidecar_of_ours() {
    let sample = Sample::new();
    let mount = |change: Value| {
        let mut mount = sample.rendering.trust_mount.clone();
        mount.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"name": "extra", "volumeMounts": [mount]})
    };
    let reasons = |pod: &Value, change: Value| {
        refusals(&sample, &with(pod, "/spec/containers/-", mount(change)))
            .into_iter()
            .map(|(reason, _)| reason)
            .collect::<Vec<_>>()
    };
    assert_eq!(reasons(&sample.pod(), json!({})), []);
    assert_eq!(reasons(&sample.pod(), json!({"mountPropagation": "None"})), []);
    assert_eq!(reasons(&plain(), json!({})), [Reason::OurVolumeMounted]);
    for change in [
        json!({"readOnly": false}),
        json!({"mountPath": "/trust"}),
        json!({"mountPath": "/etc//proxy-ca"}),
        json!({"subPath": "ca.crt"}),
        json!({"subPathExpr": "$(X)"}),
        json!({"name": "sandgate-ca"}),
        json!({"mountPropagation": "HostToContainer"}),
    ] {
        assert_eq!(reasons(&sample.pod(), change.clone()), [Reason::OurVolumeMounted], "{change}");
    }
}

#[test]
fn volumes_with_our_names_are_foreign_without_a_sidecar_of_ours_and_when_there_are_two() {
    let sample = Sample::new();
    for volume in VOLUMES {
        let pod = with(&plain(), "/spec/volumes/-", json!({"name": volume, "emptyDir": {"medium": "Memory"}}));
        let [(reason, message)] = &refusals(&sample, &pod)[..] else { panic!("one refusal for {pod}") };
        assert_eq!(*reason, Reason::ForeignVolume);
        assert!(message.contains(&format!("volume {volume:?} is not one that Sandgate made")), "{message}");
    }
    let twice = with(&sample.pod(), "/spec/volumes/-", json!({"name": "sandgate-ca", "hostPath": {"path": "/"}}));
    assert!(
        refusals(&sample, &twice).iter().any(|(reason, message)| {
            *reason == Reason::ForeignVolume && message.contains("is there more than once")
        })
    );
    // What `kubectl debug --copy-to` leaves of an injected pod when it drops its init containers.
    let copied = refusals(&sample, &without(&sample.pod(), SIDECAR));
    assert_eq!(copied.iter().filter(|(reason, _)| *reason == Reason::ForeignVolume).count(), 4);
}

#[test]
fn another_containers_use_of_our_name_is_refused_in_every_list() {
    let sample = Sample::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for pod in [plain(), sample.pod()] {
            let forged = json!({"name": "auth-proxy", "image": "busybox", "restartPolicy": "Always"});
            let found = refusals(&sample, &with(&pod, &format!("/spec/{list}/-"), forged));
            assert_eq!(found[0].0, Reason::ForeignContainer, "{list}");
            assert!(found[0].1.contains("rename the container or leave it out"), "{}", found[0].1);
        }
    }
}

#[test]
fn a_declared_port_of_the_sidecar_is_refused_with_the_setting_that_moves_it() {
    let sample = Sample::new();
    let port = |port: Value| refusals(&sample, &with(&plain(), "/spec/containers/0/ports", json!([port])));
    for (declared, setting) in [
        (json!({"containerPort": 8080}), "sidecar.proxyPort"),
        (json!({"containerPort": 8080, "protocol": "TCP"}), "sidecar.proxyPort"),
        (json!({"containerPort": 8081, "protocol": null}), "sidecar.healthPort"),
    ] {
        let found = port(declared);
        assert_eq!(found[0].0, Reason::PortTaken);
        assert!(found[0].1.contains("containers[0] \"workload\" declares port 808") && found[0].1.contains(setting));
    }
    for free in [json!({"containerPort": 8082}), json!({"containerPort": 8080, "protocol": "UDP"}), json!({})] {
        assert_eq!(port(free), []);
    }
}

#[test]
fn the_cas_secret_is_refused_wherever_a_pod_can_name_it() {
    let sample = Sample::new();
    let name = "sandbox-proxy-ca";
    for (pointer, value, field) in [
        ("/spec/volumes", json!([{"name": "v", "secret": {"secretName": name}}]), "volumes[0] \"v\" names the Secret"),
        (
            "/spec/volumes",
            json!([{"name": "v", "projected": {"sources": [{"secret": {"name": name}}]}}]),
            "projected.sources[0].secret",
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": name}}}]),
            "csi.nodePublishSecretRef",
        ),
        ("/spec/volumes", json!([{"name": "v", "azureFile": {"secretName": name}}]), "azureFile.secretName"),
        ("/spec/volumes", json!([{"name": "v", "iscsi": {"secretRef": {"name": name}}}]), "iscsi.secretRef"),
        (
            "/spec/volumes",
            json!([{"name": "v", "flexVolume": {"driver": "d", "secretRef": {"name": name}}}]),
            "flexVolume.secretRef",
        ),
        (
            "/spec/containers/0/env",
            json!([{"name": "K", "valueFrom": {"secretKeyRef": {"name": name, "key": "tls.key", "optional": true}}}]),
            "env[0].valueFrom.secretKeyRef",
        ),
        ("/spec/containers/0/envFrom", json!([{"prefix": "X", "secretRef": {"name": name}}]), "envFrom[0].secretRef"),
        (
            "/spec/initContainers",
            json!([{"name": "i", "envFrom": [{"secretRef": {"name": name}}]}]),
            "initContainers[0] \"i\"",
        ),
        (
            "/spec/ephemeralContainers",
            json!([{"name": "e", "envFrom": [{"secretRef": {"name": name}}]}]),
            "ephemeralContainers[0] \"e\"",
        ),
        ("/spec/someFutureField", json!([{"tlsSecretRef": {"name": name}}]), "the pod names the Secret"),
    ] {
        let found = refusals(&sample, &with(&plain(), pointer, value));
        assert_eq!(found.iter().map(|(reason, _)| *reason).collect::<Vec<_>>(), [Reason::CaSecret], "{field}");
        assert!(found[0].1.contains(field), "{field}: {}", found[0].1);
    }
}

#[test]
fn other_secrets_and_the_same_word_elsewhere_are_nobodys_business() {
    let mut sample = Sample::new();
    for (pointer, value) in [
        ("/spec/imagePullSecrets", json!([{"name": "sandbox-proxy-ca"}])),
        ("/spec/volumes", json!([{"name": "v", "configMap": {"name": "sandbox-proxy-ca"}}])),
        ("/spec/volumes", json!([{"name": "sandbox-proxy-ca", "secret": {"secretName": "other"}}])),
        ("/spec/containers/0/env", json!([{"name": "CA_SECRET", "value": "sandbox-proxy-ca"}])),
        (
            "/spec/containers/0/env",
            json!([{"name": "K", "valueFrom": {"secretKeyRef": {"name": "other", "key": "sandbox-proxy-ca"}}}]),
        ),
    ] {
        assert_eq!(refusals(&sample, &with(&plain(), pointer, value)), [], "{pointer}");
    }
    sample.config.ca.secret_name = "other".to_owned();
    let pod = with(&plain(), "/spec/volumes", json!([{"name": "v", "secret": {"secretName": "other"}}]));
    assert_eq!(refusals(&sample, &pod)[0].0, Reason::CaSecret, "the name is the configuration's");
}

#[test]
fn our_own_volume_names_the_secret_only_beside_a_sidecar_of_ours() {
    let mut sample = Sample::new();
    sample.rendering.volumes[1] = json!({"name": "sandgate-ca", "secret": {"secretName": "sandbox-proxy-ca"}});
    assert_eq!(refusals(&sample, &sample.pod()), []);
    let reasons: Vec<_> =
        refusals(&sample, &without(&sample.pod(), SIDECAR)).into_iter().map(|(reason, _)| reason).collect();
    assert!(reasons.contains(&Reason::CaSecret) && reasons.contains(&Reason::ForeignVolume), "{reasons:?}");
}

#[test]
fn all_clashes_are_told_at_once_and_each_names_its_place() {
    let sample = Sample::new();
    let pod = with(&plain(), "/spec/volumes", json!([{"name": "sandgate-trust", "emptyDir": {}}]));
    let pod = with(&pod, "/spec/containers/0/ports", json!([{"containerPort": 8080}]));
    let pod = with(&pod, "/spec/containers/0/envFrom", json!([{"secretRef": {"name": "sandbox-proxy-ca"}}]));
    let pod = with(
        &pod,
        "/spec/initContainers",
        json!([{"name": "i", "volumeMounts": [{"name": "sandgate-ca", "mountPath": "/k"}]}]),
    );
    let reasons: Vec<_> = refusals(&sample, &pod).into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(reasons, [Reason::ForeignVolume, Reason::OurVolumeMounted, Reason::PortTaken, Reason::CaSecret]);
}

#[test]
fn what_no_pod_looks_like_is_refused_before_anything_is_overlooked_in_it() {
    let sample = Sample::new();
    let pod = with(&plain(), "/spec/containers/0/volumeMounts", json!({"name": "sandgate-ca", "mountPath": "/k"}));
    assert_eq!(refusals(&sample, &pod)[0].0, Reason::Malformed);
}
