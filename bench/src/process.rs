//! A process from outside: its processor time and its memory, those of the processes that it started included.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::unistd::{SysconfVar, sysconf};

/// A process and what it started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// Processor time so far, in user and kernel mode, in the kernel's ticks of mostly 10 ms. Threads that have ended count.
    pub(crate) fn cpu(self) -> anyhow::Result<Duration> {
        let ticks_a_second = sysconf(SysconfVar::CLK_TCK)?.context("the kernel tells no ticks")?;
        let mut ticks = 0;
        for id in self.tree() {
            let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
            // After the name in parentheses: state, then numbers; utime and stime are fields 14 and 15 (proc_pid_stat(5)).
            let fields = stat.rsplit_once(')').context("no name in stat")?.1.split_whitespace();
            ticks += fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>();
        }
        Ok(Duration::from_secs_f64(ticks as f64 / ticks_a_second as f64))
    }

    /// Resident memory in bytes (VmRSS).
    pub(crate) fn memory(self) -> anyhow::Result<u64> {
        let mut kibibytes = 0;
        for id in self.tree() {
            let Ok(status) = fs::read_to_string(format!("/proc/{id}/status")) else { continue };
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
            kibibytes += line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        }
        ensure!(kibibytes > 0, "the process has ended");
        Ok(kibibytes * 1024)
    }

    /// Itself and its descendants.
    fn tree(self) -> Vec<u32> {
        let mut all = vec![self.0];
        let mut next = 0;
        while let Some(id) = all.get(next).copied() {
            next += 1;
            let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
            let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
            let children: Vec<u32> = children
                .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
                .collect();
            all.extend(children);
        }
        all
    }
}
