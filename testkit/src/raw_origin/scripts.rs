//! Scripts for [`RawOrigin`](super::RawOrigin): the ways in which origins break HTTP, or go away. Each is one
//! misbehaviour; and two forward proxies, of which one does as it is asked.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::RawConnection;
use crate::digest::{PATTERN_CHUNK, pattern_chunk};

/// A right answer that keeps the connection open.
pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n";

/// Reads the request and closes before any byte of a response.
pub async fn close_before_head(mut connection: RawConnection) {
    connection.read_head().await;
}

/// Sends half a head and closes.
pub async fn close_in_head(connection: RawConnection) {
    answer_once(connection, "HTTP/1.1 200 OK\r\ncontent-le").await;
}

/// Announces ten bytes, sends five and closes.
pub async fn close_in_body(connection: RawConnection) {
    answer_once(connection, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345").await;
}

/// Ends a chunked body without its last chunk.
pub async fn close_in_chunks(connection: RawConnection) {
    answer_once(connection, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n").await;
}

/// Sends what is not HTTP.
pub async fn garbage(connection: RawConnection) {
    answer_once(connection, b"\x00\xff\x13\x37 this is not HTTP\r\n\r\n".as_slice()).await;
}

/// Two different `Content-Length`s.
pub async fn two_lengths(connection: RawConnection) {
    answer_once(connection, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nok\n12").await;
}

/// `Transfer-Encoding` and `Content-Length` together, which say different lengths.
pub async fn chunked_and_length(connection: RawConnection) {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n3\r\nok\n\r\n0\r\n\r\n";
    answer_once(connection, answer).await;
}

/// One header field of a mebibyte.
pub async fn huge_header(connection: RawConnection) {
    let answer = format!("HTTP/1.1 200 OK\r\nx-huge: {}\r\ncontent-length: 3\r\n\r\nok\n", "a".repeat(1 << 20));
    answer_once(connection, answer).await;
}

/// A header field with a bare line feed in its value.
pub async fn split_header(connection: RawConnection) {
    answer_once(connection, "HTTP/1.1 200 OK\r\nx-a: 1\nx-b: 2\r\ncontent-length: 3\r\n\r\nok\n").await;
}

/// Answers every request rightly but sends a second response behind each, unasked.
pub async fn extra_response(mut connection: RawConnection) {
    while connection.read_head().await.is_some() {
        connection.send(format!("{OK}HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nextra")).await;
    }
}

/// On the first connection answers one request and closes at the second, unanswered; later ones are answered.
pub async fn close_on_reuse(mut connection: RawConnection) {
    let mut answered = 0;
    while connection.read_head().await.is_some() {
        if connection.number == 1 && answered == 1 {
            return;
        }
        connection.send(OK).await;
        answered += 1;
    }
}

/// Answers one request, then closes without having announced it.
pub async fn close_when_idle(connection: RawConnection) {
    answer_once(connection, OK).await;
}

/// Sends a body without end, as fast as the client takes it.
pub async fn flood(mut connection: RawConnection) {
    if connection.read_head().await.is_none() {
        return;
    }
    connection.send("HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\r\n").await;
    let chunk = pattern_chunk(0, PATTERN_CHUNK as u64);
    while connection.try_send(&chunk).await.is_ok() {}
}

/// Accepts, reads and never says anything; without TLS in front, a handshake that never ends.
pub async fn silence(mut connection: RawConnection) {
    connection.until_closed().await;
}

/// A forward proxy that opens a tunnel to `target` for every CONNECT, whatever that names.
pub async fn tunnel_to(connection: RawConnection, target: SocketAddr) {
    tunnel_with(connection, "HTTP/1.1 200 Connection established\r\n\r\n", target).await;
}

/// The same with a 2xx of its own.
pub async fn tunnel_with(mut connection: RawConnection, answer: &str, target: SocketAddr) {
    if connection.read_head().await.is_none() {
        return;
    }
    let Ok(mut origin) = TcpStream::connect(target).await else { return };
    connection.send(answer).await;
    // How a tunnel breaks off shows at both ends of it.
    let _ = copy_bidirectional(&mut connection.io, &mut origin).await;
}

/// A forward proxy that answers every CONNECT with `answer`, and then closes.
pub async fn refuse_connect(connection: RawConnection, answer: impl AsRef<[u8]>) {
    answer_once(connection, answer).await;
}

async fn answer_once(mut connection: RawConnection, answer: impl AsRef<[u8]>) {
    if connection.read_head().await.is_some() {
        connection.send(answer).await;
        connection.close().await;
    }
}

/// What an HTTP/2 origin does with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2Step {
    /// 200 without a body.
    Answer,
    /// RST_STREAM with REFUSED_STREAM: nothing was processed (RFC 9113 8.7).
    Refuse,
    /// RST_STREAM with INTERNAL_ERROR: something may have been processed.
    Break,
    /// GOAWAY whose last stream id is below the request's, then the end of the connection (RFC 9113 6.8).
    GoAwayBelow,
    /// GOAWAY that includes the request, which then is never answered, and the end of the connection.
    GoAwayAt,
}

const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
/// `:status: 200` in HPACK's static table (RFC 7541 A).
const STATUS_200: &[u8] = &[0x88];

/// HTTP/2 frame by frame: `step` decides by the number of the request, counted from 1 over all connections.
pub async fn http2(mut connection: RawConnection, step: fn(usize) -> Http2Step) {
    let mut preface = [0; PREFACE];
    if connection.io.read_exact(&mut preface).await.is_err() {
        return;
    }
    connection.send(frame(SETTINGS, 0, 0, &[])).await;
    while let Some((kind, flags, stream, payload)) = read_frame(&mut connection).await {
        match kind {
            SETTINGS | PING if flags & ACK == 0 => {
                let echoed = if kind == PING { payload.as_slice() } else { &[] };
                connection.send(frame(kind, ACK, 0, echoed)).await;
            }
            HEADERS => {
                let number = connection.count(format!("HTTP/2 stream {stream}"));
                if !take(&mut connection, step(number), stream).await {
                    return connection.close().await;
                }
            }
            _ => {}
        }
    }
}

/// Whether the connection goes on.
async fn take(connection: &mut RawConnection, step: Http2Step, stream: u32) -> bool {
    let goaway = |last: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
    let sent = match step {
        Http2Step::Answer => frame(HEADERS, END_STREAM_AND_HEADERS, stream, STATUS_200),
        Http2Step::Refuse => frame(RST_STREAM, 0, stream, &REFUSED_STREAM.to_be_bytes()),
        Http2Step::Break => frame(RST_STREAM, 0, stream, &INTERNAL_ERROR.to_be_bytes()),
        Http2Step::GoAwayBelow => goaway(stream.saturating_sub(2)),
        Http2Step::GoAwayAt => goaway(stream),
    };
    connection.send(sent).await;
    !matches!(step, Http2Step::GoAwayBelow | Http2Step::GoAwayAt)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames here are short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

async fn read_frame(connection: &mut RawConnection) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    connection.io.read_exact(&mut head).await.ok()?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let mut payload = vec![0; length];
    connection.io.read_exact(&mut payload).await.ok()?;
    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    Some((head[3], head[4], stream, payload))
}

/// An address on which SYNs are dropped: a listener that accepts nothing and whose queue is full.
pub struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    /// Fills the queue; a connection that does not come into being within `patience` shows that it is full.
    ///
    /// # Panics
    /// Where the kernel goes on accepting.
    pub async fn start(patience: Duration) -> Self {
        let socket = TcpSocket::new_v4().expect("the process may open sockets");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback has a free port");
        let listener = socket.listen(1).expect("a bound socket can listen");
        let address = listener.local_addr().expect("a bound socket has an address");
        let mut queued = Vec::new();
        while let Ok(Ok(stream)) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
            queued.push(stream);
            assert!(queued.len() < 64, "the kernel goes on accepting for a listener whose queue holds one");
        }
        Self { address, _listener: listener, _queued: queued }
    }

    /// Where nobody answers.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }
}
