//! A gRPC service whose messages are plain bytes, so that clients need no generated code. It needs HTTP/2, as gRPC does.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::exchange::{Exchange, Length};
use super::head::bad;

/// How often `ServerStream` repeats its message.
const REPEATS: usize = 3;
const OK: &[(&str, &str)] = &[("grpc-status", "0")];
const FAILED: &[(&str, &str)] = &[("grpc-status", "9"), ("grpc-message", "asked to fail")];
const UNKNOWN: &[(&str, &str)] = &[("grpc-status", "12"), ("grpc-message", "no such method")];

/// `Unary` and `BidiStream` send back each message, `ServerStream` three times, `Fail` ends with FAILED_PRECONDITION.
pub(super) async fn answer(exchange: &mut Exchange<'_>, method: &str) -> io::Result<()> {
    if exchange.head.version != "HTTP/2" {
        return exchange.answer(505, "text/plain", "gRPC needs HTTP/2\n").await;
    }
    exchange.respond(200, &[("content-type", "application/grpc")], Length::Unknown).await?;
    let repeats = match method {
        "Unary" | "BidiStream" => 1,
        "ServerStream" => REPEATS,
        "Fail" => return exchange.finish(FAILED).await,
        _ => return exchange.finish(UNKNOWN).await,
    };
    let mut buffer = BytesMut::new();
    while let Some(message) = next_message(exchange, &mut buffer).await? {
        for _ in 0..repeats {
            exchange.write(frame(&message)).await?;
        }
    }
    exchange.finish(OK).await
}

async fn next_message(exchange: &mut Exchange<'_>, buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    loop {
        if let Some(message) = parse(buffer) {
            return Ok(Some(message));
        }
        match exchange.read().await? {
            Some(piece) => buffer.extend_from_slice(&piece),
            None if buffer.is_empty() => return Ok(None),
            None => return Err(bad("the gRPC stream ended within a message")),
        }
    }
}

/// A message with its prefix: one byte for "not compressed", four for the length.
#[must_use]
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("test messages are short"));
    framed.extend_from_slice(message);
    framed.freeze()
}

/// Takes the first whole message out of `buffer`.
pub(crate) fn parse(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(buffer.get(1..5)?.try_into().ok()?);
    let end = 5 + usize::try_from(length).ok()?;
    if buffer.len() < end {
        return None;
    }
    let mut message = buffer.split_to(end);
    message.advance(5);
    Some(message.freeze())
}
