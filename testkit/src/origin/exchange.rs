//! One request and its response, the same for HTTP/1 and HTTP/2. Streams both bodies and never holds one.

use std::io;

use bytes::Bytes;

use super::head::Head;
use super::http1::Http1;
use super::http2::Http2;
use super::journal::{Entry, RecordedRequest};

/// How long the body of a response will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// This many bytes, announced in `Content-Length`.
    Known(u64),
    /// Not announced: chunked in HTTP/1.
    Unknown,
}

/// Header or trailer fields of a response.
pub(super) type Fields<'a> = &'a [(&'a str, &'a str)];

/// The protocol below.
pub(super) enum Wire<'a> {
    Http1(&'a mut Http1),
    Http2(Box<Http2>),
}

/// One request that is being answered.
pub(super) struct Exchange<'a> {
    /// The head of the request.
    pub(super) head: Head,
    wire: Wire<'a>,
    entry: Entry,
    expects_continue: bool,
    body_ended: bool,
    answered: bool,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(head: Head, wire: Wire<'a>, entry: Entry) -> Self {
        let expects_continue = head.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        Self { head, wire, entry, expects_continue, body_ended: false, answered: false }
    }

    /// What the journal holds about this request so far.
    pub(super) fn record(&self) -> RecordedRequest {
        self.entry.record()
    }

    /// Stops hashing the body.
    pub(super) fn forgo_hash(&mut self) {
        self.entry.forgo_hash();
    }

    /// Reads the body without the `100 Continue` that the client asked for.
    pub(super) fn forgo_continue(&mut self) {
        self.expects_continue = false;
    }

    /// The connection, where it is HTTP/1: what switches protocols or breaks rules writes to it directly.
    pub(super) fn http1(&mut self) -> Option<&mut Http1> {
        match &mut self.wire {
            Wire::Http1(wire) => Some(wire),
            Wire::Http2(_) => None,
        }
    }

    /// The next piece of the request's body; `None` at its end. Sends `100 Continue` first where it is expected.
    pub(super) async fn read(&mut self) -> io::Result<Option<Bytes>> {
        if self.body_ended {
            return Ok(None);
        }
        if std::mem::take(&mut self.expects_continue) {
            self.informational(100, &[]).await?;
        }
        let piece = match &mut self.wire {
            Wire::Http1(wire) => wire.read_body().await?,
            Wire::Http2(wire) => wire.read_body().await?,
        };
        match &piece {
            Some(piece) => self.entry.body_chunk(piece),
            None => self.end_body().await?,
        }
        Ok(piece)
    }

    async fn end_body(&mut self) -> io::Result<()> {
        self.body_ended = true;
        let trailers = match &mut self.wire {
            Wire::Http1(wire) => wire.take_trailers(),
            Wire::Http2(wire) => wire.read_trailers().await?,
        };
        self.entry.body_end(trailers);
        Ok(())
    }

    /// Reads the rest of the body and forgets it.
    pub(super) async fn drain(&mut self) -> io::Result<()> {
        while self.read().await?.is_some() {}
        Ok(())
    }

    /// Sends a 1xx response.
    pub(super) async fn informational(&mut self, status: u16, fields: Fields<'_>) -> io::Result<()> {
        match &mut self.wire {
            Wire::Http1(wire) => wire.write_informational(status, fields).await,
            Wire::Http2(wire) => wire.write_informational(status, fields),
        }
    }

    /// Sends the head of the response.
    pub(super) async fn respond(&mut self, status: u16, fields: Fields<'_>, length: Length) -> io::Result<()> {
        let close = self.expects_continue;
        match &mut self.wire {
            Wire::Http1(wire) => wire.write_head(&self.head, status, fields, length, close).await,
            Wire::Http2(wire) => wire.write_head(status, fields, length),
        }
    }

    /// Sends a piece of the response's body, waiting for the client where it is slower.
    pub(super) async fn write(&mut self, piece: Bytes) -> io::Result<()> {
        if self.head.method == "HEAD" {
            return Ok(());
        }
        match &mut self.wire {
            Wire::Http1(wire) => wire.write_body(&piece).await,
            Wire::Http2(wire) => wire.write_body(piece).await,
        }
    }

    /// Ends the response. Without a `Length::Unknown` body, HTTP/1 has no place for `trailers` and drops them.
    pub(super) async fn finish(&mut self, trailers: Fields<'_>) -> io::Result<()> {
        match &mut self.wire {
            Wire::Http1(wire) => wire.finish(trailers).await?,
            Wire::Http2(wire) => wire.finish(trailers)?,
        }
        self.answered = true;
        self.entry.answered();
        Ok(())
    }

    /// A whole response in one call.
    pub(super) async fn answer(&mut self, status: u16, content_type: &str, body: impl Into<Bytes>) -> io::Result<()> {
        let body = body.into();
        let fields = [("content-type", content_type)];
        self.respond(status, &fields, Length::Known(body.len() as u64)).await?;
        self.write(body).await?;
        self.finish(&[]).await
    }

    /// Waits until the client has gone away. What it still sends in HTTP/1 is kept for the next read.
    pub(super) async fn gone(&mut self) {
        match &mut self.wire {
            Wire::Http1(wire) => wire.gone().await,
            Wire::Http2(wire) => wire.gone().await,
        }
    }

    /// Records a response that was written past this type.
    pub(super) fn mark_answered(&mut self) {
        self.answered = true;
        self.entry.answered();
    }

    /// Whether a response was completed.
    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether the client still waits for a `100 Continue` that will not come.
    pub(super) fn denied_continue(&self) -> bool {
        self.expects_continue
    }
}
