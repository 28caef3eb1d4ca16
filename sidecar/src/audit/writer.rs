//! The thread that writes the audit log, and the count of what it has not written. A failing output is tried again
//! later: it neither ends the thread nor makes it spin.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use sandgate_service::backlog::Receiver;

use super::record::write_line;
use super::{Entry, Identity};

/// The most that is collected before it is written, in bytes; a line more at most.
const BATCH_BYTES: usize = 32 * 1024;
/// How long lines are collected after a write. A busy proxy then wakes this thread a hundred times a second and not
/// once a request, which costs more than the line itself.
const GATHER: Duration = Duration::from_millis(10);
/// How long to wait after a failed write: a full disk or a closed pipe rarely recovers sooner.
const RETRY: Duration = Duration::from_secs(1);
/// The same where the output is only not ready: a pipe that is set to non-blocking, and full.
const RETRY_NOT_READY: Duration = Duration::from_millis(20);

/// How far the writer is, shared with those who record.
pub(super) struct Progress {
    accepted: AtomicU64,
    /// Records lost since the last line that said so.
    unreported: AtomicU64,
    lost: IntCounter,
    /// How many refusals wait in the queue.
    refusals: AtomicUsize,
    /// How many of the accepted records are written or lost.
    settled: Mutex<u64>,
    /// For those who flush: `settled` grew.
    grown: Condvar,
    /// For the writer: somebody flushes, and pauses end early. A lost record never ends one, or a failing output would
    /// be tried again with each.
    hurry: Condvar,
}

impl Progress {
    pub(super) fn new(lost: IntCounter) -> Self {
        Self {
            accepted: AtomicU64::new(0),
            unreported: AtomicU64::new(0),
            lost,
            refusals: AtomicUsize::new(0),
            settled: Mutex::new(0),
            grown: Condvar::new(),
            hurry: Condvar::new(),
        }
    }

    pub(super) fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lose(&self) {
        self.unreported.fetch_add(1, Ordering::Relaxed);
        self.lost.inc();
        self.settle(1);
    }

    /// Takes a place for a refusal in the queue, of which they have `most`.
    pub(super) fn begin_refusal(&self, most: usize) -> bool {
        let fits = |waiting| (waiting < most).then_some(waiting + 1);
        self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Gives the place back.
    pub(super) fn end_refusal(&self) {
        self.refusals.fetch_sub(1, Ordering::Relaxed);
    }

    fn settle(&self, records: u64) {
        *self.settled() += records;
        self.grown.notify_all();
    }

    /// Waits until all that is accepted now is settled.
    pub(super) fn wait_until_settled(&self, patience: Duration) -> bool {
        let target = self.accepted.load(Ordering::Relaxed);
        let settled = self.settled();
        self.hurry.notify_all();
        let waited = self.grown.wait_timeout_while(settled, patience, |settled| *settled < target);
        *waited.unwrap_or_else(PoisonError::into_inner).0 >= target
    }

    /// Lets `time` pass, or less when somebody flushes.
    fn pause(&self, time: Duration) {
        let settled = self.settled();
        drop(self.hurry.wait_timeout(settled, time).unwrap_or_else(PoisonError::into_inner));
    }

    fn settled(&self) -> MutexGuard<'_, u64> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread owns.
pub(super) struct Writer {
    output: File,
    identity: Identity,
    progress: Arc<Progress>,
    batch: Vec<u8>,
    failing_since: Option<Instant>,
}

impl Writer {
    pub(super) fn new(output: File, identity: Identity, progress: Arc<Progress>) -> Self {
        Self { output, identity, progress, batch: Vec::new(), failing_since: None }
    }

    /// Writes until nobody can record any more, and everything is written.
    pub(super) fn run(mut self, queue: &Receiver<Entry>) {
        while let Some(entry) = queue.recv() {
            self.append(&entry);
            let mut records = 1;
            while self.batch.len() < BATCH_BYTES {
                let Some(entry) = queue.try_recv() else { break };
                self.append(&entry);
                records += 1;
            }
            let full = self.batch.len() >= BATCH_BYTES;
            self.write_batch();
            self.progress.settle(records);
            if !full {
                self.progress.pause(GATHER);
            }
        }
    }

    fn append(&mut self, entry: &Entry) {
        if entry.is_refusal() {
            self.progress.end_refusal();
        }
        let lost = self.progress.unreported.swap(0, Ordering::Relaxed);
        write_line(&mut self.batch, &self.identity, entry.time, lost, &entry.record);
    }

    /// Writes the whole batch, however long that takes. What an output took before it failed is not written twice, so
    /// that lines stay whole.
    fn write_batch(&mut self) {
        let mut start = 0;
        while start < self.batch.len() {
            match self.output.write(&self.batch[start..]) {
                Ok(0) => self.fail(&ErrorKind::WriteZero.into()),
                Ok(written) => {
                    start += written;
                    self.recover();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.progress.pause(RETRY_NOT_READY),
                Err(error) => self.fail(&error),
            }
        }
        self.batch.clear();
    }

    fn fail(&mut self, error: &io::Error) {
        if self.failing_since.is_none() {
            tracing::error!(%error, "the audit log cannot be written; lines wait, and are lost when too many do");
            self.failing_since = Some(Instant::now());
        }
        self.progress.pause(RETRY);
    }

    fn recover(&mut self) {
        if let Some(since) = self.failing_since.take() {
            tracing::info!(seconds = since.elapsed().as_secs(), "the audit log can be written again");
        }
    }
}
