//! What waits where a client goes that does without the proxy: every name points here, and whatever arrives is counted.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use hickory_proto::op::{Message, Metadata};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

/// Names, plain HTTP, and the origin's own port, over TCP and UDP.
const PORTS: [u16; 3] = [DNS, 80, 443];
const DNS: u16 = 53;
const MAX_DATAGRAM: usize = 2048;

/// Listens until it is dropped.
pub(crate) struct Decoy {
    questions: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

/// What came, as counted since some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strays {
    /// Connections and datagrams to the port for names.
    pub(crate) questions: u64,
    /// Connections and datagrams to all other ports.
    pub(crate) connections: u64,
}

impl Strays {
    /// Those that came after `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { questions: self.questions - before.questions, connections: self.connections - before.connections }
    }

    /// Whether any came.
    pub(crate) fn any(self) -> bool {
        self.questions + self.connections > 0
    }
}

impl Decoy {
    /// Listens on this address.
    pub(crate) async fn start(address: Ipv4Addr) -> anyhow::Result<Self> {
        let (questions, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for port in PORTS {
            let count = if port == DNS { &questions } else { &connections };
            let listener = TcpListener::bind((address, port)).await.with_context(|| format!("TCP port {port}"))?;
            tasks.spawn(count_connections(listener, Arc::clone(count)));
            let socket = UdpSocket::bind((address, port)).await.with_context(|| format!("UDP port {port}"))?;
            tasks.spawn(count_datagrams(socket, address, Arc::clone(count)));
        }
        Ok(Self { questions, connections, _tasks: tasks })
    }

    /// What has come so far.
    pub(crate) fn strays(&self) -> Strays {
        let [questions, connections] = [&self.questions, &self.connections].map(|count| count.load(Ordering::Relaxed));
        Strays { questions, connections }
    }
}

async fn count_connections(listener: TcpListener, count: Arc<AtomicU64>) {
    loop {
        // Closed at once: the client is told soon, and not that all is well.
        if listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn count_datagrams(socket: UdpSocket, address: Ipv4Addr, count: Arc<AtomicU64>) {
    let mut datagram = [0; MAX_DATAGRAM];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut datagram).await else { continue };
        count.fetch_add(1, Ordering::Relaxed);
        if let Some(answer) = answer(&datagram[..length], address) {
            // Who asked may be gone.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// Every name has the decoy's own address, and no other.
fn answer(question: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let request = Message::from_vec(question).ok()?;
    let query = request.queries.first()?;
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    response.metadata.recursion_available = true;
    response.add_query(query.clone());
    if query.query_type() == RecordType::A {
        response.add_answer(Record::from_rdata(query.name().clone(), 0, RData::A(A(address))));
    }
    response.to_vec().ok()
}
