//! The seccomp profile at work: a named list of system calls, each tried in the workload, and in a container without the
//! profile that is confined in all other ways.

use std::fs;
use std::process::Stdio;

use sandgate_images_test::{docker, repository};
use serde_json::Value;

use crate::sandbox::Sandbox;

const TRIED: &str = include_str!("system_calls.py");

/// What needs a capability: it is refused without the profile too, by the kernel itself.
const NEEDS_A_CAPABILITY: [&str; 17] = [
    "acct",
    "bpf",
    "chroot",
    "delete_module",
    "finit_module",
    "init_module",
    "kexec_load",
    "mount",
    "open_by_handle_at",
    "open_tree",
    "pivot_root",
    "quotactl",
    "reboot",
    "settimeofday",
    "swapon",
    "umount2",
    "socket AF_PACKET",
];

/// What each call met without the profile.
fn without_the_profile() -> Value {
    let mut command =
        docker(&["run", "--rm", "--interactive", "--network=none", "--user=20000:20000", "--cap-drop=ALL"]);
    command.args(["--security-opt=no-new-privileges", "--security-opt=seccomp=unconfined", "sandgate/sandbox:dev"]);
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("program"), TRIED).expect("it can be written");
    let program = fs::File::open(dir.path().join("program")).expect("it was written");
    let output = command.args(["python3", "-"]).stdin(Stdio::from(program)).output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn system_calls_that_ordinary_programs_do_not_need_are_refused() {
    let sandbox = Sandbox::shared();
    let (with, without) = (sandbox.python("workload", TRIED, &[]), without_the_profile());
    let mut by_the_profile_alone = 0;
    for (name, met) in with.as_object().expect("an object") {
        assert_eq!(met, "EPERM", "{name}");
        let open = without[name] != "EPERM";
        by_the_profile_alone += u32::from(open);
        assert!(
            open || NEEDS_A_CAPABILITY.contains(&name.as_str()),
            "{name} is refused by something else: {without:#}"
        );
    }
    assert!(by_the_profile_alone >= 15, "{by_the_profile_alone}: {without:#}");
}

#[test]
fn the_profile_names_what_it_allows_and_nothing_that_is_tried() {
    let profile: Value =
        serde_json::from_str(&fs::read_to_string(repository("compose/seccomp.json")).expect("it is there"))
            .expect("JSON");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    for group in profile["syscalls"].as_array().expect("groups") {
        assert!(group["comment"].as_str().is_some_and(|why| why.len() > 10), "{group}");
        let allowed = group["action"] == "SCMP_ACT_ALLOW";
        for name in group["names"].as_array().expect("names") {
            let tried = TRIED.contains(&format!("\n    {name}: ("));
            assert!(!(allowed && tried), "{name} is allowed, and tried as one that is not");
        }
    }
}
