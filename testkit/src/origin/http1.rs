//! HTTP/1 by hand: the origin must see messages as they arrived and be able to answer wrongly, which a good server
//! library prevents. It refuses what is ambiguous and never guesses.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::exchange::{Exchange, Fields, Length, Wire};
use super::head::{Framing, Head, bad, parse_field};
use super::routes;
use super::{Connection, Io};

/// Longer heads are refused, in bytes. Far above what a proxy lets through.
const MAX_HEAD: usize = 4 << 20;
/// How much is read at once, in bytes.
const READ_SIZE: usize = 256 << 10;

/// What is left of a request's body.
#[derive(Clone, Copy)]
enum Body {
    Length(u64),
    Chunk(u64),
    ChunkEnd,
    NextChunk,
    Done,
}

/// How the body of the current response is framed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    Plain,
    Chunked,
    Nothing,
}

/// One connection.
pub(super) struct Http1 {
    io: Io,
    buffer: BytesMut,
    body: Body,
    trailers: Vec<(String, String)>,
    sending: Sending,
    keep: bool,
}

/// Answers requests until either side closes.
pub(super) async fn serve(io: Io, connection: &Connection) -> io::Result<()> {
    let mut wire = Http1 {
        io,
        buffer: BytesMut::new(),
        body: Body::Done,
        trailers: Vec::new(),
        sending: Sending::Nothing,
        keep: true,
    };
    while wire.keep {
        let Some(head) = wire.read_head().await? else { break };
        let entry = connection.origin.journal.add_request(connection.number, head.clone());
        if let Err(error) = wire.begin(&head) {
            wire.io.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await?;
            wire.io.shutdown().await?;
            return Err(error);
        }
        let mut exchange = Exchange::new(head, Wire::Http1(&mut wire), entry);
        routes::answer(&mut exchange, &connection.origin).await?;
        if !exchange.is_answered() || exchange.denied_continue() {
            break;
        }
        exchange.drain().await?;
    }
    wire.io.shutdown().await
}

impl Http1 {
    fn begin(&mut self, head: &Head) -> io::Result<()> {
        self.keep = head.version == "HTTP/1.1"
            && !head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        self.body = match head.framing()? {
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::NextChunk,
        };
        Ok(())
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ_SIZE);
        self.io.read_buf(&mut self.buffer).await
    }

    async fn fill_or_fail(&mut self) -> io::Result<()> {
        if self.fill().await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the client closed within a message"));
        }
        Ok(())
    }

    async fn read_until(&mut self, end: &[u8]) -> io::Result<Bytes> {
        let mut searched: usize = 0;
        loop {
            let from = searched.saturating_sub(end.len());
            if let Some(found) = self.buffer[from..].windows(end.len()).position(|window| window == end) {
                let text = self.buffer.split_to(from + found).freeze();
                let _ = self.buffer.split_to(end.len());
                return Ok(text);
            }
            searched = self.buffer.len();
            if searched > MAX_HEAD {
                return Err(bad("the head or chunk line is too long"));
            }
            self.fill_or_fail().await?;
        }
    }

    async fn read_head(&mut self) -> io::Result<Option<Head>> {
        if self.buffer.is_empty() && self.fill().await? == 0 {
            return Ok(None);
        }
        let text = self.read_until(b"\r\n\r\n").await?;
        Head::parse(&text).map(Some)
    }

    /// The next piece of the request's body, without framing.
    pub(super) async fn read_body(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.body {
                Body::Done | Body::Length(0) => return Ok(None),
                Body::Length(left) => {
                    let piece = self.take(left).await?;
                    self.body = Body::Length(left - piece.len() as u64);
                    return Ok(Some(piece));
                }
                Body::Chunk(left) => {
                    let piece = self.take(left).await?;
                    let left = left - piece.len() as u64;
                    self.body = if left == 0 { Body::ChunkEnd } else { Body::Chunk(left) };
                    return Ok(Some(piece));
                }
                Body::ChunkEnd => {
                    if !self.read_until(b"\r\n").await?.is_empty() {
                        return Err(bad("a chunk is longer than its size"));
                    }
                    self.body = Body::NextChunk;
                }
                Body::NextChunk => self.next_chunk().await?,
            }
        }
    }

    async fn next_chunk(&mut self) -> io::Result<()> {
        let line = self.read_until(b"\r\n").await?;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let size = size.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or_else(|| bad("bad chunk size"))?;
        if size > 0 {
            self.body = Body::Chunk(size);
            return Ok(());
        }
        self.body = Body::Done;
        loop {
            let line = self.read_until(b"\r\n").await?;
            if line.is_empty() {
                return Ok(());
            }
            let line = std::str::from_utf8(&line).map_err(|_| bad("a trailer is not UTF-8"))?;
            self.trailers.push(parse_field(line)?);
        }
    }

    async fn take(&mut self, at_most: u64) -> io::Result<Bytes> {
        if self.buffer.is_empty() {
            self.fill_or_fail().await?;
        }
        let length = usize::try_from(at_most).map_or(self.buffer.len(), |at_most| at_most.min(self.buffer.len()));
        Ok(self.buffer.split_to(length).freeze())
    }

    pub(super) fn take_trailers(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.trailers)
    }

    pub(super) async fn write_informational(&mut self, status: u16, fields: Fields<'_>) -> io::Result<()> {
        self.write_raw(head_text(status, fields, &[]).as_bytes()).await
    }

    pub(super) async fn write_head(
        &mut self,
        request: &Head,
        status: u16,
        fields: Fields<'_>,
        length: Length,
        close: bool,
    ) -> io::Result<()> {
        let bodyless = request.method == "HEAD" || matches!(status, 204 | 304);
        let mut framing = Vec::new();
        self.sending = match length {
            Length::Known(length) => {
                if status != 204 {
                    framing.push(format!("content-length: {length}"));
                }
                Sending::Plain
            }
            Length::Unknown if request.version == "HTTP/1.1" => {
                framing.push("transfer-encoding: chunked".to_owned());
                Sending::Chunked
            }
            Length::Unknown => Sending::Plain,
        };
        if bodyless {
            self.sending = Sending::Nothing;
        }
        self.keep &= !close;
        if !self.keep {
            framing.push("connection: close".to_owned());
        }
        self.write_raw(head_text(status, fields, &framing).as_bytes()).await
    }

    pub(super) async fn write_body(&mut self, piece: &[u8]) -> io::Result<()> {
        match self.sending {
            Sending::Nothing => return Ok(()),
            Sending::Plain => self.io.write_all(piece).await?,
            Sending::Chunked if piece.is_empty() => {}
            Sending::Chunked => {
                self.io.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
                self.io.write_all(piece).await?;
                self.io.write_all(b"\r\n").await?;
            }
        }
        self.io.flush().await
    }

    pub(super) async fn finish(&mut self, trailers: Fields<'_>) -> io::Result<()> {
        if self.sending == Sending::Chunked {
            let fields: String = trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            self.write_raw(format!("0\r\n{fields}\r\n").as_bytes()).await?;
        }
        Ok(())
    }

    /// Writes bytes as they are.
    pub(super) async fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// Ends the sending direction, then reads until the client ends its own.
    pub(super) async fn half_close(&mut self) -> io::Result<()> {
        self.keep = false;
        self.io.shutdown().await?;
        self.gone().await;
        Ok(())
    }

    pub(super) async fn gone(&mut self) {
        while self.buffer.len() < MAX_HEAD && self.fill().await.is_ok_and(|read| read > 0) {}
    }

    /// Takes the stream and what was read ahead of it. The connection ends with it.
    pub(super) fn take_io(&mut self) -> (Bytes, Io) {
        self.keep = false;
        (self.buffer.split().freeze(), std::mem::replace(&mut self.io, Box::new(tokio::io::empty())))
    }
}

fn head_text(status: u16, fields: Fields<'_>, framing: &[String]) -> String {
    let reason =
        http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown");
    let mut text = format!("HTTP/1.1 {status} {reason}\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    for line in framing {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text + "\r\n"
}
