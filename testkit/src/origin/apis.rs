//! What clients of known services expect: object storage, and two ways in which models stream their answers.

use std::io;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Shared;
use super::exchange::{Exchange, Length};

/// The words of a streamed answer; each but the first waits for `Origin::release_event`.
const WORDS: [&str; 3] = ["event 0", "event 1", "event 2"];
/// What is got whole.
const LINE: &str = "Keep it logically awesome.\n";
const JSON: &str = "application/json";

/// An object of object storage: what is put is forgotten, what is got is one line.
pub(super) async fn object(exchange: &mut Exchange<'_>) -> io::Result<()> {
    exchange.drain().await?;
    let body = if exchange.head.method == "PUT" { "" } else { LINE };
    let fields = [("content-type", "text/plain"), ("etag", "\"0123456789abcdef0123456789abcdef\"")];
    exchange.respond(200, &fields, Length::Known(body.len() as u64)).await?;
    exchange.write(body.into()).await?;
    exchange.finish(&[]).await
}

/// `/v1/chat/completions` in the manner of OpenAI, `/v1/messages` in that of Anthropic; streamed if the body asks for it.
pub(super) async fn model(exchange: &mut Exchange<'_>, origin: &Shared, rest: &str) -> io::Result<()> {
    let mut body = Vec::new();
    while let Some(piece) = exchange.read().await? {
        body.extend_from_slice(&piece);
    }
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    match (rest, request["stream"] == true) {
        ("chat/completions", false) => exchange.answer(200, JSON, completion("message", LINE).to_string()).await,
        ("chat/completions", true) => stream(exchange, origin, &completion_events()).await,
        ("messages", false) => exchange.answer(200, JSON, message(LINE).to_string()).await,
        ("messages", true) => stream(exchange, origin, &message_events()).await,
        _ => exchange.answer(404, JSON, json!({"error": {"message": "no such endpoint"}}).to_string()).await,
    }
}

/// Sends the groups of events one after the other, each but the first when it is released.
async fn stream(exchange: &mut Exchange<'_>, origin: &Shared, groups: &[String]) -> io::Result<()> {
    let mut released = origin.released.subscribe();
    let start = *released.borrow_and_update();
    let fields = [("content-type", "text/event-stream"), ("cache-control", "no-store")];
    exchange.respond(200, &fields, Length::Unknown).await?;
    for (index, group) in (0..).zip(groups) {
        tokio::select! {
            _ = released.wait_for(|released| *released >= start + index) => {}
            () = exchange.gone() => return Ok(()),
        }
        exchange.write(Bytes::from(group.clone())).await?;
    }
    exchange.finish(&[]).await
}

fn completion(part: &str, text: &str) -> Value {
    json!({
        "id": "completion-1", "object": "chat.completion", "created": 1_700_000_000, "model": "test",
        "choices": [{"index": 0, part: {"role": "assistant", "content": text}, "finish_reason": "stop"}],
    })
}

fn completion_events() -> Vec<String> {
    let mut groups: Vec<String> = WORDS.iter().map(|word| format!("data: {}\n\n", completion("delta", word))).collect();
    groups.last_mut().expect("there are words").push_str("data: [DONE]\n\n");
    groups
}

fn message(text: &str) -> Value {
    let content = if text.is_empty() { json!([]) } else { json!([{"type": "text", "text": text}]) };
    json!({
        "id": "message-1", "type": "message", "role": "assistant", "model": "test", "content": content,
        "stop_reason": "end_turn", "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1},
    })
}

fn message_events() -> Vec<String> {
    let event = |kind: &str, mut data: Value| {
        data["type"] = kind.into();
        format!("event: {kind}\ndata: {data}\n\n")
    };
    let delta =
        |word: &&str| event("content_block_delta", json!({"index": 0, "delta": {"type": "text_delta", "text": word}}));
    let mut groups: Vec<String> = WORDS.iter().map(delta).collect();
    let start = event("message_start", json!({"message": message("")}))
        + &event("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}}));
    groups[0].insert_str(0, &start);
    let end = event("content_block_stop", json!({"index": 0}))
        + &event("message_delta", json!({"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}))
        + &event("message_stop", json!({}));
    groups.last_mut().expect("there are words").push_str(&end);
    groups
}
