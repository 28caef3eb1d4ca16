//! A client of a proxy: a tunnel by CONNECT, TLS inside, and requests. HTTP/1.1 is spoken by hand, as cheaply as can be, for
//! the client shares its core with the origin; HTTP/2 is hyper's.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::origin::Zeroes;
use crate::protocol::Protocol;

const BUFFER: usize = 64 * 1024;
/// More fields than any proxy here adds.
const MAX_FIELDS: usize = 64;

/// How clients come to the origin by way of one proxy.
#[derive(Clone)]
pub(crate) struct Route {
    proxy: SocketAddr,
    roots: Arc<RootCertStore>,
}

/// What clients offer for the exchange of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Groups {
    /// X25519 and curves, so that every proxy does the same work.
    Classical,
    /// X25519MLKEM768 before them, as current browsers and OpenSSL do. Who can takes it, and pays for it.
    Hybrid,
}

/// A client's TLS: which HTTP it offers, and the sessions that it remembers.
#[derive(Clone)]
pub(crate) struct Tls {
    protocol: Protocol,
    connector: TlsConnector,
}

impl Route {
    /// Clients of the proxy at this address, who trust this CA alone.
    pub(crate) fn new(proxy: SocketAddr, ca_pem: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_slice(ca_pem.as_bytes())?)?;
        Ok(Self { proxy, roots: Arc::new(roots) })
    }

    /// TLS for connections of which none resumes an earlier one's session.
    pub(crate) fn tls(&self, protocol: Protocol) -> anyhow::Result<Tls> {
        self.tls_with(protocol, Groups::Classical, Resumption::disabled())
    }

    /// TLS for connections that resume an earlier one's session where they can.
    pub(crate) fn resuming_tls(&self, protocol: Protocol) -> anyhow::Result<Tls> {
        self.tls_with(protocol, Groups::Classical, Resumption::default())
    }

    /// TLS for connections that offer a post-quantum exchange of keys, and resume no session.
    pub(crate) fn hybrid_tls(&self, protocol: Protocol) -> anyhow::Result<Tls> {
        self.tls_with(protocol, Groups::Hybrid, Resumption::disabled())
    }

    fn tls_with(&self, protocol: Protocol, groups: Groups, resumption: Resumption) -> anyhow::Result<Tls> {
        let mut provider = aws_lc_rs::default_provider();
        if groups == Groups::Classical {
            provider.kx_groups = vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()?;
        let mut config = builder.with_root_certificates(Arc::clone(&self.roots)).with_no_client_auth();
        config.alpn_protocols = vec![protocol.alpn().to_vec()];
        config.resumption = resumption;
        Ok(Tls { protocol, connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Asks for a tunnel, and returns the status of the answer, with the connection.
    pub(crate) async fn ask(&self, host: &str) -> anyhow::Result<(u16, TcpStream)> {
        let mut stream = TcpStream::connect(self.proxy).await?;
        stream.set_nodelay(true)?;
        let request = format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(1024);
        loop {
            ensure!(stream.read_buf(&mut answer).await? > 0, "the proxy closed the connection instead of an answer");
            if let Some(head) = Head::parse(&answer)? {
                return Ok((head.status, stream));
            }
        }
    }

    /// Opens a tunnel to the host, with TLS and HTTP in it.
    pub(crate) async fn open(&self, tls: &Tls, host: &str) -> anyhow::Result<Tunnel> {
        let (status, stream) = self.ask(host).await?;
        ensure!(status == 200, "CONNECT was answered with {status}");
        let stream = tls.connector.connect(ServerName::try_from(host.to_owned())?, stream).await?;
        let connection = stream.get_ref().1;
        let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        ensure!(
            tls.protocol == Protocol::Http1 || connection.alpn_protocol() == Some(tls.protocol.alpn()),
            "the proxy does not speak {} to its clients",
            tls.protocol
        );
        let speech = match tls.protocol {
            Protocol::Http1 => Speech::Http1(Box::new(Http1 { stream, buffer: vec![0; 4096] })),
            Protocol::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.initial_stream_window_size(1 << 20).initial_connection_window_size(16 << 20);
                let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                Speech::Http2(sender)
            }
        };
        Ok(Tunnel { host: host.to_owned(), is_resumed, speech })
    }
}

/// An open tunnel.
pub(crate) struct Tunnel {
    host: String,
    /// Whether its TLS went on from an earlier session.
    pub(crate) is_resumed: bool,
    speech: Speech,
}

enum Speech {
    Http1(Box<Http1>),
    Http2(SendRequest<BoxBody<Bytes, std::convert::Infallible>>),
}

impl Tunnel {
    /// Gets what is there, and returns the length of its body. It is read and forgotten.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<u64> {
        match &mut self.speech {
            Speech::Http1(http1) => {
                http1.request(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host), 0).await
            }
            Speech::Http2(sender) => {
                let request = Request::get(format!("https://{}{path}", self.host)).body(Empty::new().boxed())?;
                exchange(sender, request).await
            }
        }
    }

    /// Sends so many bytes.
    pub(crate) async fn put(&mut self, path: &str, length: u64) -> anyhow::Result<()> {
        match &mut self.speech {
            Speech::Http1(http1) => {
                let host = &self.host;
                let head = format!("PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
                http1.request(&head, length).await.map(drop)
            }
            Speech::Http2(sender) => {
                let body = Zeroes { left: length }.boxed();
                exchange(sender, Request::put(format!("https://{}{path}", self.host)).body(body)?).await.map(drop)
            }
        }
    }
}

async fn exchange(
    sender: &mut SendRequest<BoxBody<Bytes, std::convert::Infallible>>,
    request: Request<BoxBody<Bytes, std::convert::Infallible>>,
) -> anyhow::Result<u64> {
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    ensure!(response.status() == 200, "the answer was {}", response.status());
    let (mut body, mut length) = (response.into_body(), 0);
    while let Some(frame) = body.frame().await {
        length += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(length)
}

struct Http1 {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Http1 {
    async fn request(&mut self, head: &str, body: u64) -> anyhow::Result<u64> {
        self.stream.write_all(head.as_bytes()).await?;
        let mut left = body;
        let zeroes = [0; BUFFER];
        while left > 0 {
            let piece = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
            self.stream.write_all(&zeroes[..piece]).await?;
            left -= piece as u64;
        }
        self.stream.flush().await?;
        let mut filled = 0;
        let head = loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            ensure!(read > 0, "the tunnel ended instead of an answer");
            filled += read;
            if let Some(head) = Head::parse(&self.buffer[..filled])? {
                break head;
            }
        };
        ensure!(head.status == 200, "the answer was {}", head.status);
        let mut received = (filled - head.length) as u64;
        let mut left = head.body.saturating_sub(received);
        if left > BUFFER as u64 {
            self.buffer.resize(BUFFER, 0);
        }
        while left > 0 {
            let read = self.stream.read(&mut self.buffer).await?;
            ensure!(read > 0, "the answer ended {left} bytes early");
            received += read as u64;
            left = left.saturating_sub(read as u64);
        }
        Ok(received)
    }
}

/// The head of an HTTP/1.1 response.
struct Head {
    status: u16,
    length: usize,
    body: u64,
}

impl Head {
    /// Reads it, if all of it is there.
    fn parse(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(length) = response.parse(bytes)? else { return Ok(None) };
        let status = response.code.context("an answer without a status")?;
        let mut body = 0;
        for field in response.headers.iter() {
            if field.name.eq_ignore_ascii_case("content-length") {
                body = std::str::from_utf8(field.value)?.parse()?;
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                bail!("the origin announces a length, and the proxy takes that away");
            }
        }
        Ok(Some(Self { status, length, body }))
    }
}
