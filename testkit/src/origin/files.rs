//! A directory served as it is: package indexes and the like, whose answers are files. What is asked for is never
//! written, and nothing outside of the directory is read.

use std::io;
use std::path::{Component, Path};

use super::Shared;
use super::exchange::{Exchange, Length};
use crate::digest::Sha256;

/// Every path that no other route has. `HEAD` is answered like `GET`; a directory with its `index.html`.
pub(super) async fn answer(exchange: &mut Exchange<'_>, origin: &Shared, path: &str) -> io::Result<()> {
    exchange.drain().await?;
    let Some(content) = origin.options.files.as_deref().and_then(|root| read(root, path)) else {
        let text = format!("the test origin has no route {path}\n");
        return exchange.answer(404, "text/plain; charset=utf-8", text).await;
    };
    let mut digest = Sha256::new();
    digest.update(&content);
    let etag = format!("\"{}\"", digest.finish());
    let content_type = match content.first() {
        Some(b'<') => "text/html",
        Some(b'{') => "application/json",
        _ => "application/octet-stream",
    };
    // What clients of model hubs want to know of a file beside its name.
    let revision = "0123456789abcdef0123456789abcdef01234567";
    let fields = [("content-type", content_type), ("etag", &etag), ("x-repo-commit", revision)];
    exchange.respond(200, &fields, Length::Known(content.len() as u64)).await?;
    exchange.write(content.into()).await?;
    exchange.finish(&[]).await
}

fn read(root: &Path, path: &str) -> Option<Vec<u8>> {
    let relative = path.trim_start_matches('/').replace("%2f", "/").replace("%2F", "/").replace("%40", "@");
    let relative = Path::new(&relative);
    if relative.components().any(|component| !matches!(component, Component::Normal(_))) {
        return None;
    }
    let file = root.join(relative);
    std::fs::read(if file.is_dir() { file.join("index.html") } else { file }).ok()
}
