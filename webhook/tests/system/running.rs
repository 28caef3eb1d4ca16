//! Pods that are there, while the webhook serves: what changes, what does not, and what comes back.

use serde_json::json;

use crate::kubectl::Printed;
use crate::stage::{Space, Stage, eventually, is_injected, plain};

/// Refused by an admission policy, which takes effect a moment after it was applied.
#[track_caller]
fn is_refused(what: &str, parts: &[&str], act: impl Fn() -> Printed) {
    eventually(what, || {
        let printed = act();
        let refused = !printed.succeeded && parts.iter().all(|part| printed.errors.contains(part));
        if refused { Ok(()) } else { Err(format!("{} {}", printed.output, printed.errors)) }
    });
}

#[test]
fn the_sidecar_of_a_running_pod_stays_as_it_was_and_nobody_enters_it() {
    let space = Stage::shared().namespace("running", "required");
    let pod = space.pod(&plain("pod"));
    let sidecar = pod.accepted()["spec"]["initContainers"][0].clone();
    // A dry run, so that a policy which is not in force yet lets nothing through.
    let image = || space.kubectl("set image pod/pod auth-proxy=other --dry-run=server");
    is_refused("set image", &["the sidecar auth-proxy of a running pod can't be changed"], image);
    let small = json!({"spec": {"initContainers": [{"name": "auth-proxy", "resources": {"limits": {"cpu": "1m"},
        "requests": {"cpu": "1m"}}}]}});
    let resize =
        || space.kubectl(&format!("patch pod pod --subresource=resize --dry-run=server -p {}", compact(&small)));
    is_refused("resize", &["sidecar-unchanged.sandgate.dev", "neither its image nor its resources"], resize);
    let exec = || space.kubectl("exec pod -c auth-proxy -- true");
    is_refused("exec", &["nobody enters the sidecar auth-proxy"], exec);
    let attach = || space.kubectl("attach pod -c auth-proxy");
    is_refused("attach", &["nobody enters the sidecar auth-proxy"], attach);
    // The workload's image is its owner's.
    space.kubectl("set image pod/pod workload=busybox:2").accepted();
    let pod = space.stage.get(&space.path("pods/pod"));
    assert_eq!(pod.accepted()["spec"]["initContainers"][0], sidecar);
    assert_eq!(pod.body["spec"]["containers"][0]["image"], "busybox:2");
}

/// Without spaces, for a command line that is split at them.
fn compact(value: &serde_json::Value) -> String {
    let text = value.to_string();
    assert!(!text.contains(' '));
    text
}

#[test]
fn a_pod_that_comes_back_with_its_sidecar_has_it_made_anew() {
    let stage = Stage::shared();
    for mode in ["enabled", "required"] {
        let space = stage.namespace(&format!("back-{mode}"), mode);
        let made = space.pod(&plain("pod"));
        let kept = space.kubectl("get pod pod -o json").accepted().output;
        space.kubectl_with("replace --force --grace-period=0 -f -", &kept).accepted();
        is_the_same(&space, made.accepted());
        // A backup of another version has another image of ours, and what it needs besides.
        let older = kept.replace("/sidecar:0.1.0", "/sidecar:0.0.9").replace("--proxy-port=8080", "--proxy-port=8888");
        assert_ne!(older, kept);
        space.kubectl_with("replace --force --grace-period=0 -f -", &older).accepted();
        is_the_same(&space, made.accepted());
    }
}

/// The pod, but for what the API server names at random.
#[track_caller]
fn is_the_same(space: &Space<'_>, made: &serde_json::Value) {
    let pod = space.stage.get(&space.path("pods/pod"));
    is_injected(pod.accepted());
    assert_eq!(pod.body["spec"]["initContainers"], made["spec"]["initContainers"]);
    assert_eq!(pod.body["spec"]["containers"][0]["env"], made["spec"]["containers"][0]["env"]);
    let names = |pod: &serde_json::Value| {
        let volumes = pod["spec"]["volumes"].as_array().unwrap().iter().map(|volume| volume["name"].to_string());
        let mut names: Vec<String> = volumes.filter(|name| name.contains("sandgate-")).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&pod.body), names(made));
}
