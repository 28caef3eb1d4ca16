//! `ca.mode: secret`.

use crate::stage::{Stage, config, container, is_injected, plain};

#[test]
fn with_ca_mode_secret_required_pods_have_the_secret_in_the_sidecar_alone_and_enabled_ones_are_refused() {
    let mut stage = Stage::alone();
    stage.end_all();
    stage.serve("secret", &config("ca: {mode: secret}\n"));
    let space = stage.namespace("ca-required", "required");
    let answer = space.pod(&plain("pod"));
    let pod = answer.accepted();
    is_injected(pod);
    let volume = pod["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "sandgate-ca");
    let secret = &volume.unwrap()["secret"];
    assert_eq!((&secret["secretName"], &secret["optional"]), (&"sandbox-proxy-ca".into(), &true.into()));
    let mounts = |list: &str, name: &str| container(pod, list, name).unwrap()["volumeMounts"].to_string();
    assert!(mounts("initContainers", "auth-proxy").contains("sandgate-ca"));
    assert!(!mounts("containers", "workload").contains("sandgate-ca"));

    let space = stage.namespace("ca-enabled", "enabled");
    let parts = ["ca.mode: secret is for required namespaces only", "sandgate.dev/inject=required", "ca.mode: pod"];
    space.pod(&plain("pod")).refused_with(&parts);
}
