//! What Prometheus clients say about their process, under the names that all of them use (no prefix).
//! Read from /proc when asked; where that cannot be read, the value before stays.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};
use prometheus::IntGauge;

pub(super) struct Process {
    resident_memory: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
}

impl Process {
    pub(super) fn new(register: impl Fn(prometheus::Result<IntGauge>) -> IntGauge) -> Self {
        let gauge = |name: &str, help: &str| register(IntGauge::new(name, help));
        Self {
            resident_memory: gauge("process_resident_memory_bytes", "Resident memory of this process in bytes."),
            open_fds: gauge("process_open_fds", "File descriptors that this process has open."),
            max_fds: gauge("process_max_fds", "File descriptors that this process may have open."),
        }
    }

    pub(super) fn refresh(&self) {
        if let Some(bytes) = resident_memory() {
            self.resident_memory.set(bytes);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory that is being read.
            self.open_fds.set(i64::try_from(entries.count()).unwrap_or(i64::MAX).saturating_sub(1));
        }
        if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
            self.max_fds.set(i64::try_from(soft).unwrap_or(i64::MAX));
        }
    }
}

/// `VmRSS` of proc(5), which is in KiB whatever the page size.
fn resident_memory() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
