//! The audit log: one JSON line per decision, finished request and ended tunnel, written by a thread of its own.
//! A line never holds a header, a query string or a byte of a body, and whoever records one never waits.

mod record;
mod writer;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use prometheus::IntCounter;
use sandgate_service::backlog::{Sender, backlog};

pub use record::{Kind, LoggedPath, Record, Verdict, WholePath};
pub(crate) use record::{MAX_METHOD_BYTES, MAX_PATH_BYTES, VERSION};
use writer::{Progress, Writer};

/// How many records may wait for the writer: some seconds of a busy proxy, at most a few MiB.
pub const DEFAULT_QUEUE: usize = 4096;

/// Whose audit log this is; stands in every line. Fields that are not known are empty, and left out.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The pod's name.
    pub pod: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's UID.
    pub uid: String,
}

/// Where the lines go.
#[derive(Clone, Debug)]
pub enum AuditOutput {
    /// The standard output of this process.
    Stdout,
    /// A file, appended to; made with mode 0644 less the umask where it is missing.
    File(PathBuf),
    /// Nowhere: only the observer sees the records.
    None,
}

/// Sees every record on the thread that makes it, so it must be quick.
pub type Observer = Arc<dyn Fn(&Record) + Send + Sync>;

/// What [`Audit::start`] needs.
pub struct AuditSettings {
    /// Whose log this is.
    pub identity: Identity,
    /// Where lines go.
    pub output: AuditOutput,
    /// How many records may wait for the writer, at least 1. Those beyond it are counted as lost; of refusals, which
    /// whoever is refused can make at will, those beyond three quarters of it.
    pub queue: usize,
    /// Sees every record, also those that are lost.
    pub observer: Option<Observer>,
    /// Counts the lost records: [`crate::metrics::Metrics::audit_lost`].
    pub lost: IntCounter,
}

/// The sending end of the audit log. Cheap to clone.
#[derive(Clone)]
pub struct Audit(Arc<Shared>);

struct Shared {
    queue: Option<Sender<Entry>>,
    most_refusals: usize,
    progress: Arc<Progress>,
    observer: Option<Observer>,
}

/// A record and when it was made. Boxed, because the queue has its places in blocks of many, of which one is always there.
struct Entry {
    time: SystemTime,
    record: Box<Record>,
}

impl Entry {
    fn is_refusal(&self) -> bool {
        self.record.verdict == Verdict::Denied
    }
}

impl Audit {
    /// Opens the output and starts the writing thread.
    ///
    /// # Errors
    /// Where the file cannot be opened for appending, or no thread can be started.
    pub fn start(settings: AuditSettings) -> io::Result<Self> {
        let progress = Arc::new(Progress::new(settings.lost));
        let places = settings.queue.max(1);
        let queue = match open(&settings.output)? {
            Some(file) => {
                let (sender, receiver) = backlog(places);
                let writer = Writer::new(file, settings.identity, Arc::clone(&progress));
                std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(&receiver))?;
                Some(sender)
            }
            None => None,
        };
        let most_refusals = (places - places / 4).max(1);
        Ok(Self(Arc::new(Shared { queue, most_refusals, progress, observer: settings.observer })))
    }

    /// An audit log that goes nowhere, for tests of other parts.
    #[must_use]
    pub fn none() -> Self {
        static LOST: OnceLock<IntCounter> = OnceLock::new();
        let lost = LOST.get_or_init(|| IntCounter::new("unused", "Unused.").expect("the name is valid")).clone();
        let progress = Arc::new(Progress::new(lost));
        Self(Arc::new(Shared { queue: None, most_refusals: 1, progress, observer: None }))
    }

    /// Queues a record. Never waits: where the queue is full, or a refusal's part of it, the record is counted as lost,
    /// and the next line that is written says how many were.
    pub fn record(&self, mut record: Record) {
        if let Some(observer) = &self.0.observer {
            observer(&record);
        }
        record.keep_what_is_written();
        let Some(queue) = &self.0.queue else { return };
        self.0.progress.accept();
        let entry = Entry { time: SystemTime::now(), record: Box::new(record) };
        let is_refusal = entry.is_refusal();
        if is_refusal && !self.0.progress.begin_refusal(self.0.most_refusals) {
            return self.0.progress.lose();
        }
        if queue.try_send(entry).is_err() {
            if is_refusal {
                self.0.progress.end_refusal();
            }
            self.0.progress.lose();
        }
    }

    /// Waits, at most for `patience`, until everything recorded so far is written. `false` if that was too short.
    /// Blocks the thread: for the end of the program.
    #[must_use]
    pub fn flush(&self, patience: Duration) -> bool {
        self.0.progress.wait_until_settled(patience)
    }
}

fn open(output: &AuditOutput) -> io::Result<Option<File>> {
    match output {
        // A descriptor of its own: std's handle has a buffer and a lock that the rest of the program shares.
        AuditOutput::Stdout => Ok(Some(File::from(io::stdout().as_fd().try_clone_to_owned()?))),
        AuditOutput::File(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path);
            file.map(Some).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        }
        AuditOutput::None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;
    use std::thread;

    use http::Method;
    use nix::sys::stat::Mode;
    use sandgate_policy::destination::{Destination, Host, Scheme};
    use serde_json::Value;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn settings(output: AuditOutput, queue: usize) -> AuditSettings {
        let identity = Identity { pod: "sandbox-1".into(), namespace: "team".into(), uid: "u-1".into() };
        let lost = IntCounter::new("lost", "Lost.").unwrap();
        AuditSettings { identity, output, queue, observer: None, lost }
    }

    fn record(connection: u64) -> Record {
        let to = Destination { scheme: Scheme::Https, host: Host::parse("a.test").unwrap(), port: 443 };
        Record::new(Kind::Decision, connection, Verdict::Allowed).to(&to)
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Opens the reading end of a pipe with a name, whose writing end an audit log has.
    fn reader(path: &Path) -> thread::JoinHandle<File> {
        let path = path.to_owned();
        thread::spawn(move || File::open(path).unwrap())
    }

    fn pipe(directory: &tempfile::TempDir) -> PathBuf {
        let path = directory.path().join("pipe");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        path
    }

    #[test]
    fn lines_are_whole_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let audit = Audit::start(settings(AuditOutput::File(path.clone()), DEFAULT_QUEUE)).unwrap();
        for connection in 0..1000 {
            audit.record(record(connection));
        }
        assert!(audit.flush(PATIENCE));
        let lines = lines(&path);
        assert_eq!(lines.len(), 1000);
        for (connection, line) in lines.iter().enumerate() {
            assert_eq!(line["connection"], connection);
            assert_eq!(
                (&line["pod"], &line["namespace"], &line["uid"]),
                (&"sandbox-1".into(), &"team".into(), &"u-1".into())
            );
            assert_eq!(line.get("lost"), None);
        }
    }

    #[test]
    fn what_waits_is_no_larger_than_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let audit = Audit::start(settings(AuditOutput::File(path.clone()), DEFAULT_QUEUE)).unwrap();
        let method = Some(Method::from_bytes(&[b'M'; 32_000]).unwrap());
        audit.record(Record { method, ..record(1) });
        assert!(audit.flush(PATIENCE));
        // The line is written of the record as it is, so that was cut before it waited.
        assert_eq!(lines(&path)[0]["method"], "M".repeat(MAX_METHOD_BYTES));
    }

    #[test]
    fn a_stuck_reader_costs_lines_but_nobody_waits_and_the_next_line_counts_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = pipe(&directory);
        let opening = reader(&path);
        let settings = settings(AuditOutput::File(path), 4);
        let lost = settings.lost.clone();
        let audit = Audit::start(settings).unwrap();
        let file = opening.join().unwrap();
        // A pipe holds 64 KiB and the writer one batch more: this is far beyond both.
        for connection in 0..5000 {
            audit.record(record(connection));
        }
        assert!(lost.get() > 0);
        let counted = thread::spawn(move || count(file));
        assert!(audit.flush(PATIENCE));
        audit.record(record(5000));
        assert!(audit.flush(PATIENCE));
        drop(audit);
        let (written, reported) = counted.join().unwrap();
        assert_eq!(reported, lost.get());
        assert_eq!(written + reported, 5001);
    }

    #[test]
    fn refusals_without_end_leave_room_for_the_lines_of_what_was_allowed() {
        let directory = tempfile::tempdir().unwrap();
        let path = pipe(&directory);
        let opening = reader(&path);
        let settings = settings(AuditOutput::File(path), 40);
        let lost = settings.lost.clone();
        let audit = Audit::start(settings).unwrap();
        let file = opening.join().unwrap();
        let refusal = |connection| Record { verdict: Verdict::Denied, ..record(connection) };
        for connection in 0..5000 {
            audit.record(refusal(connection));
        }
        // Nobody reads, so the writer is stuck by now or will be, and takes no more than a batch away.
        let before = lost.get();
        assert!(before > 0);
        for connection in 5000..5010 {
            audit.record(record(connection));
        }
        assert_eq!(lost.get(), before, "a line of what was allowed is lost");
        let text = thread::spawn(move || io::read_to_string(file).unwrap());
        assert!(audit.flush(PATIENCE));
        // The places of the refusals are free again.
        for connection in 0..30 {
            audit.record(refusal(connection));
        }
        assert_eq!(lost.get(), before);
        assert!(audit.flush(PATIENCE));
        drop(audit);
        let allowed = text.join().unwrap().lines().filter(|line| line.contains("\"allowed\"")).count();
        assert_eq!(allowed, 10);
    }

    /// Reads lines to the end: how many there were, and how many losses they report.
    fn count(file: File) -> (u64, u64) {
        let text = io::read_to_string(file).unwrap();
        text.lines().fold((0, 0), |(written, reported), line| {
            let line: Value = serde_json::from_str(line).unwrap();
            (written + 1, reported + line["lost"].as_u64().unwrap_or(0))
        })
    }

    #[test]
    fn a_closed_output_is_survived_and_used_again_when_it_works() {
        let directory = tempfile::tempdir().unwrap();
        let path = pipe(&directory);
        let opening = reader(&path);
        let audit = Audit::start(settings(AuditOutput::File(path.clone()), DEFAULT_QUEUE)).unwrap();
        drop(opening.join().unwrap());
        audit.record(record(1));
        assert!(!audit.flush(Duration::from_millis(50)));
        let opening = reader(&path);
        let file = opening.join().unwrap();
        assert!(audit.flush(PATIENCE));
        drop(audit);
        assert_eq!(count(file), (1, 0));
    }

    #[test]
    fn a_full_disk_is_counted_and_nobody_waits() {
        let settings = settings(AuditOutput::File("/dev/full".into()), 4);
        let lost = settings.lost.clone();
        let audit = Audit::start(settings).unwrap();
        for connection in 0..1000 {
            audit.record(record(connection));
        }
        assert!(!audit.flush(Duration::from_millis(50)));
        assert!(lost.get() > 0);
    }

    #[test]
    fn the_observer_sees_records_that_go_nowhere() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let observer = {
            let seen = Arc::clone(&seen);
            Arc::new(move |record: &Record| seen.lock().unwrap().push(record.connection)) as Observer
        };
        let audit = Audit::start(AuditSettings { observer: Some(observer), ..settings(AuditOutput::None, 1) }).unwrap();
        audit.record(record(7));
        assert_eq!(*seen.lock().unwrap(), [7]);
        assert!(audit.flush(Duration::ZERO));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let result = Audit::start(settings(AuditOutput::File("/nonexistent/audit.log".into()), 1));
        assert!(result.err().unwrap().to_string().contains("/nonexistent/audit.log"));
    }
}
