//! Changing and entering the sidecar of a pod that runs, by whoever has ClusterRole `edit`, and the rights to resize pods and
//! to debug them.

use sandgate_kind_test::kubectl::{Printed, kubectl, kubectl_within};
use sandgate_kind_test::objects::{WORKLOAD_IMAGE, pod};
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::{Space, container_of, status_of};
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::eventually;

pub(crate) const TESTS: &[Test] = tests!(Shared:
    the_image_of_a_running_sidecar_can_not_be_changed,
    a_running_sidecar_can_not_be_resized,
    nobody_enters_the_sidecar_with_exec_or_attach,
    no_ephemeral_container_targets_the_sidecar,
);

/// A pod that runs in an enabled namespace, where nothing of this is guarded, and one in a required namespace; both are
/// worked on by `builder`.
fn both(stage: &Stage) -> [Space; 2] {
    ["enabled", "required"].map(|mode| {
        let space = stage.namespace(mode);
        let _bound = space.kubectl("create rolebinding builder --clusterrole=edit --user=builder").accepted();
        let more = "create role more --verb=get,patch,update --resource=pods/resize,pods/ephemeralcontainers";
        let _more = space.kubectl(more).accepted();
        let _bound = space.kubectl("create rolebinding more --role=more --user=builder").accepted();
        space.start(&pod("one"));
        space
    })
}

fn as_builder(space: &Space, line: &str) -> Printed {
    space.kubectl(&format!("--as=builder {line}"))
}

fn the_image_of_a_running_sidecar_can_not_be_changed(stage: &Stage) {
    let [enabled, required] = both(stage);
    let change = format!("set image pod/one auth-proxy={WORKLOAD_IMAGE}");
    let _changed = as_builder(&enabled, &change).accepted();
    eventually("the kubelet runs the other image", || {
        let status = status_of(&enabled.pod("one"), "auth-proxy");
        if status["restartCount"] == 0 { Err(status.to_string()) } else { Ok(()) }
    });
    as_builder(&required, &change).refused_with(&["the sidecar auth-proxy of a running pod can't be changed"]);
    let _other = as_builder(&required, "set image pod/one workload=sandgate/kind-origin:dev").accepted();
}

fn a_running_sidecar_can_not_be_resized(stage: &Stage) {
    let [enabled, required] = both(stage);
    let own = r#"{"spec":{"initContainers":[{"name":"auth-proxy","resources":{"requests":{"cpu":"1m"},"limits":{"cpu":"10m"}}}]}}"#;
    // Which bounds the sidecar too.
    let whole = r#"{"spec":{"resources":{"limits":{"memory":"512Mi"}}}}"#;
    let resize = |space: &Space, patch: &str| {
        let words = ["-n", &space.name, "--as=builder", "patch", "pod", "one", "--subresource=resize", "-p", patch];
        kubectl(&words, "")
    };
    let _resized = resize(&enabled, own).accepted();
    eventually("the sidecar is starved", || {
        let limit = status_of(&enabled.pod("one"), "auth-proxy")["resources"]["limits"]["cpu"].take();
        if limit == "10m" { Ok(()) } else { Err(limit.to_string()) }
    });
    let _resized = resize(&enabled, whole).accepted();
    resize(&required, own).refused_with(&["sidecar auth-proxy of a running pod can't be changed"]);
    resize(&required, whole).refused_with(&["limits of the whole pod can't be lowered"]);
    assert_eq!(container_of(&required.pod("one"), "auth-proxy")["resources"]["limits"]["cpu"], "1");
}

fn nobody_enters_the_sidecar_with_exec_or_attach(stage: &Stage) {
    let [enabled, required] = both(stage);
    let exec = "exec one -c auth-proxy -- /sandgate-sidecar --version";
    as_builder(&enabled, exec).accepted().shows(&["sandgate-sidecar"]);
    as_builder(&required, exec).refused_with(&["nobody enters the sidecar auth-proxy"]);
    kubectl(&["-n", &required.name, "exec", "one", "-c", "auth-proxy", "--", "/sandgate-sidecar"], "")
        .refused_with(&["nobody enters the sidecar auth-proxy"]);
    as_builder(&required, "attach one -c auth-proxy").refused_with(&["nobody enters the sidecar auth-proxy"]);
    // Where it is let in, it stays until the container has something to say, or somebody ends it.
    let words = ["-n", &enabled.name, "--as=builder", "attach", "one", "-c", "auth-proxy"];
    let attached = kubectl_within("5", &words, "");
    assert!(!attached.errors.contains("forbidden") && !attached.errors.contains("rror"), "{attached:?}");
}

fn no_ephemeral_container_targets_the_sidecar(stage: &Stage) {
    let [enabled, required] = both(stage);
    let line = |profile: &str| {
        format!(
            "debug pod/one --image={WORKLOAD_IMAGE} --attach=false --container=thief --target=auth-proxy \
             --profile={profile} -- grep -rl PRIVATE /proc/1/root/run/sandgate/ca"
        )
    };
    // With SYS_PTRACE, which only an unguarded namespace admits, it finds the key.
    let _started = as_builder(&enabled, &line("general")).accepted();
    eventually("the thief has ended", || {
        let status = status_of(&enabled.pod("one"), "thief");
        if status["state"]["terminated"].is_object() { Ok(()) } else { Err(status.to_string()) }
    });
    assert!(enabled.logs("one", "thief").contains("/run/sandgate/ca/"), "{}", enabled.logs("one", "thief"));
    as_builder(&required, &line("general")).refused_with(&["SYS_PTRACE"]);
    as_builder(&required, &line("restricted")).refused_with(&["\"thief\"", "auth-proxy", "could read its key"]);
}
