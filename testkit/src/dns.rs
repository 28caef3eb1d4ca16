//! An authoritative DNS server on loopback, over UDP and TCP, whose zone a test sets and changes while it runs. Names that
//! were not set do not exist. It never asks another server.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// The longest chain of aliases that is followed.
const MAX_ALIASES: usize = 16;
/// How often a port is looked for that is free for both UDP and TCP.
const BIND_ATTEMPTS: usize = 50;
/// The largest DNS message over UDP here, in bytes.
const MAX_DATAGRAM: usize = 4096;

/// What the server does with a question for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These addresses, each with the record type of its family; none is an empty answer.
    Addresses(Vec<IpAddr>),
    /// The first addresses for so many questions of either type, then the others: DNS rebinding.
    Changing {
        /// What is answered at first.
        first: Vec<IpAddr>,
        /// How many questions get that.
        questions: usize,
        /// What is answered then.
        then: Vec<IpAddr>,
    },
    /// An alias, followed within the zone.
    Alias(String),
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    Failure,
    /// REFUSED.
    Refused,
    /// No answer at all.
    Silence,
    /// A truncated answer over UDP, and these addresses over TCP.
    OnlyOverTcp(Vec<IpAddr>),
    /// These addresses, but the answer for IPv6 so much later.
    LateV6(Vec<IpAddr>, Duration),
}

/// One question that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// In lower case, without the final dot.
    pub name: String,
    /// Such as `A` or `AAAA`.
    pub record_type: String,
    /// Whether it came over TCP.
    pub tcp: bool,
}

#[derive(Default)]
struct Zone {
    answers: HashMap<String, Answer>,
    asked: HashMap<String, usize>,
    questions: Vec<Question>,
    ttl: u32,
}

struct Shared {
    zone: Mutex<Zone>,
    changes: watch::Sender<usize>,
    hang_ups: watch::Sender<()>,
}

impl Shared {
    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().expect("nothing panics while it holds the zone")
    }
}

/// A running server; it stops when it is dropped.
pub struct DnsServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    tasks: [AbortHandle; 2],
}

impl DnsServer {
    /// Starts with an empty zone, on one port for UDP and TCP. Answers have a TTL of 0 unless [`DnsServer::ttl`] sets it.
    ///
    /// # Panics
    /// Where no port can be bound, or outside of a tokio runtime.
    pub async fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// The same at another address than 127.0.0.1.
    ///
    /// # Panics
    /// As [`DnsServer::start`].
    pub async fn start_at(address: IpAddr) -> Self {
        let (udp, tcp) = bind(address).await;
        let address = udp.local_addr().expect("a bound socket has an address");
        let (changes, hang_ups) = (watch::Sender::new(0), watch::Sender::new(()));
        let shared = Arc::new(Shared { zone: Mutex::default(), changes, hang_ups });
        let udp = tokio::spawn(serve_udp(udp, Arc::clone(&shared))).abort_handle();
        let tcp = tokio::spawn(serve_tcp(tcp, Arc::clone(&shared))).abort_handle();
        Self { shared, address, tasks: [udp, tcp] }
    }

    /// Where it listens, over UDP and TCP.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Sets what is answered for `name` from now on.
    pub fn set(&self, name: &str, answer: Answer) {
        let mut zone = self.shared.zone();
        zone.asked.remove(&key(name));
        zone.answers.insert(key(name), answer);
    }

    /// Answers `name` with these addresses from now on.
    pub fn addresses(&self, name: &str, addresses: &[&str]) {
        let parse = |text: &&str| text.parse().unwrap_or_else(|_| panic!("{text} is not an address"));
        self.set(name, Answer::Addresses(addresses.iter().map(parse).collect()));
    }

    /// Sets the TTL of all answers, in seconds.
    pub fn ttl(&self, seconds: u32) {
        self.shared.zone().ttl = seconds;
    }

    /// Closes every TCP connection that is open, as servers do with idle ones.
    pub fn hang_up(&self) {
        self.shared.hang_ups.send_replace(());
    }

    /// Every question so far, in order of arrival.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        self.shared.zone().questions.clone()
    }

    /// Waits until `count` questions have arrived.
    ///
    /// # Panics
    /// After `deadline`, with what did arrive.
    pub async fn wait_for_questions(&self, count: usize, deadline: Duration) -> Vec<Question> {
        let mut changes = self.shared.changes.subscribe();
        let arrived = tokio::time::timeout(deadline, changes.wait_for(|questions| *questions >= count)).await;
        let questions = self.questions();
        assert!(arrived.is_ok(), "fewer than {count} questions after {deadline:?}: {questions:#?}");
        questions
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn bind(address: IpAddr) -> (UdpSocket, TcpListener) {
    for _ in 0..BIND_ATTEMPTS {
        let tcp = TcpListener::bind((address, 0)).await.expect("loopback has a free port");
        let address = tcp.local_addr().expect("a bound socket has an address");
        if let Ok(udp) = UdpSocket::bind(address).await {
            return (udp, tcp);
        }
    }
    panic!("no port of {BIND_ATTEMPTS} was free for both UDP and TCP");
}

async fn serve_udp(socket: UdpSocket, shared: Arc<Shared>) {
    let socket = Arc::new(socket);
    let mut datagram = [0; MAX_DATAGRAM];
    loop {
        // An ICMP error for an earlier answer arrives here and is no reason to stop.
        let Ok((length, from)) = socket.recv_from(&mut datagram).await else { continue };
        let Some((answer, after)) = respond(&shared, &datagram[..length], false) else { continue };
        let socket = Arc::clone(&socket);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let _ = socket.send_to(&answer, from).await;
        });
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        connections.spawn(serve_stream(stream, Arc::clone(&shared)));
    }
}

/// Messages with a length of two bytes before each (RFC 1035 4.2.2).
async fn serve_stream(mut stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let mut hang_ups = shared.hang_ups.subscribe();
    loop {
        let length = tokio::select! {
            length = stream.read_u16() => length?,
            _ = hang_ups.changed() => return Ok(()),
        };
        let mut message = vec![0; usize::from(length)];
        stream.read_exact(&mut message).await?;
        if let Some((answer, after)) = respond(&shared, &message, true) {
            tokio::time::sleep(after).await;
            stream.write_u16(u16::try_from(answer.len()).unwrap_or(u16::MAX)).await?;
            stream.write_all(&answer).await?;
        }
    }
}

/// The answer to one message, and after what time it goes out; `None` where it is not a question, or where silence was
/// set.
fn respond(shared: &Shared, message: &[u8], tcp: bool) -> Option<(Vec<u8>, Duration)> {
    let request =
        Message::from_vec(message).ok().filter(|message| message.metadata.message_type == MessageType::Query)?;
    let query = request.queries.first()?;
    let mut zone = shared.zone();
    let name = key(&query.name.to_ascii());
    zone.questions.push(Question { name: name.clone(), record_type: query.query_type.to_string(), tcp });
    let count = zone.questions.len();
    let after = match zone.answers.get(&name) {
        Some(Answer::LateV6(_, after)) if query.query_type == RecordType::AAAA => *after,
        _ => Duration::ZERO,
    };
    let (code, truncated, answers) = look_up(&mut zone, &query.name, name, query.query_type, tcp);
    drop(zone);
    shared.changes.send_replace(count);
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    response.metadata.authoritative = true;
    response.metadata.recursion_available = true;
    response.metadata.truncation = truncated;
    response.metadata.response_code = code?;
    response.add_query(query.clone());
    response.add_answers(answers);
    Some((response.to_vec().ok()?, after))
}

fn look_up(
    zone: &mut Zone,
    asked: &Name,
    mut name: String,
    record_type: RecordType,
    tcp: bool,
) -> (Option<ResponseCode>, bool, Vec<Record>) {
    let mut owner = asked.clone();
    let mut records = Vec::new();
    for _ in 0..MAX_ALIASES {
        let asked_before = zone.asked.entry(name.clone()).or_default();
        let before = std::mem::replace(asked_before, *asked_before + 1);
        let addresses = match zone.answers.get(&name) {
            Some(Answer::Addresses(addresses)) => addresses,
            Some(Answer::Changing { first, questions, then }) => {
                if before < *questions {
                    first
                } else {
                    then
                }
            }
            Some(Answer::OnlyOverTcp(_)) if !tcp => return (Some(ResponseCode::NoError), true, Vec::new()),
            Some(Answer::OnlyOverTcp(addresses) | Answer::LateV6(addresses, _)) => addresses,
            Some(Answer::Alias(target)) => {
                let target_name = Name::from_ascii(format!("{}.", key(target))).expect("tests use valid names");
                let alias = RData::CNAME(CNAME(target_name.clone()));
                records.push(Record::from_rdata(owner, zone.ttl, alias));
                (name, owner) = (key(target), target_name);
                continue;
            }
            Some(Answer::NoSuchName) | None => return (Some(ResponseCode::NXDomain), false, records),
            Some(Answer::Failure) => return (Some(ResponseCode::ServFail), false, Vec::new()),
            Some(Answer::Refused) => return (Some(ResponseCode::Refused), false, Vec::new()),
            Some(Answer::Silence) => return (None, false, Vec::new()),
        };
        let data = addresses.iter().filter_map(|address| address_data(*address, record_type));
        records.extend(data.map(|data| Record::from_rdata(owner.clone(), zone.ttl, data)));
        break;
    }
    (Some(ResponseCode::NoError), false, records)
}

fn address_data(address: IpAddr, record_type: RecordType) -> Option<RData> {
    match (address, record_type) {
        (IpAddr::V4(address), RecordType::A) => Some(RData::A(A(address))),
        (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(AAAA(address))),
        _ => None,
    }
}

fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
