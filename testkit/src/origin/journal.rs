//! What an origin saw: every connection and every request, in order of arrival. It records and never decides.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

use super::head::Head;
use crate::digest::Sha256;

/// What a TLS handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The server name that the client sent.
    pub sni: Option<String>,
    /// The protocol that ALPN chose.
    pub alpn: Option<String>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The version as rustls names it, such as `TLSv1_3`.
    pub version: String,
    /// The client's certificates in DER, leaf first; empty where it sent none.
    pub client_certificates: Vec<Vec<u8>>,
}

/// One accepted TCP connection.
#[derive(Clone, Debug)]
pub struct RecordedConnection {
    /// Counts from 1 in order of arrival.
    pub number: usize,
    /// What TLS agreed on; `None` without TLS, and until the handshake is done.
    pub tls: Option<TlsFacts>,
    /// Why the handshake or the connection failed, if it did.
    pub error: Option<String>,
    /// Whether the connection has ended.
    pub closed: bool,
    /// Bytes of the application that arrived, without TLS's own.
    pub bytes_received: u64,
}

/// How far the answer to a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The origin is still at it.
    Open,
    /// The whole response was handed to the connection.
    Answered,
    /// The client went away, or the connection broke, before that.
    Aborted,
}

/// One request, recorded when its head is there and kept up to date while its body arrives.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// Counts from 1 in order of arrival.
    pub number: usize,
    /// The [`RecordedConnection::number`] that it came on.
    pub connection: usize,
    /// What TLS agreed on for that connection.
    pub tls: Option<TlsFacts>,
    /// Method, target and header fields.
    pub head: Head,
    /// Bytes of the body so far, without framing.
    pub body_bytes: u64,
    /// SHA-256 of the whole body in hex; `None` until the body has ended, and where hashing was turned off.
    pub body_sha256: Option<String>,
    /// The trailer fields; empty until the body has ended.
    pub trailers: Vec<(String, String)>,
    /// How far the answer came.
    pub outcome: Outcome,
}

#[derive(Default)]
struct State {
    connections: Vec<(RecordedConnection, Arc<AtomicU64>)>,
    requests: Vec<Arc<Mutex<RecordedRequest>>>,
    request_count: usize,
}

/// The record that all connections of an origin share.
pub(crate) struct Journal {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    keeps_requests: bool,
}

impl Journal {
    pub(super) fn new(keeps_requests: bool) -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(0), keeps_requests }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the journal")
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Adds a connection; the counter is what the connection adds its bytes to.
    pub(super) fn add_connection(&self) -> (usize, Arc<AtomicU64>) {
        let bytes = Arc::new(AtomicU64::new(0));
        let mut state = self.state();
        let number = state.connections.len() + 1;
        let record = RecordedConnection { number, tls: None, error: None, closed: false, bytes_received: 0 };
        state.connections.push((record, Arc::clone(&bytes)));
        drop(state);
        self.changed();
        (number, bytes)
    }

    pub(super) fn update_connection(&self, number: usize, change: impl FnOnce(&mut RecordedConnection)) {
        change(&mut self.state().connections[number - 1].0);
        self.changed();
    }

    pub(super) fn add_request(self: &Arc<Self>, connection: usize, head: Head) -> Entry {
        let mut state = self.state();
        state.request_count += 1;
        let record = Arc::new(Mutex::new(RecordedRequest {
            number: state.request_count,
            connection,
            tls: state.connections[connection - 1].0.tls.clone(),
            head,
            body_bytes: 0,
            body_sha256: None,
            trailers: Vec::new(),
            outcome: Outcome::Open,
        }));
        if self.keeps_requests {
            state.requests.push(Arc::clone(&record));
        }
        drop(state);
        self.changed();
        Entry { journal: Arc::clone(self), record, sha: Some(Sha256::new()) }
    }

    pub(super) fn connections(&self) -> Vec<RecordedConnection> {
        let state = self.state();
        let with_bytes = |(record, bytes): &(RecordedConnection, Arc<AtomicU64>)| RecordedConnection {
            bytes_received: bytes.load(Ordering::Relaxed),
            ..record.clone()
        };
        state.connections.iter().map(with_bytes).collect()
    }

    pub(super) fn requests(&self) -> Vec<RecordedRequest> {
        self.state().requests.iter().map(|record| lock(record).clone()).collect()
    }

    pub(super) fn request_count(&self) -> usize {
        self.state().request_count
    }

    /// Waits until `condition` holds. It is looked at after every change, never by polling.
    pub(super) async fn wait(&self, deadline: Duration, mut condition: impl FnMut(&Self) -> bool) -> bool {
        let mut changes = self.changes.subscribe();
        let held = async {
            while !condition(self) {
                changes.changed().await.expect("the journal owns the sender");
            }
        };
        tokio::time::timeout(deadline, held).await.is_ok()
    }
}

fn lock(record: &Mutex<RecordedRequest>) -> MutexGuard<'_, RecordedRequest> {
    record.lock().expect("nothing panics while it holds a record")
}

/// The place of one request in the journal. Dropped before [`Entry::answered`], it records an abort.
pub(super) struct Entry {
    journal: Arc<Journal>,
    record: Arc<Mutex<RecordedRequest>>,
    sha: Option<Sha256>,
}

impl Entry {
    /// Stops hashing, for bodies of many gigabytes.
    pub(super) fn forgo_hash(&mut self) {
        self.sha = None;
    }

    fn update(&self, change: impl FnOnce(&mut RecordedRequest)) {
        change(&mut lock(&self.record));
        self.journal.changed();
    }

    pub(super) fn body_chunk(&mut self, chunk: &[u8]) {
        if let Some(sha) = &mut self.sha {
            sha.update(chunk);
        }
        self.update(|request| request.body_bytes += chunk.len() as u64);
    }

    pub(super) fn body_end(&self, trailers: Vec<(String, String)>) {
        let sha = self.sha.as_ref().map(Sha256::finish);
        self.update(|request| {
            request.body_sha256 = sha;
            request.trailers = trailers;
        });
    }

    pub(super) fn answered(&self) {
        self.update(|request| request.outcome = Outcome::Answered);
    }

    pub(super) fn record(&self) -> RecordedRequest {
        lock(&self.record).clone()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.update(|request| {
            if request.outcome == Outcome::Open {
                request.outcome = Outcome::Aborted;
            }
        });
    }
}
