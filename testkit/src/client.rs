//! Clients for tests: raw bytes to a proxy, CONNECT, TLS inside the tunnel, HTTP over it. Nothing here follows redirects,
//! retries or falls back: what a test asks for is what is sent.

mod body;
mod http;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub use self::body::{Body, Consumed, bytes_body, consume, empty_body, pattern_body};
pub use self::http::{Client, Fetched, read};
pub use self::tls::ClientTls;
use crate::origin::{ResponseHead, parse_response_head};

/// How often [`eventually`] looks at its condition.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The longest head of a response that is read, in bytes.
const MAX_HEAD: usize = 1 << 20;

/// Waits until `condition` holds. The only place that polls: for what has no event to await.
///
/// # Panics
/// Where it does not hold after `deadline`.
pub async fn eventually(deadline: Duration, mut condition: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    let held = async {
        loop {
            ticks.tick().await;
            if condition() {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(deadline, held).await.is_ok(), "the condition did not hold within {deadline:?}");
}

/// The key that [`websocket`] sends: the example of RFC 6455 1.3.
pub const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What came back on a raw connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawReply {
    /// Every byte that arrived.
    pub bytes: Vec<u8>,
    /// Whether the peer closed; otherwise the deadline ended the wait.
    pub closed: bool,
}

impl RawReply {
    /// The bytes as text, with what is not UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Sends `bytes` as they are and reads until the peer closes or `deadline` has passed.
///
/// # Errors
/// Where the proxy does not accept connections.
pub async fn raw(proxy: SocketAddr, bytes: &[u8], deadline: Duration) -> io::Result<RawReply> {
    let mut stream = TcpStream::connect(proxy).await?;
    // A peer that refuses early may close before it has read everything; what it said still counts.
    let _ = stream.write_all(bytes).await;
    Ok(read_all(&mut stream, deadline).await)
}

/// Reads until the peer closes or `deadline` has passed.
pub async fn read_all(stream: &mut (impl AsyncRead + Unpin), deadline: Duration) -> RawReply {
    let mut bytes = Vec::new();
    let closed = tokio::time::timeout(deadline, async {
        let mut chunk = [0; 16 << 10];
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            bytes.extend_from_slice(&chunk[..read]);
        }
    });
    let closed = closed.await.is_ok();
    RawReply { bytes, closed }
}

/// The answer to a CONNECT or an upgrade, up to where the protocol switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// Header fields in order.
    pub headers: Vec<(String, String)>,
    /// The body of a refusal; empty for 101 and for a 2xx to CONNECT, which have none (RFC 9110 9.3.6).
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of the first field with this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Sends `CONNECT authority` and reads the answer. After a 2xx, the stream is the tunnel.
///
/// # Errors
/// Where the proxy cannot be reached, or does not answer with HTTP.
pub async fn connect_through(proxy: SocketAddr, authority: &str) -> io::Result<(Reply, TcpStream)> {
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    connect_with(proxy, request.as_bytes()).await
}

/// As [`connect_through`] with a request head, and perhaps more, of the caller's own.
///
/// # Errors
/// As there.
pub async fn connect_with(proxy: SocketAddr, request: &[u8]) -> io::Result<(Reply, TcpStream)> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    let reply = ask(&mut stream, request).await?;
    Ok((reply, stream))
}

/// Asks for a WebSocket at `path` over `stream`. After a 101, the stream carries frames; the caller checks the fields.
///
/// # Errors
/// Where the answer is not HTTP.
pub async fn websocket<S>(stream: &mut S, host: &str, path: &str) -> io::Result<Reply>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {WEBSOCKET_KEY}\r\n\r\n"
    );
    ask(stream, request.as_bytes()).await
}

async fn ask<S>(stream: &mut S, request: &[u8]) -> io::Result<Reply>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request).await?;
    stream.flush().await?;
    let ResponseHead { status, reason, headers } = parse_response_head(&read_head(stream).await?)?;
    let mut reply = Reply { status, reason, headers, body: Vec::new() };
    if status == 101 || (200..300).contains(&status) {
        return Ok(reply);
    }
    match reply.header("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => {
            reply.body = vec![0; length];
            stream.read_exact(&mut reply.body).await?;
        }
        None => {
            stream.read_to_end(&mut reply.body).await?;
        }
    }
    Ok(reply)
}

/// Byte by byte, because what follows the head belongs to the tunnel.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MAX_HEAD {
            return Err(io::Error::other("the head of the answer is longer than a mebibyte"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// A tunnel to `authority`.
///
/// # Errors
/// Where the proxy refuses, with its status and reason in the text.
pub async fn tunnel(proxy: SocketAddr, authority: &str) -> io::Result<TcpStream> {
    let (reply, stream) = connect_through(proxy, authority).await?;
    if reply.status == 200 {
        return Ok(stream);
    }
    let body = String::from_utf8_lossy(&reply.body).into_owned();
    Err(io::Error::other(format!("CONNECT {authority}: {} {}: {body}", reply.status, reply.reason)))
}

/// An HTTP/1.1 or HTTP/2 client inside a tunnel to `host:port`, whichever ALPN chose.
///
/// # Errors
/// Where the proxy refuses the tunnel, or the TLS handshake fails.
pub async fn https_through(proxy: SocketAddr, host: &str, port: u16, tls: &ClientTls) -> io::Result<Client> {
    let stream = tunnel(proxy, &format!("{host}:{port}")).await?;
    Client::over_tls(tls.handshake(host, stream).await?).await
}

/// A client that sends `http://` requests to the proxy in absolute form.
///
/// # Errors
/// Where the proxy does not accept connections.
pub async fn http_through(proxy: SocketAddr) -> io::Result<Client> {
    Client::http1_proxy(TcpStream::connect(proxy).await?).await
}

/// GET of a path from a plain HTTP server, such as the sidecar's health port.
///
/// # Errors
/// Where it does not answer.
pub async fn http_get(server: SocketAddr, path: &str) -> io::Result<Fetched> {
    let mut client = Client::http1(TcpStream::connect(server).await?).await?;
    client.get(&format!("http://{server}{path}")).await
}
