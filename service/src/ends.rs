//! The signals that ask a process for its end, and SIGHUP, which does not.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// SIGTERM and SIGINT, each counted from [`Ends::watch`] on. SIGHUP is logged and otherwise ignored.
pub struct Ends {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    read_again: &'static str,
}

impl Ends {
    /// Watches from now on. `read_again` names what the program reads again by itself, such as `the policy`: the reason
    /// that is logged for ignoring SIGHUP.
    ///
    /// # Errors
    /// When the kernel or the runtime takes no handler.
    pub fn watch(read_again: &'static str) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            read_again,
        })
    }

    /// Waits for the next signal that asks for the end.
    pub async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                // Elsewhere it means to read the settings again. Without a handler it would end us without a drain.
                _ = self.hangup.recv() => info!("{} are read again by themselves; SIGHUP is ignored", self.read_again),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::{Signal, raise};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_hangup_asks_for_nothing_and_each_other_signal_for_one_end() {
        let mut ends = Ends::watch("files").unwrap();
        for asking in [Signal::SIGTERM, Signal::SIGINT] {
            raise(Signal::SIGHUP).unwrap();
            raise(asking).unwrap();
            timeout(Duration::from_secs(20), ends.next()).await.expect("it was asked to end");
            let more = timeout(Duration::from_millis(100), ends.next()).await;
            assert!(more.is_err(), "{asking} ended it twice, or SIGHUP did");
        }
    }
}
