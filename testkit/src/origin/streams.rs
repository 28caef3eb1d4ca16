//! Long, slow and endless bodies, in both directions. Memory stays flat whatever the length.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::Shared;
use super::exchange::{Exchange, Length};
use crate::digest::pattern_chunk;

/// Bytes that `/stall-body` sends before it stops.
const STALL_AFTER: u64 = 1000;

/// `/bytes/N`, `/chunked/N`, `/upload`, `/slow-body`, `/long-poll`, `/stall-head`, `/stall-body`.
pub(super) async fn answer(exchange: &mut Exchange<'_>, origin: &Shared, first: &str, rest: &str) -> io::Result<()> {
    let length: u64 = rest.parse().unwrap_or(0);
    match first {
        "bytes" => bytes(exchange, length, Length::Known(length)).await,
        "chunked" => bytes(exchange, length, Length::Unknown).await,
        "upload" => upload(exchange).await,
        "slow-body" => slow_body(exchange, origin).await,
        "long-poll" => long_poll(exchange, origin).await,
        "stall-body" => {
            exchange.respond(200, &[], Length::Known(STALL_AFTER * 2)).await?;
            exchange.write(pattern_chunk(0, STALL_AFTER)).await?;
            exchange.gone().await;
            Ok(())
        }
        _ => {
            exchange.gone().await;
            Ok(())
        }
    }
}

async fn bytes(exchange: &mut Exchange<'_>, total: u64, length: Length) -> io::Result<()> {
    exchange.respond(200, &[("content-type", "application/octet-stream")], length).await?;
    let mut sent = 0;
    while sent < total && exchange.head.method != "HEAD" {
        let chunk = pattern_chunk(sent, total - sent);
        sent += chunk.len() as u64;
        exchange.write(chunk).await?;
    }
    exchange.finish(&[]).await
}

/// `/upload`, and `/upload?hash=no` where hashing would be what limits the speed.
async fn upload(exchange: &mut Exchange<'_>) -> io::Result<()> {
    if exchange.head.query_value("hash") == Some("no") {
        exchange.forgo_hash();
    }
    exchange.drain().await?;
    let record = exchange.record();
    let body = json!({ "body_bytes": record.body_bytes, "body_sha256": record.body_sha256 });
    exchange.answer(200, "application/json", body.to_string() + "\n").await
}

/// `/slow-body?pieces=N`: each further piece waits for `Origin::release_event`, or with `&every_ms=M` for so long.
async fn slow_body(exchange: &mut Exchange<'_>, origin: &Shared) -> io::Result<()> {
    let number = |name| exchange.head.query_value(name).and_then(|value| value.parse::<u64>().ok());
    let (pieces, every) = (number("pieces").unwrap_or(3), number("every_ms").map(Duration::from_millis));
    let mut released = origin.released.subscribe();
    let start = *released.borrow_and_update();
    exchange.respond(200, &[("content-type", "text/plain")], Length::Unknown).await?;
    for piece in 0..pieces {
        if piece > 0 {
            let next = async {
                match every {
                    Some(every) => tokio::time::sleep(every).await,
                    None => drop(released.wait_for(|released| *released >= start + piece).await),
                }
            };
            tokio::select! {
                () = next => {}
                () = exchange.gone() => return Ok(()),
            }
        }
        exchange.write(Bytes::from(format!("piece {piece}\n"))).await?;
    }
    exchange.finish(&[]).await
}

/// `/long-poll`: the whole response waits for `Origin::release_event`.
async fn long_poll(exchange: &mut Exchange<'_>, origin: &Shared) -> io::Result<()> {
    let mut released = origin.released.subscribe();
    released.mark_unchanged();
    tokio::select! {
        _ = released.changed() => exchange.answer(200, "text/plain", "news\n").await,
        () = exchange.gone() => Ok(()),
    }
}

/// `/sse?events=N`: event 0 at once, event n+1 only after `Origin::release_event` or `POST /sse/ack`; endless without N.
pub(super) async fn sse(exchange: &mut Exchange<'_>, origin: &Shared, rest: &str) -> io::Result<()> {
    if rest == "ack" {
        exchange.drain().await?;
        origin.released.send_modify(|released| *released += 1);
        return exchange.answer(200, "text/plain", "released\n").await;
    }
    let events = exchange.head.query_value("events").and_then(|value| value.parse().ok()).unwrap_or(u64::MAX);
    let mut released = origin.released.subscribe();
    let start = *released.borrow_and_update();
    let fields = [("content-type", "text/event-stream"), ("cache-control", "no-store")];
    exchange.respond(200, &fields, Length::Unknown).await?;
    for event in 0..events {
        tokio::select! {
            _ = released.wait_for(|released| *released >= start + event) => {}
            () = exchange.gone() => return Ok(()),
        }
        exchange.write(Bytes::from(format!("id: {event}\ndata: event {event}\n\n"))).await?;
    }
    exchange.finish(&[]).await
}
