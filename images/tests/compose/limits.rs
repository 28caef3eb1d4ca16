//! How much the workload may take: memory, processes and processor time, as the kernel has it, and tried.

use crate::sandbox::Sandbox;

const MEMORY: u64 = 1 << 30;
const PROCESSES: u64 = 256;

/// Where the kernel has a limit: with cgroups of version 2, and of version 1.
fn limit(sandbox: &Sandbox, version_2: &str, version_1: &str) -> String {
    let line = format!("cat /sys/fs/cgroup/{version_2} 2>/dev/null || cat /sys/fs/cgroup/{version_1}");
    sandbox.says(&line).trim().to_owned()
}

#[test]
fn memory_has_a_limit_and_who_takes_more_is_ended() {
    let sandbox = Sandbox::shared();
    assert_eq!(limit(&sandbox, "memory.max", "memory/memory.limit_in_bytes"), MEMORY.to_string());
    let take = |bytes: u64| sandbox.exec("workload", &["python3", "-c", &format!("print(len(b'x' * {bytes}))")]);
    assert_eq!(take(MEMORY / 4).code, Some(0));
    let said = take(MEMORY + MEMORY / 4);
    assert_eq!(said.code, Some(137), "{said:#?}");
}

#[test]
fn processes_have_a_limit() {
    let sandbox = Sandbox::shared();
    assert_eq!(limit(&sandbox, "pids.max", "pids/pids.max"), PROCESSES.to_string());
    let program = "
import json, os, signal
children = []
try:
    while len(children) < 2000:
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
    refused = None
except OSError as error:
    refused = error.strerror
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
print(json.dumps([len(children), refused]))
";
    let said = sandbox.python("workload", program, &[]);
    assert_eq!(said[1], "Resource temporarily unavailable", "{said}");
    assert!(said[0].as_u64().is_some_and(|children| (100..PROCESSES).contains(&children)), "{said}");
}

#[test]
fn processor_time_has_a_limit() {
    let sandbox = Sandbox::shared();
    let said = sandbox.says("cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us");
    let numbers: Vec<u64> =
        said.split_whitespace().map(|word| word.parse().expect("a number, so there is a limit")).collect();
    assert_eq!(numbers[0], numbers[1], "one processor: {said}");
}

#[test]
fn the_sidecar_has_limits_too() {
    let limits = Sandbox::shared().inspect("sidecar")["HostConfig"].take();
    assert_eq!(limits["Memory"], 128 << 20);
    assert_eq!(limits["MemorySwap"], limits["Memory"]);
    assert_eq!((&limits["NanoCpus"], &limits["PidsLimit"]), (&1_000_000_000_u64.into(), &64.into()));
}
