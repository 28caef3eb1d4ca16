//! WebSocket (RFC 6455) as far as an echo needs it: handshake, frames, close. No extensions, no reassembly.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::exchange::Exchange;
use super::head::bad;
use crate::digest::sha1;

/// The largest payload of a frame that is read, in bytes.
const MAX_PAYLOAD: u64 = 64 << 20;

/// The opcode of a text frame.
pub const TEXT: u8 = 1;
/// The opcode of a binary frame.
pub const BINARY: u8 = 2;
/// The opcode of a close frame.
pub const CLOSE: u8 = 8;
/// The opcode of a ping.
pub const PING: u8 = 9;
/// The opcode of a pong.
pub const PONG: u8 = 10;

/// One frame, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether it ends its message.
    pub last: bool,
    /// What it is, such as [`TEXT`].
    pub opcode: u8,
    /// Its application data.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A whole message, or a control frame.
    #[must_use]
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { last: true, opcode, payload: payload.into() }
    }

    /// As sent. Clients must mask, servers must not (RFC 6455 5.1).
    #[must_use]
    pub fn encode(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![u8::from(self.last) << 7 | self.opcode];
        let length = self.payload.len();
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(length @ 0..=125), _) => bytes.push(masked | length),
            (_, Ok(length)) => {
                bytes.push(masked | 126);
                bytes.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                bytes.push(masked | 127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        let start = bytes.len() + mask.map_or(0, |mask| mask.len());
        bytes.extend_from_slice(mask.as_ref().map_or(&[], |mask| mask.as_slice()));
        bytes.extend_from_slice(&self.payload);
        apply(mask, &mut bytes[start..]);
        bytes
    }

    /// Reads the next frame.
    ///
    /// # Errors
    /// Where the stream ends, or the frame is larger than 64 MiB.
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let first = from.read_u8().await?;
        let second = from.read_u8().await?;
        let length = match second & 0x7f {
            126 => u64::from(from.read_u16().await?),
            127 => from.read_u64().await?,
            length => u64::from(length),
        };
        let length = usize::try_from(length).ok().filter(|_| length <= MAX_PAYLOAD);
        let length = length.ok_or_else(|| bad("the frame is larger than 64 MiB"))?;
        let mut mask = [0; 4];
        if second & 0x80 != 0 {
            from.read_exact(&mut mask).await?;
        }
        let mut payload = vec![0; length];
        from.read_exact(&mut payload).await?;
        apply(Some(mask), &mut payload);
        Ok(Self { last: first & 0x80 != 0, opcode: first & 0x0f, payload })
    }
}

fn apply(mask: Option<[u8; 4]>, data: &mut [u8]) {
    let mask = mask.unwrap_or_default();
    data.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= mask[at % 4]);
}

/// The `Sec-WebSocket-Accept` that answers `key` (RFC 6455 4.2.2).
#[must_use]
pub fn accept_key(key: &str) -> String {
    STANDARD.encode(sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()))
}

/// Switches to WebSocket and sends back every message; with `bad_accept`, answers the handshake wrongly.
pub(super) async fn answer(exchange: &mut Exchange<'_>, bad_accept: bool) -> io::Result<()> {
    let key = exchange.head.header("sec-websocket-key").map(str::to_owned);
    let protocol = exchange.head.header("sec-websocket-protocol").and_then(|list| list.split(',').next());
    let protocol = protocol.map(|name| format!("sec-websocket-protocol: {}\r\n", name.trim())).unwrap_or_default();
    let asked = exchange.head.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let (Some(key), true, Some(wire)) = (key, asked, exchange.http1()) else {
        return exchange.answer(426, "text/plain", "this route wants a WebSocket handshake over HTTP/1.1\n").await;
    };
    let accept = if bad_accept { accept_key("wrong") } else { accept_key(&key) };
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {accept}\r\n{protocol}\r\n"
    );
    wire.write_raw(head.as_bytes()).await?;
    let (ahead, io) = wire.take_io();
    echo(ahead, io).await?;
    exchange.mark_answered();
    Ok(())
}

async fn echo(ahead: Bytes, io: super::Io) -> io::Result<()> {
    let (reader, mut writer) = tokio::io::split(io);
    let mut reader = ahead.chain(reader);
    loop {
        let mut frame = Frame::read(&mut reader).await?;
        match frame.opcode {
            PING => frame.opcode = PONG,
            PONG => continue,
            _ => {}
        }
        writer.write_all(&frame.encode(None)).await?;
        writer.flush().await?;
        if frame.opcode == CLOSE {
            return writer.shutdown().await;
        }
    }
}
