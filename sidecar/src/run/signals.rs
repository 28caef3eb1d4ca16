//! The signals that `run` gets, each with where it came from. Never changes one that was ignored when it started:
//! `nohup` and background jobs mean that for the command too.

use std::{fs, io, thread};

use nix::sys::signal::Signal;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::{Cause, Origin};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const WATCHED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) signal: Signal,
    /// The terminal sent it, and so sent it to the command as well: Ctrl-C goes to the whole foreground group.
    pub(super) from_terminal: bool,
}

impl Received {
    fn new(origin: &Origin) -> Option<Self> {
        let signal = Signal::try_from(origin.signal).ok()?;
        Some(Self { signal, from_terminal: origin.cause == Cause::Kernel })
    }

    /// Whether a program that does not care about it ends.
    fn is_end(self) -> bool {
        self.signal != Signal::SIGWINCH
    }
}

/// The signals of this process from now on.
pub(super) struct Signals {
    received: UnboundedReceiver<Received>,
    handle: Handle,
}

impl Signals {
    /// Starts to watch.
    ///
    /// # Errors
    /// Where the kernel refuses the handlers or the thread.
    pub(super) fn start() -> io::Result<Self> {
        let ignored = ignored_signals();
        let watched = WATCHED.iter().map(|signal| *signal as i32).filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let mut signals = SignalsInfo::<WithOrigin>::new(watched)?;
        let handle = signals.handle();
        let (sender, received) = unbounded_channel();
        thread::Builder::new().name("signals".into()).spawn(move || {
            for received in signals.forever().filter_map(|origin| Received::new(&origin)) {
                if sender.send(received).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { received, handle })
    }

    /// The next signal. Waits for ever where none comes. Loses none when it is dropped before its end.
    pub(super) async fn next(&mut self) -> Received {
        match self.received.recv().await {
            Some(received) => received,
            None => std::future::pending().await,
        }
    }

    /// The next signal that asks for the end.
    pub(super) async fn end(&mut self) -> Signal {
        loop {
            let received = self.next().await;
            if received.is_end() {
                return received.signal;
            }
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// The mask of signals that this process ignores (proc_pid_status(5), `SigIgn`). None, where it cannot be read.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
