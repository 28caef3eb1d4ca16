//! Exchanges beyond request and response: interim responses, trailers, unasked switches, half-closed connections.

use std::io;

use bytes::Bytes;

use super::exchange::{Exchange, Length};

const TEXT: &str = "text/plain; charset=utf-8";

/// `/trailers`, `/expect-100/…`, `/informational`, `/unasked-101`, `/half-close`.
pub(super) async fn answer(exchange: &mut Exchange<'_>, first: &str, rest: &str) -> io::Result<()> {
    match first {
        "trailers" => trailers(exchange).await,
        "expect-100" => expect_continue(exchange, rest).await,
        "informational" => {
            exchange.informational(103, &[("link", "</style.css>; rel=preload")]).await?;
            exchange.answer(200, TEXT, "after 103\n").await
        }
        "unasked-101" => unasked_switch(exchange).await,
        _ => half_close(exchange).await,
    }
}

/// Two trailers, of which the `Trailer` field announces only the first.
async fn trailers(exchange: &mut Exchange<'_>) -> io::Result<()> {
    exchange.drain().await?;
    exchange.respond(200, &[("content-type", TEXT), ("trailer", "x-announced")], Length::Unknown).await?;
    exchange.write(Bytes::from_static(b"body\n")).await?;
    exchange.finish(&[("x-announced", "yes"), ("x-unannounced", "yes")]).await
}

/// `/expect-100/continue` (100, then 200), `/expect-100/none` (200 without 100), `/expect-100/final` (417 at once).
async fn expect_continue(exchange: &mut Exchange<'_>, rest: &str) -> io::Result<()> {
    match rest {
        "final" => return exchange.answer(417, TEXT, "the body is not wanted\n").await,
        "none" => exchange.forgo_continue(),
        _ => {}
    }
    exchange.drain().await?;
    let bytes = exchange.record().body_bytes;
    exchange.answer(200, TEXT, format!("{bytes} bytes\n")).await
}

/// 101 to a request that asked for no upgrade. HTTP/2 has no 101.
async fn unasked_switch(exchange: &mut Exchange<'_>) -> io::Result<()> {
    let Some(wire) = exchange.http1() else {
        return exchange.answer(505, TEXT, "only over HTTP/1.1\n").await;
    };
    wire.write_raw(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await?;
    wire.write_raw(b"\x81\x07unasked").await?;
    wire.gone().await;
    exchange.mark_answered();
    Ok(())
}

/// A body that ends with the connection, after which the origin reads until the client ends its direction too.
async fn half_close(exchange: &mut Exchange<'_>) -> io::Result<()> {
    let Some(wire) = exchange.http1() else {
        return exchange.answer(505, TEXT, "only over HTTP/1.1\n").await;
    };
    wire.write_raw(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end\n").await?;
    wire.half_close().await?;
    exchange.mark_answered();
    Ok(())
}
