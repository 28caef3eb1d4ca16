//! The opaque tunnel of a `tls: passthrough` rule. Its ClientHello must name the CONNECT's host; the rest is not looked at.

use std::sync::Arc;

use bytes::BytesMut;
use sandgate_policy::Ech;
use sandgate_policy::destination::{Destination, Host};
use tls_parser::{TlsMessage, TlsMessageHandshake};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::audit::{Kind, Record, Verdict};
use crate::enforcement::Grant;
use crate::engine::Engine;
use crate::proxy::Client;
use crate::refusal::Code;
use crate::relay::relay;
use crate::upstream::Failure;

/// The largest ClientHello, with its record headers. Post-quantum key shares make some 2 KiB; the rest is room.
const MAX_CLIENT_HELLO: usize = 16 * 1024;
const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;
const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// The extension `server_name` and the one kind of name in it (RFC 6066 3).
const SERVER_NAME: u16 = 0;
const HOST_NAME: &u8 = &0;
/// `encrypted_client_hello` (RFC 9849), and the draft that some clients still send.
const ECH_EXTENSIONS: [u16; 2] = [0xfe0d, 0xffce];

/// Serves a tunnel whose first bytes are TLS and whose rule passes it through.
///
/// # Errors
/// The failure of a ClientHello that names no or another host, or of an origin that can't be reached.
pub async fn serve(
    engine: &Arc<Engine>,
    client: &Arc<Client>,
    destination: &Destination,
    ech: Ech,
    mut first: BytesMut,
    mut stream: TcpStream,
) -> Result<(), Failure> {
    let started = Instant::now();
    let read = timeout(engine.settings.handshake_timeout, read_client_hello(&mut stream, &mut first)).await;
    let hello = read.map_err(|_| Code::ClientTimeout)??;
    check(&hello, &destination.host, ech)?;
    let (snapshot, lease, rule) = loop {
        let snapshot = engine.enforcement.current();
        let rule = snapshot.policy.judge_connect(&destination.host, destination.port).https;
        let rule = rule.ok_or(Code::PolicyChanged)?;
        let grant = Grant::Passthrough { host: destination.host.clone(), port: destination.port };
        if let Ok(lease) = engine.enforcement.grant(snapshot.generation, grant, &client.link) {
            break (snapshot, lease, rule);
        }
    };
    let _permit = engine.limiter.admit(&rule, Instant::now()).map_err(|exceeded| exceeded.code)?;
    let profile = snapshot.profile(Some(&rule.id));
    let (mut origin, peer) = tokio::select! {
        biased;
        () = lease.revoked() => return Err(Code::PolicyChanged.into()),
        dialled = engine.upstream.dial(destination, &profile) => dialled?,
    };
    lease.leads_to(&peer);
    if lease.is_revoked() {
        return Err(Code::PolicyChanged.into());
    }
    let mut line = Record::new(Kind::TunnelEnd, client.connection, Verdict::Allowed).to(destination);
    line.rule = Some(Arc::clone(&rule.id));
    line.leads_to(&peer);
    line.connect = Some(started.elapsed());
    let sent = first.len() as u64;
    origin.write_all(&first).await.map_err(|_| Code::UpstreamClosed)?;
    drop(first);
    let ended = relay(stream, origin, &lease, rule.limits.idle).await;
    line.code = ended.code;
    line.bytes_up = Some(ended.bytes_up + sent);
    line.bytes_down = Some(ended.bytes_down);
    line.total = Some(started.elapsed());
    engine.audit.record(line);
    Ok(())
}

/// What a ClientHello says about the host.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The one name of `server_name`, as it was sent.
    pub server_name: Option<String>,
    /// Whether an inner ClientHello is hidden in it.
    pub encrypted: bool,
}

fn check(hello: &ClientHello, host: &Host, ech: Ech) -> Result<(), Code> {
    if hello.encrypted && ech == Ech::Refuse {
        return Err(Code::EchNotAllowed);
    }
    match (&hello.server_name, host) {
        // RFC 6066 3 allows no literal in server_name, so a client that connects to one sends none.
        (None, Host::Address(_)) => Ok(()),
        (Some(name), Host::Name(_)) if Host::parse(name).is_ok_and(|name| name == *host) => Ok(()),
        _ => Err(Code::SniMismatch),
    }
}

/// Reads until the ClientHello is whole. `buffer` then holds every byte that was read, to be sent on.
async fn read_client_hello(stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<ClientHello, Code> {
    loop {
        if let Some(message) = client_hello_message(buffer)? {
            return parse_client_hello(&message);
        }
        if buffer.len() >= MAX_CLIENT_HELLO {
            return Err(Code::UnknownProtocol);
        }
        if stream.read_buf(buffer).await.map_err(|_| Code::ClientClosed)? == 0 {
            return Err(Code::ClientClosed);
        }
    }
}

/// The handshake message in the records so far, or `None` while it is not whole. A ClientHello may be spread over many
/// records (RFC 8446 5.1).
///
/// # Errors
/// [`Code::UnknownProtocol`] where the records hold no ClientHello, or one larger than [`MAX_CLIENT_HELLO`].
pub fn client_hello_message(mut records: &[u8]) -> Result<Option<Vec<u8>>, Code> {
    let mut message = Vec::new();
    while let Some((header, rest)) = records.split_at_checked(RECORD_HEADER) {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != HANDSHAKE_RECORD || header[1] != 3 || length == 0 {
            return Err(Code::UnknownProtocol);
        }
        let whole = rest.split_at_checked(length);
        message.extend_from_slice(whole.map_or(rest, |(fragment, _)| fragment));
        if let Some(length) = message_length(&message)?
            && message.len() >= length
        {
            message.truncate(length);
            return Ok(Some(message));
        }
        match whole {
            Some((_, next)) => records = next,
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// The length of a ClientHello with its header, once that can be read.
fn message_length(message: &[u8]) -> Result<Option<usize>, Code> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(Code::UnknownProtocol);
    }
    let Some(header) = message.first_chunk::<HANDSHAKE_HEADER>() else { return Ok(None) };
    let length = HANDSHAKE_HEADER + u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
    if length > MAX_CLIENT_HELLO { Err(Code::UnknownProtocol) } else { Ok(Some(length)) }
}

/// Reads `server_name` and whether there is an `encrypted_client_hello`.
///
/// # Errors
/// [`Code::UnknownProtocol`] where the message is not a ClientHello; [`Code::SniMismatch`] where it has more than one name,
/// or one that is not text.
pub fn parse_client_hello(message: &[u8]) -> Result<ClientHello, Code> {
    let Ok(([], TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)))) =
        tls_parser::parse_tls_message_handshake(message)
    else {
        return Err(Code::UnknownProtocol);
    };
    let mut extensions = hello.ext.unwrap_or_default();
    let mut found = ClientHello::default();
    while !extensions.is_empty() {
        let (kind, rest) = extensions.split_first_chunk().ok_or(Code::UnknownProtocol)?;
        let (data, rest) = prefixed(rest).ok_or(Code::UnknownProtocol)?;
        match u16::from_be_bytes(*kind) {
            SERVER_NAME => found.add_name(data)?,
            kind if ECH_EXTENSIONS.contains(&kind) => found.encrypted = true,
            _ => {}
        }
        extensions = rest;
    }
    Ok(found)
}

/// Splits off what a length of two bytes announces.
fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

impl ClientHello {
    /// Takes a `server_name` extension: a list of exactly one host name, and nothing behind it (RFC 6066 3). What is read
    /// leniently here could be read as another name by the origin.
    fn add_name(&mut self, extension: &[u8]) -> Result<(), Code> {
        let Some((list, [])) = prefixed(extension) else { return Err(Code::SniMismatch) };
        let Some((HOST_NAME, name)) = list.split_first() else { return Err(Code::SniMismatch) };
        let Some((name, [])) = prefixed(name) else { return Err(Code::SniMismatch) };
        let name = std::str::from_utf8(name).map_err(|_| Code::SniMismatch)?;
        match self.server_name.replace(name.to_owned()) {
            None => Ok(()),
            Some(_) => Err(Code::SniMismatch),
        }
    }
}
