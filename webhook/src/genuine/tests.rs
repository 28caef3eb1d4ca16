use serde_json::{Value, json};

use super::*;
use crate::names::{POLICY_ANNOTATION, RESOURCES_ANNOTATION};
use crate::sample::{Sample, with, without};

const SIDECAR: &str = "/spec/initContainers/0";

fn verdict(sample: &Sample, pod: &Value) -> String {
    match sidecar(&sample.situation(), pod) {
        Genuine::Absent => "absent".to_owned(),
        Genuine::Current { index } => format!("current {index}"),
        Genuine::Accepted { index, .. } => format!("accepted {index}"),
        Genuine::Ours { index, difference } => format!("ours {index}: {difference}"),
        Genuine::Foreign { place, difference } => format!("foreign {place}: {difference}"),
    }
}

/// The verdict on the sample's pod with one field of the sidecar changed.
fn changed(sample: &Sample, field: &str, value: Value) -> String {
    verdict(sample, &with(&sample.pod(), &format!("{SIDECAR}{field}"), value))
}

#[test]
fn what_this_configuration_makes_is_current_wherever_it_stands() {
    let sample = Sample::new();
    assert_eq!(verdict(&sample, &sample.pod()), "current 0");
    let mut pod = sample.pod();
    pod["spec"]["initContainers"].as_array_mut().unwrap().insert(0, json!({"name": "init"}));
    assert_eq!(verdict(&sample, &pod), "current 1");
    assert_eq!(verdict(&sample, &without(&sample.pod(), SIDECAR)), "absent");
    for odd in [json!(null), json!({}), json!({"spec": null}), json!({"spec": {"initContainers": null}})] {
        assert_eq!(verdict(&sample, &odd), "absent");
    }
}

#[test]
fn a_difference_in_any_field_is_named_with_both_values() {
    let sample = Sample::new();
    for (field, value, difference) in [
        ("/command", json!(["/bin/sh"]), r#"command[0] is "/bin/sh" instead of "/sandgate-sidecar""#),
        ("/args/-", json!("--allow=*"), r#"is "--allow=*" instead of absent"#),
        ("/args", json!(["serve"]), r#"args[1] is absent instead of "--no-env""#),
        ("/args", Value::Null, "args is absent instead of ["),
        ("/securityContext/runAsUser", json!(0), "securityContext.runAsUser is 0 instead of 10101"),
        ("/securityContext/privileged", json!(true), "securityContext.privileged is true instead of absent"),
        (
            "/securityContext/procMount",
            json!("Unmasked"),
            r#"securityContext.procMount is "Unmasked" instead of absent"#,
        ),
        ("/securityContext/capabilities/add", json!(["NET_ADMIN"]), "securityContext.capabilities.add is"),
        ("/securityContext/appArmorProfile", json!({"type": "Unconfined"}), "securityContext.appArmorProfile is"),
        ("/restartPolicy", json!("Never"), r#"restartPolicy is "Never" instead of "Always""#),
        ("/restartPolicyRules", json!([{"action": "Restart"}]), "restartPolicyRules is"),
        ("/lifecycle/postStart/exec/command", json!(["/bin/true"]), "lifecycle.postStart.exec.command[0] is"),
        ("/lifecycle/preStop", json!({"exec": {"command": ["x"]}}), "lifecycle.preStop is"),
        ("/lifecycle/stopSignal", json!("SIGUSR1"), "lifecycle.stopSignal is"),
        ("/lifecycle", Value::Null, "lifecycle is absent instead of"),
        ("/startupProbe", json!({"exec": {"command": ["x"]}}), "startupProbe is"),
        ("/readinessProbe/httpGet/host", json!("169.254.169.254"), "readinessProbe.httpGet.host is"),
        ("/livenessProbe/failureThreshold", json!(1), "livenessProbe.failureThreshold is 1 instead of"),
        ("/ports/0/hostPort", json!(8080), "ports[0].hostPort is 8080 instead of absent"),
        ("/ports/-", json!({"containerPort": 22}), "ports[2] is"),
        (
            "/env/-",
            json!({"name": "POD_NAME", "value": "x"}),
            r#"is {"name":"POD_NAME","value":"x"} instead of absent"#,
        ),
        ("/env/0", json!({"name": "POD_NAME", "value": "x"}), "env[0]."),
        ("/envFrom", json!([{"configMapRef": {"name": "x"}}]), "envFrom is"),
        ("/volumeMounts/-", json!({"name": "own", "mountPath": "/sandgate-sidecar"}), "is {"),
        ("/volumeMounts/0/subPath", json!("x"), "volumeMounts[0].subPath is"),
        ("/volumeMounts/0/mountPropagation", json!("Bidirectional"), "volumeMounts[0].mountPropagation is"),
        ("/volumeMounts/2/readOnly", json!(false), "volumeMounts[2].readOnly is absent instead of true"),
        ("/volumeDevices", json!([{"name": "x", "devicePath": "/dev/x"}]), "volumeDevices is"),
        ("/stdin", json!(true), "stdin is true instead of absent"),
        ("/tty", json!(true), "tty is true instead of absent"),
        ("/workingDir", json!("/tmp"), r#"workingDir is "/tmp" instead of absent"#),
        ("/imagePullPolicy", json!("Never"), r#"imagePullPolicy is "Never" instead of "IfNotPresent""#),
        ("/terminationMessagePath", json!("/run/sandgate/ca/ca.key"), "terminationMessagePath is"),
        ("/targetContainerName", json!("workload"), "targetContainerName is"),
        ("/a field of the future", json!({}), "a field of the future is {} instead of absent"),
    ] {
        let verdict = changed(&sample, field, value);
        assert!(verdict.starts_with("ours 0: ") && verdict.contains(difference), "{field}: {verdict}");
    }
}

#[test]
fn another_image_is_foreign_unless_it_is_one_of_ours() {
    let mut sample = Sample::new();
    sample.config.sidecar.accepted_images = vec!["mirror.example/sandgate@sha256:1234".to_owned()];
    for (image, expected) in [
        ("evil.example/auth-proxy:1", "foreign initContainers[0] \"auth-proxy\": image is"),
        ("ghcr.io/sandgate/sidecar-evil:1", "foreign"),
        ("ghcr.io/sandgate:5000/sidecar:1", "foreign"),
        ("", "foreign"),
        ("ghcr.io/sandgate/sidecar:0.0.1", "ours 0: image is"),
        ("ghcr.io/sandgate/sidecar", "ours 0: image is"),
        ("ghcr.io/sandgate/sidecar:1@sha256:ab", "ours 0: image is"),
        ("mirror.example/sandgate@sha256:1234", "accepted 0"),
        ("mirror.example/sandgate@sha256:5678", "foreign"),
    ] {
        let verdict = changed(&sample, "/image", json!(image));
        assert!(verdict.starts_with(expected), "{image}: {verdict}");
    }
}

#[test]
fn only_one_container_has_the_name_and_it_is_an_init_container() {
    let sample = Sample::new();
    let sidecar = sample.pod().pointer(SIDECAR).unwrap().clone();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let twice = with(&sample.pod(), &format!("/spec/{list}/-"), json!({"name": "auth-proxy"}));
        let verdict = verdict(&sample, &twice);
        assert!(verdict.starts_with("foreign") && verdict.ends_with("has the same name"), "{list}: {verdict}");
    }
    for list in ["containers", "ephemeralContainers"] {
        let pod = with(&without(&sample.pod(), SIDECAR), &format!("/spec/{list}/-"), sidecar.clone());
        let verdict = verdict(&sample, &pod);
        assert!(verdict.ends_with(&format!("it stands in {list} instead of initContainers")), "{verdict}");
    }
}

#[test]
fn our_volumes_are_each_there_once_with_our_content() {
    let sample = Sample::new();
    let pod = sample.pod();
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    for (index, volume) in volumes.iter().enumerate() {
        let name = volume["name"].as_str().unwrap();
        let pointer = format!("/spec/volumes/{index}");
        let mut other = json!({"name": name, "hostPath": {"path": "/"}});
        assert!(verdict(&sample, &without(&pod, &pointer)).contains(&format!("volume {name} is absent instead of")));
        assert!(verdict(&sample, &with(&pod, &pointer, other.clone())).contains(&format!("ours 0: volume {name}.")));
        other["name"] = name.into();
        let twice = with(&pod, "/spec/volumes/-", other);
        assert!(verdict(&sample, &twice).ends_with(&format!("volume {name} is there twice")));
    }
    let disk = with(&pod, "/spec/volumes/1/emptyDir/medium", json!(""));
    assert_eq!(verdict(&sample, &disk), r#"ours 0: volume sandgate-ca.emptyDir.medium is absent instead of "Memory""#);
    let more = with(&pod, "/spec/volumes/-", json!({"name": "sandgate-upstream-ca", "configMap": {"name": "x"}}));
    assert!(verdict(&sample, &more).contains("volume sandgate-upstream-ca is {"));
    let user = with(&pod, "/spec/volumes/-", json!({"name": "data", "emptyDir": {}}));
    assert_eq!(verdict(&sample, &user), "current 0");
}

#[test]
fn the_policys_volume_names_the_config_map_that_the_namespace_says() {
    let mut sample = Sample::new();
    let named = |pod: &Value, name: &str| with(pod, "/spec/volumes/2/configMap/name", json!(name));
    let annotated = with(&sample.pod(), "/metadata/annotations", json!({POLICY_ANNOTATION: "lax"}));
    assert!(verdict(&sample, &named(&sample.pod(), "lax")).contains(r#"configMap.name is "lax" instead of"#));
    assert!(verdict(&sample, &named(&annotated, "lax")).contains("ours 0: "), "the namespace does not allow it");
    sample.namespace.pod_policy = Some("allowed".to_owned());
    assert_eq!(verdict(&sample, &named(&annotated, "lax")), "current 0");
    assert!(verdict(&sample, &named(&annotated, "other")).contains(r#"is "other" instead of "lax""#));
    sample.namespace.policy = Some("strict".to_owned());
    assert_eq!(verdict(&sample, &named(&sample.pod(), "strict")), "current 0");
}

#[test]
fn resources_are_tolerated_within_bounds() {
    let sample = Sample::new();
    for (field, value, expected) in [
        ("/resources/requests/cpu", json!("5m"), "current 0"),
        ("/resources/requests/cpu", json!("4m"), r#"ours 0: resources.requests.cpu is "4m" instead of 5m to 4"#),
        ("/resources/requests/cpu", json!("4000m"), "current 0"),
        ("/resources/requests/cpu", json!("1e9"), r#"ours 0: resources.requests.cpu is "1e9" instead of 5m to 4"#),
        ("/resources/requests/cpu", json!(1), "current 0"),
        ("/resources/requests/cpu", json!(true), "ours 0: resources.requests.cpu is true instead of 5m to 4"),
        ("/resources/requests/memory", json!("2048Mi"), "current 0"),
        ("/resources/limits/memory", json!("1"), r#"ours 0: resources.limits.memory is "1" instead of 64Mi to 4Gi"#),
        ("/resources/limits/cpu", Value::Null, "ours 0: resources.limits.cpu is null instead of 50m to 8"),
        ("/resources/limits", json!({}), "ours 0: resources.limits.cpu is absent instead of 1"),
        ("/resources", Value::Null, "ours 0: resources.requests.cpu is absent instead of 10m"),
        ("/resources/limits/ephemeral-storage", json!("1Gi"), "current 0"),
        (
            "/resources/limits/example.com~1gpu",
            json!("1"),
            r#"ours 0: resources.limits.example.com/gpu is "1" instead of absent"#,
        ),
        (
            "/resources/claims",
            json!([{"name": "gpu"}]),
            r#"ours 0: resources.claims is [{"name":"gpu"}] instead of absent"#,
        ),
        ("/resources/claims", json!([]), "current 0"),
    ] {
        assert_eq!(changed(&sample, field, value.clone()), expected, "{field} {value}");
    }
}

#[test]
fn resources_out_of_bounds_are_genuine_where_the_namespace_says_them() {
    let mut sample = Sample::new();
    let pod = with(&sample.pod(), &format!("{SIDECAR}/resources/requests/cpu"), json!("1m"));
    assert!(verdict(&sample, &pod).starts_with("ours 0: resources.requests.cpu"));
    let own = with(&pod, "/metadata/annotations", json!({RESOURCES_ANNOTATION: r#"{"requests":{"cpu":"1m"}}"#}));
    assert!(verdict(&sample, &own).starts_with("ours 0: resources.requests.cpu"), "a pod stays within bounds");
    sample.namespace.sidecar_resources = Some(r#"{"requests":{"cpu":"1m"}}"#.to_owned());
    assert_eq!(verdict(&sample, &pod), "current 0");
}

#[test]
fn a_resize_policy_is_tolerated_as_api_servers_default_it() {
    let sample = Sample::new();
    let rule = |name: &str, policy: &str| json!({"resourceName": name, "restartPolicy": policy});
    let default = json!([rule("cpu", "NotRequired"), rule("memory", "NotRequired")]);
    assert_eq!(changed(&sample, "/resizePolicy", default), "current 0");
    for odd in [json!([rule("memory", "RestartContainer")]), json!([rule("gpu", "NotRequired")]), json!("x")] {
        assert!(changed(&sample, "/resizePolicy", odd).starts_with("ours 0: resizePolicy"));
    }
}

#[test]
fn defaults_of_the_api_server_are_tolerated_in_both_directions() {
    let sample = Sample::new();
    for (field, value) in [
        ("/stdin", json!(false)),
        ("/tty", Value::Null),
        ("/envFrom", json!([])),
        ("/securityContext/procMount", json!("Default")),
        ("/volumeMounts/0/recursiveReadOnly", json!("Disabled")),
        ("/volumeMounts/0/readOnly", json!(false)),
        ("/readinessProbe/initialDelaySeconds", json!(0)),
        ("/readinessProbe/successThreshold", Value::Null),
        ("/ports/0/protocol", Value::Null),
        ("/terminationMessagePath", Value::Null),
    ] {
        assert_eq!(changed(&sample, field, value), "current 0", "{field}");
    }
}

#[test]
fn variables_are_tolerated_by_name_and_never_one_that_the_sidecar_reads() {
    let mut sample = Sample::new();
    let names = ["AWS_ROLE_ARN", "POD_NAME", "SANDGATE_CA", "LD_PRELOAD"];
    let add = |sample: &Sample, name: &str| changed(sample, "/env/-", json!({"name": name, "value": "x"}));
    for name in names {
        assert!(add(&sample, name).starts_with("ours 0: env["), "{name}");
    }
    sample.config.sidecar.tolerated_env = names.map(ToOwned::to_owned).to_vec();
    assert_eq!(add(&sample, "AWS_ROLE_ARN"), "current 0");
    for name in ["POD_NAME", "SANDGATE_CA", "LD_PRELOAD", "AWS_ROLE_ARn"] {
        assert!(add(&sample, name).starts_with("ours 0: env["), "{name}");
    }
    let first = json!({"name": "AWS_ROLE_ARN", "value": "x"});
    let mut pod = sample.pod();
    pod.pointer_mut(&format!("{SIDECAR}/env")).unwrap().as_array_mut().unwrap().insert(0, first);
    assert_eq!(verdict(&sample, &pod), "current 0");
}

#[test]
fn mounts_are_tolerated_by_name_where_they_replace_nothing() {
    let mut sample = Sample::new();
    let add = |sample: &Sample, name: &str, path: &str| {
        changed(sample, "/volumeMounts/-", json!({"name": name, "mountPath": path}))
    };
    assert!(add(&sample, "mesh", "/var/run/mesh").starts_with("ours 0: volumeMounts["));
    sample.config.sidecar.tolerated_mounts = vec!["mesh".to_owned(), "sandgate-ca".to_owned()];
    assert_eq!(add(&sample, "mesh", "/var/run/mesh"), "current 0");
    for path in [
        "/",
        "/sandgate-sidecar",
        "/x/../sandgate-sidecar",
        "/run/sandgate",
        "/run//sandgate/ca/x",
        "/etc/sandgate/policy",
        "/etc",
        "/proc/self",
        "/dev",
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
    ] {
        assert!(add(&sample, "mesh", path).starts_with("ours 0: volumeMounts["), "{path}");
    }
    assert!(add(&sample, "sandgate-ca", "/elsewhere").starts_with("ours 0: volumeMounts["));
    assert!(add(&sample, "other", "/elsewhere").starts_with("ours 0: volumeMounts["));
}

#[test]
fn a_service_account_is_tolerated_only_where_nothing_of_ours_keeps_it_out() {
    let mut sample = Sample::new();
    let path = "/var/run/secrets/kubernetes.io/serviceaccount";
    let token = json!({"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}});
    let volume = json!({"name": "kube-api-access-x7k2p", "projected": {"sources": [token], "defaultMode": 420}});
    let mount = json!({"name": "kube-api-access-x7k2p", "mountPath": path, "readOnly": true});
    let mounted = |sample: &Sample, volume: &Value, mount: &Value| {
        let pod = with(&sample.pod(), "/spec/volumes/-", volume.clone());
        verdict(sample, &with(&pod, &format!("{SIDECAR}/volumeMounts/-"), mount.clone()))
    };
    assert!(mounted(&sample, &volume, &mount).starts_with("ours 0: volumeMounts["), "beside ours");
    let mounts = sample.rendering.container["volumeMounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["mountPath"] != path);
    assert_eq!(mounted(&sample, &volume, &mount), "current 0");
    let forged = json!({"name": "kube-api-access-x7k2p", "emptyDir": {}});
    assert!(mounted(&sample, &forged, &mount).starts_with("ours 0: volumeMounts["), "not a token");
    for (field, value) in
        [("mountPath", json!("/run")), ("readOnly", json!(false)), ("subPath", json!("x")), ("name", json!("x"))]
    {
        let mut odd = mount.clone();
        odd[field] = value;
        assert!(mounted(&sample, &volume, &odd).starts_with("ours 0: volumeMounts["), "{field}");
    }
}

#[test]
fn an_earlier_rendering_is_accepted_as_a_whole_until_it_is_withdrawn() {
    let mut sample = Sample::new();
    let earlier = sample.pod();
    let made = sample.rendering.clone();
    sample.rendering.container["args"].as_array_mut().unwrap().push(json!("--new"));
    sample.rendering.volumes[1]["emptyDir"]["sizeLimit"] = json!("2Mi");
    assert!(verdict(&sample, &earlier).starts_with("ours 0: args["));
    sample.accepted = vec![made.clone()];
    assert_eq!(verdict(&sample, &earlier), "accepted 0");
    assert_eq!(verdict(&sample, &sample.pod()), "current 0");
    let mixed = with(&sample.pod(), SIDECAR, earlier.pointer(SIDECAR).unwrap().clone());
    assert!(verdict(&sample, &mixed).starts_with("ours 0: "), "volumes of another rendering");
    sample.config.sidecar.withdrawn_renderings = vec![made.hash()];
    assert!(verdict(&sample, &earlier).starts_with("ours 0: args["));
}

#[test]
fn nothing_that_the_pod_says_of_itself_is_believed() {
    let sample = Sample::new();
    let pod = without(&sample.pod(), SIDECAR);
    let pod = with(&pod, "/metadata/annotations", json!({"sandgate.dev/status": "{\"version\":\"0.0.0\"}"}));
    let pod = with(&pod, "/metadata/labels", json!({"sandgate.dev/inject": "true", "sandgate.dev/injected": "true"}));
    assert_eq!(verdict(&sample, &pod), "absent");
    let forged = json!({"name": "auth-proxy", "image": "busybox", "restartPolicy": "Always"});
    assert!(verdict(&sample, &with(&pod, "/spec/initContainers/-", forged)).starts_with("foreign"));
}

#[test]
fn a_running_pod_keeps_its_sidecar_when_policy_and_resources_have_changed_since() {
    let mut sample = Sample::new();
    let pod = with(&sample.pod(), &format!("{SIDECAR}/resources/limits/cpu"), json!("1m"));
    sample.namespace.policy = Some("strict".to_owned());
    assert!(verdict(&sample, &pod).starts_with("ours 0: "));
    assert_eq!(running_sidecar(&sample.situation(), &pod), Genuine::Current { index: 0 });
    let forged = with(&pod, "/spec/volumes/2", json!({"name": "sandgate-policy", "emptyDir": {}}));
    assert!(matches!(running_sidecar(&sample.situation(), &forged), Genuine::Ours { .. }));
    let forged = with(&pod, &format!("{SIDECAR}/args"), json!(["serve"]));
    assert!(matches!(running_sidecar(&sample.situation(), &forged), Genuine::Ours { .. }));
}

/// Every place in `value`, as pointers below `pointer`.
fn places(pointer: &str, value: &Value, all: &mut Vec<String>) {
    all.push(pointer.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(field, value)| places(&format!("{pointer}/{}", pod::escaped(field)), value, all));
        }
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(index, value)| places(&format!("{pointer}/{index}"), value, all));
        }
        _ => {}
    }
}

/// Something else of the same kind.
fn another(value: &Value) -> Value {
    match value {
        Value::Null => json!("x"),
        Value::Bool(value) => json!(!value),
        Value::Number(number) => json!(number.as_i64().unwrap() + 1),
        Value::String(text) => json!(format!("{text}x")),
        Value::Array(elements) => elements.iter().cloned().chain([json!({"name": "x"})]).collect(),
        Value::Object(fields) => {
            let mut fields = fields.clone();
            fields.insert("another".to_owned(), json!("x"));
            fields.into()
        }
    }
}

#[test]
fn no_place_of_the_sidecar_or_of_our_volumes_can_change_or_leave_unnoticed_but_for_defaults_and_amounts() {
    let sample = Sample::new();
    let pod = sample.pod();
    let mut all = Vec::new();
    places(SIDECAR, pod.pointer(SIDECAR).unwrap(), &mut all);
    places("/spec/volumes", pod.pointer("/spec/volumes").unwrap(), &mut all);
    let unnoticed = |changed: &Value| verdict(&sample, changed).starts_with("current");
    let changed = all.iter().filter(|place| unnoticed(&with(&pod, place, another(pod.pointer(place).unwrap()))));
    let left = all.iter().filter(|place| *place != "/spec/volumes" && unnoticed(&without(&pod, place)));
    let short = |place: &String| place.trim_start_matches(SIDECAR).to_owned();
    assert_eq!(changed.map(short).collect::<Vec<_>>(), ["/spec/volumes"], "another volume that is not ours");
    assert_eq!(
        left.map(short).collect::<Vec<_>>(),
        [
            "/ports/0/protocol",
            "/ports/1/protocol",
            "/env/0/valueFrom/fieldRef/apiVersion",
            "/env/1/valueFrom/fieldRef/apiVersion",
            "/env/2/valueFrom/fieldRef/apiVersion",
            "/readinessProbe/httpGet/scheme",
            "/readinessProbe/successThreshold",
            "/readinessProbe/failureThreshold",
            "/livenessProbe/httpGet/scheme",
            "/livenessProbe/periodSeconds",
            "/livenessProbe/successThreshold",
            "/terminationMessagePath",
            "/spec/volumes/2/configMap/defaultMode",
        ],
        "absent, each is what it was"
    );
    assert!(all.len() > 120, "{}", all.len());
}

#[test]
fn an_image_may_be_pulled_always_and_never_less() {
    let sample = Sample::new();
    assert_eq!(changed(&sample, "/imagePullPolicy", json!("Always")), "current 0");
    for policy in [json!("Never"), Value::Null] {
        assert!(changed(&sample, "/imagePullPolicy", policy).starts_with("ours 0: imagePullPolicy"));
    }
}

#[test]
fn a_rendering_without_a_container_makes_nothing_genuine() {
    let mut sample = Sample::new();
    let pod = sample.pod();
    let bare = with(&without(&pod, SIDECAR), "/spec/initContainers/-", json!({"name": "auth-proxy"}));
    for empty in [Value::Null, json!({}), json!([])] {
        sample.rendering.container = empty;
        assert!(verdict(&sample, &pod).starts_with("ours 0: nothing is genuine"));
        assert!(verdict(&sample, &bare).starts_with("foreign"));
    }
}
