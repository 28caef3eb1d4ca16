//! Ephemeral containers by kubectl, in pods of a required namespace.

use crate::stage::{Stage, is_equipped, is_injected, labelled, plain};

const DEBUG: &str = "debug pod/pod --image=busybox --attach=false --container=debugger";

#[test]
fn kubectl_debug_with_the_restricted_profile_gets_the_environment() {
    let space = Stage::shared().namespace("debug-restricted", "required");
    is_injected(space.pod(&plain("pod")).accepted());
    let printed = space.kubectl(&format!("{DEBUG} --profile=restricted --target=workload")).accepted();
    assert!(!printed.errors.contains("lacks"), "{}", printed.errors);
    let pod = space.stage.get(&space.path("pods/pod"));
    let debugger = &pod.accepted()["spec"]["ephemeralContainers"][0];
    assert_eq!(debugger["targetContainerName"], "workload");
    assert!(is_equipped(debugger), "{debugger}");
    // A second one leaves the first as it is, which nobody may change.
    let second = format!("{DEBUG}-2 --profile=restricted");
    space.kubectl(&second).accepted();
    let pod = space.stage.get(&space.path("pods/pod"));
    assert_eq!(&pod.accepted()["spec"]["ephemeralContainers"][0], debugger);
    assert!(is_equipped(&pod.body["spec"]["ephemeralContainers"][1]));
}

#[test]
fn plain_kubectl_debug_is_refused_with_the_way_that_works() {
    let space = Stage::shared().namespace("debug-plain", "required");
    space.pod(&plain("pod")).accepted();
    let parts = ["required.inject.sandgate.dev", "\"debugger\"", "SYS_PTRACE", "--profile=restricted"];
    space.kubectl(DEBUG).refused_with(&parts);
    let target = format!("{DEBUG} --profile=restricted --target=auth-proxy");
    space.kubectl(&target).refused_with(&["\"debugger\"", "auth-proxy"]);
    let pod = space.stage.get(&space.path("pods/pod"));
    assert!(pod.accepted()["spec"].get("ephemeralContainers").is_none());
}

#[test]
fn a_copy_by_kubectl_debug_has_its_sidecar_made_anew() {
    let space = Stage::shared().namespace("debug-copy", "required");
    space.pod(&plain("pod")).accepted();
    let copy = "debug pod/pod --copy-to=copy --image=busybox --container=debugger --attach=false --profile=restricted";
    space.kubectl(copy).refused_with(&["shareProcessNamespace is true", "--share-processes=false"]);
    space.kubectl(&format!("{copy} --share-processes=false")).accepted();
    let pod = space.stage.get(&space.path("pods/copy"));
    is_injected(pod.accepted());
    assert_eq!(pod.body["spec"]["containers"].as_array().unwrap().len(), 2);
    let volumes = pod.body["spec"]["volumes"].as_array().unwrap();
    assert_eq!(volumes.iter().filter(|volume| volume["name"] == "sandgate-trust").count(), 1);
}

#[test]
fn outside_of_required_namespaces_plain_kubectl_debug_works_and_has_the_environment_where_the_pod_has_the_sidecar() {
    let stage = Stage::shared();
    let enabled = stage.namespace("debug-enabled", "enabled");
    let unlabelled = stage.namespace("debug-unlabelled", "");
    let cases = [(&enabled, plain("pod"), true), (&enabled, labelled("out", "false"), false)];
    let asked = [(&unlabelled, labelled("asked", "true"), true), (&unlabelled, plain("pod"), false)];
    for (space, pod, injected) in cases.into_iter().chain(asked) {
        let name = pod["metadata"]["name"].as_str().unwrap();
        space.pod(&pod).accepted();
        let debug = format!("debug pod/{name} --image=busybox --attach=false --container=debugger");
        space.kubectl(&debug).accepted();
        let pod = stage.get(&space.path(&format!("pods/{name}")));
        let debugger = &pod.accepted()["spec"]["ephemeralContainers"][0];
        assert_eq!(is_equipped(debugger), injected, "{} {name}", space.name);
    }
}
