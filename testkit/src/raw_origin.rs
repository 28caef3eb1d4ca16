//! A listener whose connections are scripted by the test: for origins that break the protocol, go silent or go away. It
//! counts connections and lets scripts count requests; it never corrects what a script sends.

pub mod scripts;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::origin::{Io, Protocols, acceptor};
use crate::pki::TestCa;

/// One accepted connection in the hands of a script.
pub struct RawConnection {
    /// The stream, after TLS where the origin has it.
    pub io: Io,
    /// Counts from 1 in order of arrival.
    pub number: usize,
    requests: Arc<Requests>,
    buffer: Vec<u8>,
}

#[derive(Default)]
struct Requests {
    heads: Mutex<Vec<String>>,
    connections: AtomicUsize,
    changes: watch::Sender<()>,
}

impl RawConnection {
    /// Reads one HTTP/1 head and counts it as a request; `None` where the client closed first.
    pub async fn read_head(&mut self) -> Option<String> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let mut chunk = [0; 4096];
            match self.io.read(&mut chunk).await {
                Ok(read) if read > 0 => self.buffer.extend_from_slice(&chunk[..read]),
                _ => return None,
            }
        };
        let head = String::from_utf8_lossy(&self.buffer.drain(..end).collect::<Vec<u8>>()).into_owned();
        self.count(head.clone());
        Some(head)
    }

    /// Counts a request that a script recognised by itself, and tells its number over all connections, from 1.
    pub fn count(&self, head: String) -> usize {
        let mut heads = self.requests.heads.lock().expect("nothing panics while it holds the heads");
        heads.push(head);
        let number = heads.len();
        drop(heads);
        self.requests.changes.send_replace(());
        number
    }

    /// Sends bytes as they are. That the client has gone is not an error.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A test judges what the client saw, so a failure to send shows there.
        let _ = self.try_send(bytes.as_ref()).await;
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Where the client has gone.
    pub async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// Ends the sending direction in order, with TLS's own end where there is TLS.
    pub async fn close(&mut self) {
        let _ = self.io.shutdown().await;
    }

    /// Reads and forgets until the client closes; what it sent is not answered.
    pub async fn until_closed(&mut self) {
        let mut chunk = [0; 4096];
        while self.io.read(&mut chunk).await.is_ok_and(|read| read > 0) {}
    }
}

type Script = dyn Fn(RawConnection) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// A running listener. Dropping it closes everything.
pub struct RawOrigin {
    address: SocketAddr,
    requests: Arc<Requests>,
    task: AbortHandle,
}

impl RawOrigin {
    /// Runs `script` for each connection, without TLS. The connection closes when the script ends.
    pub async fn plain<F, R>(script: F) -> Self
    where
        F: Fn(RawConnection) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::start(None, Arc::new(move |connection| Box::pin(script(connection)))).await
    }

    /// Runs `script` for each connection after a handshake with a certificate of `ca` for [`crate::origin::NAMES`] and
    /// loopback.
    pub async fn tls<F, R>(ca: &TestCa, protocols: Protocols, script: F) -> Self
    where
        F: Fn(RawConnection) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let names: Vec<&str> = crate::origin::NAMES.iter().copied().chain(["127.0.0.1", "::1"]).collect();
        let acceptor = acceptor(ca.issue(&names), protocols, Vec::new(), false);
        Self::start(Some(acceptor), Arc::new(move |connection| Box::pin(script(connection)))).await
    }

    async fn start(acceptor: Option<TlsAcceptor>, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let requests = Arc::new(Requests::default());
        let task = tokio::spawn(listen(listener, acceptor, script, Arc::clone(&requests))).abort_handle();
        Self { address, requests, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections were accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.requests.connections.load(Ordering::SeqCst)
    }

    /// The heads of the requests that scripts read or counted.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.requests.heads.lock().expect("nothing panics while it holds the heads").clone()
    }

    /// Waits until `count` requests were counted.
    ///
    /// # Panics
    /// After `deadline`, with what was counted.
    pub async fn wait_for_requests(&self, count: usize, deadline: Duration) -> Vec<String> {
        let mut changes = self.requests.changes.subscribe();
        let arrived = async {
            while self.requests().len() < count {
                changes.changed().await.expect("the origin owns the sender");
            }
        };
        let arrived = tokio::time::timeout(deadline, arrived).await;
        assert!(arrived.is_ok(), "fewer than {count} requests after {deadline:?}: {:#?}", self.requests());
        self.requests()
    }
}

impl Drop for RawOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, acceptor: Option<TlsAcceptor>, script: Arc<Script>, requests: Arc<Requests>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let number = requests.connections.fetch_add(1, Ordering::SeqCst) + 1;
        connections.spawn(run(stream, acceptor.clone(), Arc::clone(&script), Arc::clone(&requests), number));
    }
}

async fn run(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    script: Arc<Script>,
    requests: Arc<Requests>,
    number: usize,
) {
    let io: Io = match acceptor {
        None => Box::new(stream),
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => Box::new(stream),
            // The client did not like the certificate; there is nothing to script.
            Err(_) => return,
        },
    };
    script(RawConnection { io, number, requests, buffer: Vec::new() }).await;
}
