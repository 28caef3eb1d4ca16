//! The lines that wait for stderr, and the thread that writes them. Whoever logs never waits: where the queue is full,
//! a line is lost, and the next one that gets through is preceded by one that says how many were.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::LogFormat;
use crate::backlog::{Receiver, Sender, backlog};

/// The pause before an output that is not ready is tried again: a pipe that somebody set to non-blocking.
const NOT_READY: Duration = Duration::from_millis(20);

/// Takes lines for the thread that writes them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Queue {
    lines: Sender<Vec<u8>>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    accepted: AtomicU64,
    /// Lines lost since the last one that said so.
    lost: AtomicU64,
    /// How many of the accepted lines were written, or could not be.
    settled: Mutex<u64>,
    grown: Condvar,
}

impl Queue {
    /// Starts the thread that writes to `output`, with room for `waiting` lines.
    pub(super) fn start(
        output: impl Write + Send + 'static,
        format: LogFormat,
        waiting: usize,
    ) -> anyhow::Result<Self> {
        let (sender, lines) = backlog(waiting);
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        let writer = thread::Builder::new().name("log".to_owned());
        writer.spawn(move || write(output, format, &lines, &shared)).context("the log's thread cannot be started")?;
        Ok(Self { lines: sender, progress })
    }

    /// Waits until what was logged so far is written, for `patience` at most.
    pub(super) fn flush(&self, patience: Duration) {
        let target = self.progress.accepted.load(Ordering::Acquire);
        let settled = self.progress.settled.lock().unwrap_or_else(PoisonError::into_inner);
        // Lines that are not out by then are lost with the process.
        drop(self.progress.grown.wait_timeout_while(settled, patience, |settled| *settled < target));
    }
}

/// Takes one whole line with each write, as the log's formatter makes them.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.lines.try_send(line.to_vec()) {
            Ok(()) => self.progress.accepted.fetch_add(1, Ordering::AcqRel),
            Err(_) => self.progress.lost.fetch_add(1, Ordering::AcqRel),
        };
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(mut output: impl Write, format: LogFormat, lines: &Receiver<Vec<u8>>, progress: &Progress) {
    while let Some(line) = lines.recv() {
        let lost = progress.lost.swap(0, Ordering::AcqRel);
        // An output that fails has no reader: its lines are nobody's loss.
        if lost > 0 {
            let _ = write_whole(&mut output, loss(format, lost).as_bytes());
        }
        let _ = write_whole(&mut output, &line);
        *progress.settled.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        progress.grown.notify_all();
    }
}

fn write_whole(output: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(NOT_READY),
            Err(error) => return Err(error),
        }
    }
    output.flush()
}

/// The line that says how many are missing, in the form of all others.
fn loss(format: LogFormat, lost: u64) -> String {
    let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    let (message, target) = ("log lines were lost, because stderr is read too slowly", module_path!());
    match format {
        LogFormat::Json => {
            let line = serde_json::json!({
                "timestamp": now, "level": "WARN", "message": message, "lost": lost, "target": target,
            });
            format!("{line}\n")
        }
        LogFormat::Text => format!("{now}  WARN {target}: {message} lost={lost}\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, channel};

    use super::*;

    /// A pipe whose reader takes a line when it is told to.
    struct Pipe {
        reads: mpsc::Receiver<()>,
        read: mpsc::Sender<String>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.reads.recv().map_err(|_| ErrorKind::BrokenPipe)?;
            let _ = self.read.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn behind_a_pipe(waiting: usize) -> (Queue, mpsc::Sender<()>, mpsc::Receiver<String>) {
        let ((reads, told), (read, lines)) = (channel(), channel());
        (Queue::start(Pipe { reads: told, read }, LogFormat::Json, waiting).unwrap(), reads, lines)
    }

    const DEADLINE: Duration = Duration::from_secs(20);

    #[test]
    fn a_reader_who_does_not_read_holds_up_nobody_and_is_told_later_what_was_lost() {
        let (mut queue, reads, lines) = behind_a_pipe(2);
        for number in 0..100 {
            queue.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        Queue::flush(&queue, Duration::from_millis(1));
        let taken = queue.progress.accepted.load(Ordering::Acquire);
        assert!(taken <= 3, "two wait and one is being written, yet {taken} were taken");
        for _ in 0..20 {
            reads.send(()).unwrap();
        }
        Queue::flush(&queue, DEADLINE);
        queue.write_all(b"last\n").unwrap();
        Queue::flush(&queue, DEADLINE);
        let read: Vec<String> = lines.try_iter().collect();
        let lost = |line: &String| serde_json::from_str::<serde_json::Value>(line).ok()?["lost"].as_u64();
        assert_eq!(read.iter().filter_map(lost).sum::<u64>(), 100 - taken, "{read:?}");
        assert_eq!(read.iter().filter(|line| lost(line).is_none()).count() as u64, taken + 1, "{read:?}");
        assert_eq!(read.last().unwrap(), "last\n");
    }

    #[test]
    fn at_the_end_the_last_lines_are_waited_for() {
        let (mut queue, reads, lines) = behind_a_pipe(2);
        queue.write_all(b"last\n").unwrap();
        reads.send(()).unwrap();
        Queue::flush(&queue, DEADLINE);
        assert_eq!(lines.try_recv().unwrap(), "last\n");
    }
}
