//! What the containers may do: users, capabilities, seccomp, and what they can write and run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use sandgate_contract::{IMAGE_UID, TRUST_DIR};

use crate::sandbox::Sandbox;

/// `/proc/PID/status` of a process, by its fields.
fn fields(status: &str) -> BTreeMap<&str, &str> {
    status.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key, value.trim())).collect()
}

/// The status of a service's process: as it sees itself, or where it has no shell, as this machine sees it.
fn status(sandbox: &Sandbox, service: &str) -> String {
    if service == "workload" {
        return sandbox.says("cat /proc/self/status");
    }
    let process = sandbox.inspect(service)["State"]["Pid"].as_u64().expect("a process");
    fs::read_to_string(format!("/proc/{process}/status"))
        .expect("the engine runs on this machine, and the test as root")
}

#[test]
fn seccomp_filters_and_nothing_gives_privileges_back() {
    let sandbox = Sandbox::shared();
    for service in ["workload", "sidecar"] {
        let status = status(&sandbox, service);
        let fields = fields(&status);
        assert_eq!((fields["Seccomp"], fields["NoNewPrivs"]), ("2", "1"), "{service}: {status}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(fields[set], "0000000000000000", "{service}: {set}");
        }
    }
}

#[test]
fn the_workload_is_another_user_than_the_sidecar() {
    let sandbox = Sandbox::shared();
    let users = |service| -> BTreeSet<String> {
        let status = status(&sandbox, service);
        let fields = fields(&status);
        ["Uid", "Gid", "Groups"].iter().flat_map(|ids| fields[ids].split_whitespace()).map(str::to_owned).collect()
    };
    let (workload, sidecar) = (users("workload"), users("sidecar"));
    assert!(workload.is_disjoint(&sidecar), "{workload:?} and {sidecar:?}");
    assert_eq!(sidecar, BTreeSet::from([IMAGE_UID.to_string()]));
    assert!(!workload.contains("0"), "{workload:?}");
}

#[test]
fn the_workload_sees_no_process_but_its_own() {
    let seen = Sandbox::shared().says("cat /proc/[0-9]*/comm");
    assert!(seen.contains("sleep") && !seen.contains("sandgate"), "{seen}");
}

#[test]
fn they_share_the_trust_files_alone_and_only_the_sidecar_can_write_them() {
    let sandbox = Sandbox::shared();
    let mounts = sandbox.inspect("workload")["Mounts"].take();
    let mounts = mounts.as_array().expect("mounts");
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    assert_eq!((&mounts[0]["Destination"], &mounts[0]["RW"]), (&TRUST_DIR.into(), &false.into()));
    let said = sandbox.exec("workload", &["sh", "-c", &format!("cd {TRUST_DIR} && ls && touch new")]);
    assert!(said.out.contains("bundle.crt") && said.err.contains("Read-only file system"), "{said:#?}");
    let private = sandbox.exec("workload", &["sh", "-c", "find / -name ca.key 2>/dev/null"]);
    assert_eq!(private.out, "", "the CA's key");
}

/// The mounts of the workload that are not the kernel's own: where, and with which options.
fn mounts(sandbox: &Sandbox) -> Vec<(String, BTreeSet<String>)> {
    let said = sandbox.says("cat /proc/self/mounts");
    let of_kernel = ["proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"];
    let words = said.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let others = words.filter(|words| !of_kernel.contains(&words[2]));
    others.map(|words| (words[1].to_owned(), words[3].split(',').map(str::to_owned).collect())).collect()
}

#[test]
fn the_root_is_read_only_and_what_can_be_written_runs_nothing() {
    let sandbox = Sandbox::shared();
    let said = sandbox.exec("workload", &["touch", "/etc/new", "/usr/new", "/var/tmp/new", "/home/new"]);
    assert_eq!(said.err.matches("Read-only file system").count(), 4, "{said:#?}");

    let mounts = mounts(&sandbox);
    let options = |at: &str| mounts.iter().find(|(path, _)| path == at).map(|(_, options)| options);
    assert!(options("/").is_some_and(|options| options.contains("ro")), "{mounts:?}");
    // The engine mounts a volume with "ro" alone; no file in this one can be run, and none of another user be made.
    assert!(options(TRUST_DIR).is_some_and(|options| options.contains("ro")), "{mounts:?}");
    for at in ["/tmp", "/run", "/dev/shm"] {
        let options = options(at).unwrap_or_else(|| panic!("nothing is mounted at {at}: {mounts:?}"));
        for option in ["noexec", "nosuid", "nodev"] {
            assert!(options.contains(option), "{at} without {option}: {options:?}");
        }
    }
    // No other place where its user can write, whatever its mount says; where the kernel's own are hidden, /dev/null is.
    for (at, _) in mounts.iter().filter(|(at, _)| !["/tmp", "/dev/shm"].contains(&at.as_str())) {
        let said = sandbox.exec("workload", &["test", "!", "-c", at, "-a", "-w", at]);
        assert_eq!(said.code, Some(1), "{at} can be written");
    }
}

#[test]
fn what_was_written_cannot_be_run() {
    let sandbox = Sandbox::shared();
    for at in ["/tmp", "/dev/shm"] {
        let line = format!("cp /bin/true {at}/one && chmod 0755 {at}/one && {at}/one");
        let said = sandbox.exec("workload", &["sh", "-c", &line]);
        assert!(said.code == Some(126) && said.err.contains("Permission denied"), "{at}: {said:#?}");
    }
}
