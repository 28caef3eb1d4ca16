use serde_json::{Value, json};

use super::*;
use crate::sample::{Sample, with};

const WORKLOAD: &str = "/spec/containers/0";

fn refusals(pod: &Value) -> Vec<(Reason, String)> {
    let sample = Sample::new();
    check(&sample.situation(), pod).into_iter().map(|refusal| (refusal.reason, refusal.message)).collect()
}

/// The refusals of the sample's pod with one change, which must be `count`.
fn changed(pointer: &str, value: &Value, count: usize) -> Vec<(Reason, String)> {
    let refusals = refusals(&with(&Sample::new().pod(), pointer, value.clone()));
    assert_eq!(refusals.len(), count, "{pointer} {value}: {refusals:?}");
    refusals
}

#[test]
fn a_pod_that_we_made_evades_nothing_and_neither_does_an_empty_one() {
    for pod in [Sample::new().pod(), json!({"spec": {"containers": [{"name": "x"}]}}), json!({}), json!({"spec": null})]
    {
        assert_eq!(refusals(&pod), [], "{pod}");
    }
}

#[test]
fn what_pod_security_baseline_forbids_of_a_pod_is_refused() {
    for (pointer, value, text) in [
        ("/spec/hostNetwork", json!(true), "hostNetwork: true"),
        ("/spec/hostPID", json!(true), "hostPID: true"),
        ("/spec/hostIPC", json!(true), "hostIPC: true"),
        (
            "/spec/volumes/-",
            json!({"name": "node", "hostPath": {"path": "/proc"}}),
            r#""node" is a directory of the node"#,
        ),
        ("/spec/volumes/-", json!({"name": "node", "hostPath": {}}), "hostPath"),
        (
            "/spec/securityContext/seccompProfile",
            json!({"type": "Unconfined"}),
            "seccompProfile.type to \"Unconfined\"",
        ),
        ("/spec/securityContext/appArmorProfile", json!({"type": "Unconfined"}), "appArmorProfile.type"),
        ("/spec/securityContext/seLinuxOptions", json!({"type": "spc_t"}), "seLinuxOptions.type to \"spc_t\""),
        ("/spec/securityContext/seLinuxOptions", json!({"user": "system_u"}), "seLinuxOptions.user"),
        ("/spec/securityContext/seLinuxOptions", json!({"role": "system_r"}), "seLinuxOptions.role"),
        ("/spec/securityContext/windowsOptions", json!({"hostProcess": true}), "windowsOptions.hostProcess"),
        (
            "/spec/securityContext/sysctls",
            json!([{"name": "net.ipv4.ip_forward", "value": "1"}]),
            "net.ipv4.ip_forward",
        ),
        ("/spec/securityContext/sysctls", json!([{"value": "1"}]), "kernel parameter \"\""),
        (
            "/metadata/annotations",
            json!({"container.apparmor.security.beta.kubernetes.io/workload": "unconfined"}),
            "unconfined",
        ),
        ("/metadata/annotations", json!({"container.apparmor.security.beta.kubernetes.io/none": 1}), "the value 1"),
    ] {
        let found = changed(pointer, &value, 1);
        assert_eq!(found[0].0, Reason::Baseline);
        assert!(found[0].1.contains(text) && found[0].1.contains("baseline"), "{pointer}: {}", found[0].1);
    }
}

#[test]
fn a_volume_by_which_the_node_connects_to_where_the_author_says_is_refused() {
    for (kind, source) in [
        ("nfs", json!({"server": "evil.example", "path": "/"})),
        ("iscsi", json!({"targetPortal": "203.0.113.1", "iqn": "iqn.2026-01.example:x", "lun": 0})),
        ("cephfs", json!({"monitors": ["203.0.113.1"]})),
        ("gitRepo", json!({"repository": "https://evil.example/x"})),
        ("flexVolume", json!({"driver": "example/driver"})),
        ("a kind of the future", json!({})),
    ] {
        let found = changed("/spec/volumes/-", &json!({"name": "out", kind: source}), 1);
        assert_eq!(found[0].0, Reason::NodeVolume);
        assert!(found[0].1.contains(&format!(r#""out" is mounted by the node itself ({kind})"#)), "{}", found[0].1);
        changed("/spec/volumes/-", &json!({"name": "none", kind: null}), 0);
    }
    for kind in [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ] {
        changed("/spec/volumes/-", &json!({"name": "in", kind: {}}), 0);
    }
}

#[test]
fn what_pod_security_baseline_forbids_of_a_container_is_refused_in_every_list() {
    for (field, value, text) in [
        ("securityContext", json!({"privileged": true}), "is privileged"),
        ("securityContext", json!({"procMount": "Unmasked"}), "unmasks /proc"),
        ("securityContext", json!({"capabilities": {"add": ["CHOWN", "SYS_ADMIN"]}}), "adds capabilities (SYS_ADMIN)"),
        ("securityContext", json!({"capabilities": {"add": ["NET_RAW"]}}), "(NET_RAW)"),
        ("securityContext", json!({"capabilities": {"add": ["ALL"]}}), "(ALL)"),
        ("securityContext", json!({"capabilities": {"add": ["CAP_CHOWN"]}}), "(CAP_CHOWN)"),
        ("securityContext", json!({"capabilities": {"add": ["chown"]}}), "(chown)"),
        ("securityContext", json!({"capabilities": {"add": "SYS_ADMIN"}}), "adds capabilities"),
        ("securityContext", json!({"seccompProfile": {"type": "Unconfined"}}), "seccompProfile.type"),
        ("securityContext", json!({"appArmorProfile": {"type": "Unconfined"}}), "appArmorProfile.type"),
        ("securityContext", json!({"seLinuxOptions": {"type": "container_runtime_t"}}), "seLinuxOptions.type"),
        ("securityContext", json!({"windowsOptions": {"hostProcess": true}}), "hostProcess"),
        ("ports", json!([{"containerPort": 80, "hostPort": 80}]), "takes port 80 of the node"),
        ("livenessProbe", json!({"httpGet": {"port": 80, "host": "10.0.0.1"}}), "livenessProbe.httpGet.host"),
        ("readinessProbe", json!({"tcpSocket": {"port": 80, "host": "127.0.0.1"}}), "readinessProbe.tcpSocket.host"),
        ("startupProbe", json!({"httpGet": {"port": 80, "host": "x"}}), "startupProbe.httpGet.host"),
        ("lifecycle", json!({"preStop": {"httpGet": {"port": 80, "host": "x"}}}), "lifecycle.preStop.httpGet.host"),
        (
            "lifecycle",
            json!({"postStart": {"tcpSocket": {"port": 80, "host": "x"}}}),
            "lifecycle.postStart.tcpSocket.host",
        ),
    ] {
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            let found = changed(&format!("/spec/{list}/-"), &json!({"name": "extra", field: value}), 1);
            assert_eq!(found[0].0, Reason::Baseline);
            let message = &found[0].1;
            assert!(message.starts_with(list) && message.contains("\"extra\"") && message.contains(text), "{message}");
        }
    }
}

#[test]
fn what_pod_security_baseline_allows_is_let_in() {
    for (pointer, value) in [
        ("/spec/hostNetwork", json!(false)),
        ("/spec/hostUsers", json!(false)),
        ("/spec/securityContext", json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "x"}})),
        ("/spec/securityContext", json!({"appArmorProfile": {"type": "RuntimeDefault"}})),
        (
            "/spec/securityContext",
            json!({"seLinuxOptions": {"type": "container_engine_t", "level": "s0:c1", "user": ""}}),
        ),
        ("/spec/securityContext", json!({"windowsOptions": {"hostProcess": false}, "sysctls": null})),
        (
            "/spec/securityContext/sysctls",
            json!([{"name": "net.ipv4.tcp_rmem"}, {"name": "net.ipv4.tcp_keepalive_time"}]),
        ),
        ("/metadata/annotations", json!({"container.apparmor.security.beta.kubernetes.io/workload": "localhost/x"})),
        ("/spec/containers/0/securityContext", json!({"privileged": false, "procMount": "Default"})),
        (
            "/spec/containers/0/securityContext",
            json!({"capabilities": {"add": ["NET_BIND_SERVICE", "CHOWN"], "drop": ["ALL"]}}),
        ),
        ("/spec/containers/0/securityContext", json!({"capabilities": {"add": []}})),
        ("/spec/containers/0/ports", json!([{"containerPort": 80, "hostPort": 0}])),
        ("/spec/containers/0/livenessProbe", json!({"httpGet": {"port": 80, "host": ""}})),
        ("/spec/volumes/-", json!({"name": "x", "persistentVolumeClaim": {"claimName": "x"}})),
    ] {
        changed(pointer, &value, 0);
    }
}

#[test]
fn kubectl_debug_is_told_the_profile_that_gets_in() {
    let debug = |capabilities: Value| json!({"name": "debugger-x", "securityContext": {"capabilities": capabilities}});
    let found = changed("/spec/ephemeralContainers/-", &debug(json!({"add": ["SYS_PTRACE"]})), 1);
    assert_eq!(found[0].0, Reason::Baseline);
    assert!(found[0].1.contains("(SYS_PTRACE)") && found[0].1.contains("--profile=restricted"), "{}", found[0].1);
    changed("/spec/ephemeralContainers/-", &debug(json!({"drop": ["ALL"]})), 0);
    let copied = changed("/spec/containers/-", &debug(json!({"add": ["SYS_PTRACE"]})), 1);
    assert!(copied[0].1.contains("--copy-to") && copied[0].1.contains("--profile=restricted"), "{}", copied[0].1);
    let other = changed("/spec/containers/-", &debug(json!({"add": ["SYS_ADMIN"]})), 1);
    assert!(!other[0].1.contains("--profile"), "{}", other[0].1);
    let shared = changed("/spec/shareProcessNamespace", &json!(true), 1);
    assert!(shared[0].1.contains("--share-processes=false"), "{}", shared[0].1);
}

#[test]
fn one_process_namespace_for_all_is_refused() {
    assert_eq!(changed("/spec/shareProcessNamespace", &json!(true), 1)[0].0, Reason::SharedProcesses);
    changed("/spec/shareProcessNamespace", &json!(false), 0);
}

#[test]
fn an_ephemeral_container_may_join_the_processes_of_any_but_the_sidecar() {
    let target = |name: &str| json!({"name": "debugger", "targetContainerName": name});
    assert_eq!(changed("/spec/ephemeralContainers/-", &target("auth-proxy"), 1)[0].0, Reason::SidecarTarget);
    changed("/spec/ephemeralContainers/-", &target("workload"), 0);
    changed("/spec/ephemeralContainers/-", &target(""), 0);
}

#[test]
fn the_sidecars_uid_is_refused_where_a_container_gets_it() {
    let sample = Sample::new();
    let own = with(&sample.pod(), &format!("{WORKLOAD}/securityContext/runAsUser"), json!(10_101));
    assert_eq!(refusals(&own)[0].0, Reason::SidecarUid);
    let inherited = with(&sample.pod(), "/spec/securityContext/runAsUser", json!(10_101));
    let found = refusals(&inherited);
    assert!(found[0].1.contains("containers[0] \"workload\"") && found[0].1.contains("the pod's"), "{found:?}");
    assert_eq!(refusals(&with(&inherited, &format!("{WORKLOAD}/securityContext/runAsUser"), json!(1000))), []);
    assert_eq!(refusals(&with(&inherited, &format!("{WORKLOAD}/securityContext/runAsUser"), Value::Null)).len(), 1);
    let debugger =
        with(&own, "/spec/ephemeralContainers/-", json!({"name": "d", "securityContext": {"runAsUser": 10_101}}));
    assert_eq!(refusals(&debugger).len(), 2);
    for free in ["runAsGroup", "fsGroup"] {
        changed(&format!("/spec/securityContext/{free}"), &json!(10_101), 0);
    }
    changed("/spec/securityContext/supplementalGroups", &json!([10_101]), 0);
}

#[test]
fn nothing_of_a_containers_own_lies_at_or_below_the_trust_path() {
    for path in [
        "/etc/proxy-ca",
        "/etc/proxy-ca/",
        "/etc//proxy-ca",
        "/etc/./proxy-ca",
        "/etc/x/../proxy-ca",
        "/../etc/proxy-ca",
        "etc/proxy-ca",
        "/etc/proxy-ca/ca.crt",
        "/etc/proxy-ca/../proxy-ca/php",
    ] {
        for (field, value) in [
            ("volumeMounts", json!([{"name": "own", "mountPath": path}])),
            ("volumeMounts", json!([{"name": "own", "mountPath": path, "subPath": "x", "readOnly": true}])),
            ("volumeDevices", json!([{"name": "own", "devicePath": path}])),
            ("terminationMessagePath", json!(path)),
        ] {
            for list in ["initContainers", "containers", "ephemeralContainers"] {
                let found = changed(&format!("/spec/{list}/-"), &json!({"name": "extra", field: value}), 1);
                assert_eq!(found[0].0, Reason::TrustPath);
                assert!(found[0].1.contains("\"extra\"") && found[0].1.contains(field), "{}", found[0].1);
            }
        }
    }
    for path in
        ["/etc", "/", "/etc/proxy-ca2", "/etc/proxy-ca/..", "/etc/proxy-ca/../x", "/etc/proxy-cA", "/srv/etc/proxy-ca"]
    {
        changed(&format!("{WORKLOAD}/volumeMounts/-"), &json!({"name": "own", "mountPath": path}), 0);
    }
}

#[test]
fn all_evasions_are_told_at_once() {
    let pod = with(&Sample::new().pod(), "/spec/hostNetwork", json!(true));
    let pod = with(&pod, "/spec/shareProcessNamespace", json!(true));
    let pod = with(&pod, &format!("{WORKLOAD}/securityContext/privileged"), json!(true));
    let pod = with(&pod, &format!("{WORKLOAD}/terminationMessagePath"), json!("/etc/proxy-ca/ca.crt"));
    let reasons: Vec<_> = refusals(&pod).into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(reasons, [Reason::Baseline, Reason::SharedProcesses, Reason::Baseline, Reason::TrustPath]);
}
