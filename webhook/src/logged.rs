//! For unit tests: what is logged meanwhile.

use std::io::{Read as _, pipe};
use std::sync::Arc;

/// What is logged in this thread while `f` runs, which has to be less than a pipe takes (64 KiB).
pub(crate) async fn logged<T>(f: impl Future<Output = T>) -> (T, String) {
    let (mut lines, writer) = pipe().unwrap();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(writer)).finish();
    let guard = tracing::subscriber::set_default(log);
    let output = f.await;
    drop(guard);
    let mut text = String::new();
    lines.read_to_string(&mut text).unwrap();
    (output, text)
}
