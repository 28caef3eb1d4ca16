//! The key of the sidecar's CA: whoever has it reads and changes what other programs of the pod send.

use sandgate_kind_test::kubectl::kubectl;
use sandgate_kind_test::objects::{WORKLOAD_IMAGE, pod, pod_of, running, with};
use sandgate_kind_test::runner::Test;
use sandgate_kind_test::space::{Space, status_of};
use sandgate_kind_test::stage::Stage;
use sandgate_kind_test::tests;
use sandgate_kind_test::wait::eventually;
use serde_json::{Value, json};

pub(crate) const TESTS: &[Test] = tests!(Shared:
    a_root_workload_finds_no_key_in_any_mount_or_process,
    shared_processes_and_a_setuid_program_read_an_ordinary_neighbours_files_but_not_the_sidecars,
    our_key_volume_can_not_be_mounted_by_name,
    the_cas_secret_can_not_be_named,
    the_sidecar_has_no_api_token,
);

/// Looks for a private key in all files of all mounts but the system's own, and through /proc of all processes; prints
/// the files that have one, and how many it read.
const SEARCH: &str = r#"
mounts=$(awk '$3 !~ /^(proc|sysfs|cgroup|cgroup2|mqueue|devpts)$/ {print $2}' /proc/mounts | grep -v '^/proc\|^/sys')
count=0
for root in $mounts /proc/[0-9]*/root/run /proc/[0-9]*/root/certs; do
    files=$(find "$root" -xdev -type f -size -2048k -not -path '/usr/*' 2>/dev/null)
    for file in $files; do
        count=$((count + 1))
        if grep -qs -e '-----BEGIN [A-Z ]*[P]RIVATE KEY' "$file"; then echo "KEY $file"; fi
    done
done
for process in /proc/[0-9]*; do
    grep -qs '[P]RIVATE KEY' "$process/environ" "$process/cmdline" && echo "KEY $process"
done
echo "read $count"
"#;

fn search(space: &Space, pod: &str) -> String {
    let printed = space.sh(pod, SEARCH).accepted().output;
    let read = printed.lines().last().and_then(|line| line.strip_prefix("read ")).map(|count| count.parse::<u32>());
    assert!(matches!(read, Some(Ok(count)) if count > 50), "the search read files: {printed}");
    printed
}

fn a_root_workload_finds_no_key_in_any_mount_or_process(stage: &Stage) {
    // Where nobody keeps it from mounting the volume, the search finds the key.
    let unguarded = made_by_the_webhook_then_changed(stage, |spec| {
        let mounts = spec["containers"][0]["volumeMounts"].as_array_mut().unwrap();
        mounts.push(json!({"name": "sandgate-ca", "mountPath": "/key"}));
    });
    assert!(search(&unguarded, "one").contains("KEY /key/"));
    for mode in ["required", "enabled"] {
        let space = stage.namespace(mode);
        space.start(&pod("one"));
        assert_eq!(space.sh("one", "id -u").accepted().output, "0");
        let found = search(&space, "one");
        assert!(!found.contains("KEY"), "{found}");
    }
}

/// The very pod that the webhook makes, in a namespace that nobody watches, with a change.
fn made_by_the_webhook_then_changed(stage: &Stage, change: impl FnOnce(&mut Value)) -> Space {
    let required = stage.namespace("required");
    let made = required.kubectl_with("create --dry-run=server -o json -f -", &pod("one").to_string()).accepted();
    let mut made: Value = serde_json::from_str(&made.output).unwrap();
    let mut spec = crate::cleaned(made["spec"].take());
    change(&mut spec);
    let space = stage.namespace("");
    space.start(&pod_of("one", spec));
    space
}

fn shared_processes_and_a_setuid_program_read_an_ordinary_neighbours_files_but_not_the_sidecars(stage: &Stage) {
    // An ordinary process of the sidecar's user, beside a workload of another user with a setuid program.
    let mut neighbour = running("neighbour", "echo secret >/tmp/secret && exec idle");
    neighbour["securityContext"] = json!({"runAsUser": 10101, "runAsGroup": 10101});
    let mut workload = running("workload", "exec idle");
    workload["securityContext"] = json!({"runAsUser": 1000});
    let spec = json!({"shareProcessNamespace": true, "containers": [workload, neighbour]});
    let space = stage.namespace("enabled");
    space.start(&pod_of("one", spec.clone()));
    let read = "for process in /proc/[0-9]*; do cat-as-sidecar $process/root/tmp/secret; done 2>/dev/null; true";
    assert!(space.sh("one", read).accepted().output.contains("secret"), "the attack works on an ordinary neighbour");
    // The sidecar of the same pod is seen, and hides all that it has.
    space.sh("one", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").accepted().shows(&["sandgate-sidecar serve"]);
    let key = "for process in /proc/[0-9]*; do cat-as-sidecar $process/root/run/sandgate/ca/ca/authorities.pem; done 2>/dev/null; true";
    assert_eq!(space.sh("one", key).accepted().output, "");
    let required = stage.namespace("required");
    required.try_apply(&pod_of("one", spec)).refused_with(&["shareProcessNamespace is true", "UID 10101"]);
}

fn our_key_volume_can_not_be_mounted_by_name(stage: &Stage) {
    let unguarded = made_by_the_webhook_then_changed(stage, |spec| {
        let mounts = spec["containers"][0]["volumeMounts"].as_array_mut().unwrap();
        mounts.push(json!({"name": "sandgate-ca", "mountPath": "/key"}));
    });
    unguarded.sh("one", "cat /key/ca/authorities.pem").accepted().shows(&["PRIVATE KEY"]);
    let mut mounting = pod("one");
    mounting["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "sandgate-ca", "mountPath": "/key"}]);
    for mode in ["required", "enabled"] {
        let refused = stage.namespace(mode).try_apply(&mounting);
        refused.refused_with(&["uses Sandgate's volume \"sandgate-ca\" in volumeMounts", "the sidecar's alone"]);
    }
}

fn the_cas_secret_can_not_be_named(stage: &Stage) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sandbox-proxy-ca"},
        "stringData": {"tls.key": "the key of the CA"}});
    let key = json!({"secretKeyRef": {"name": "sandbox-proxy-ca", "key": "tls.key"}});
    let mut naming = pod("one");
    naming["spec"]["containers"][0]["env"] = json!([{"name": "KEY", "valueFrom": key}]);
    let unguarded = stage.namespace("");
    unguarded.apply(&secret);
    unguarded.start(&naming);
    assert_eq!(unguarded.sh("one", "echo $KEY").accepted().output, "the key of the CA");
    for mode in ["required", "enabled"] {
        let space = stage.namespace(mode);
        space.apply(&secret);
        space.try_apply(&naming).refused_with(&["names the Secret \"sandbox-proxy-ca\" in env"]);
        let projected = json!([{"name": "own", "projected": {"sources": [{"secret": {"name": "sandbox-proxy-ca"}}]}}]);
        let volume = with(pod("one"), &json!({"spec": {"volumes": projected}}));
        space.try_apply(&volume).refused_with(&["volumes[0] \"own\" names the Secret"]);
    }
}

fn the_sidecar_has_no_api_token(stage: &Stage) {
    // In an enabled namespace an admin's debugger, with SYS_PTRACE, sees what the sidecar sees.
    let space = stage.namespace("enabled");
    space.start(&pod("one"));
    let listing = |name: &str, target: &str| {
        let script =
            "cd /proc/1/root && ls sandgate-sidecar bin; find run var/run/secrets -name 'token*' | grep /token";
        let line = format!(
            "debug pod/one --image={WORKLOAD_IMAGE} --attach=false --container={name} --target={target} --profile=general --"
        );
        let words: Vec<&str> =
            ["-n", &space.name].into_iter().chain(line.split_whitespace()).chain(["sh", "-c", script]).collect();
        let _started = kubectl(&words, "").accepted();
        eventually("the debugger has ended", || {
            let status = status_of(&space.pod("one"), name);
            if status["state"]["terminated"].is_object() { Ok(()) } else { Err(status.to_string()) }
        });
        space.logs("one", name)
    };
    let listed = listing("of-the-workload", "workload");
    assert!(listed.contains("/token"), "this way a token is seen: {listed}");
    let listed = listing("of-the-sidecar", "auth-proxy");
    assert!(listed.contains("sandgate-sidecar") && !listed.contains("/token"), "{listed}");
}
