//! What an origin answers to which path. The routes themselves are in their own files by kind.

use std::io;

use serde_json::json;

use super::exchange::{Exchange, Length};
use super::{Shared, apis, files, git, grpc, odd, streams, websocket};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Answers one request.
pub(super) async fn answer(exchange: &mut Exchange<'_>, origin: &Shared) -> io::Result<()> {
    let path = exchange.head.path().to_owned();
    let (first, rest) = path[1.min(path.len())..].split_once('/').unwrap_or((&path[1.min(path.len())..], ""));
    match first {
        "" => exchange.answer(200, TEXT, "sandgate test origin\n").await,
        "zen" => exchange.answer(200, TEXT, "Keep it logically awesome.\n").await,
        "echo" => echo(exchange).await,
        "cookies" => cookies(exchange).await,
        "status" => status(exchange, rest).await,
        "redirect" => redirect(exchange).await,
        "bytes" | "chunked" | "upload" | "slow-body" | "long-poll" | "stall-head" | "stall-body" => {
            streams::answer(exchange, origin, first, rest).await
        }
        "sse" => streams::sse(exchange, origin, rest).await,
        "trailers" | "expect-100" | "informational" | "unasked-101" | "half-close" => {
            odd::answer(exchange, first, rest).await
        }
        "ws" => websocket::answer(exchange, false).await,
        "ws-bad-accept" => websocket::answer(exchange, true).await,
        "sandgate.test.Echo" => grpc::answer(exchange, rest).await,
        "git" => git::answer(exchange, origin, rest).await,
        "v1" => apis::model(exchange, origin, rest).await,
        "s3" => apis::object(exchange).await,
        _ => files::answer(exchange, origin, &path).await,
    }
}

async fn echo(exchange: &mut Exchange<'_>) -> io::Result<()> {
    exchange.drain().await?;
    let record = exchange.record();
    let body = json!({
        "method": record.head.method,
        "target": record.head.target,
        "version": record.head.version,
        "authority": record.head.authority,
        "headers": record.head.headers,
        "body_bytes": record.body_bytes,
        "body_sha256": record.body_sha256,
        "trailers": record.trailers,
        "connection": record.connection,
        "sni": record.tls.as_ref().and_then(|tls| tls.sni.clone()),
        "alpn": record.tls.as_ref().and_then(|tls| tls.alpn.clone()),
    });
    exchange.answer(200, JSON, body.to_string() + "\n").await
}

async fn cookies(exchange: &mut Exchange<'_>) -> io::Result<()> {
    let lines = json!(exchange.head.header_lines("cookie")).to_string();
    let fields = [("content-type", JSON), ("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2; Path=/")];
    exchange.respond(200, &fields, Length::Known(lines.len() as u64)).await?;
    exchange.write(lines.into()).await?;
    exchange.finish(&[]).await
}

async fn status(exchange: &mut Exchange<'_>, rest: &str) -> io::Result<()> {
    let Some(status) = rest.parse().ok().filter(|status| (200..600).contains(status)) else {
        return exchange.answer(400, TEXT, "use /status/200 to /status/599\n").await;
    };
    exchange.drain().await?;
    if matches!(status, 204 | 304) {
        exchange.respond(status, &[], Length::Known(0)).await?;
        return exchange.finish(&[]).await;
    }
    exchange.answer(status, TEXT, format!("{status}\n")).await
}

/// `/redirect?to=URL`, by default to `/`.
async fn redirect(exchange: &mut Exchange<'_>) -> io::Result<()> {
    let to = exchange.head.query_value("to").unwrap_or("/").to_owned();
    exchange.respond(302, &[("location", &to)], Length::Known(0)).await?;
    exchange.finish(&[]).await
}
