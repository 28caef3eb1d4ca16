//! Bodies of requests, and reading those of responses with flat memory. Long ones are made and checked piece by piece.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;

use crate::digest::{Sha256, pattern_chunk};

/// The body of a request.
pub type Body = BoxBody<Bytes, io::Error>;

/// No body.
#[must_use]
pub fn empty_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body of known length.
#[must_use]
pub fn bytes_body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// A patterned body of `length` bytes, whose digest is [`crate::digest::pattern_sha256`]. With `announced`, it has a
/// `Content-Length`.
#[must_use]
pub fn pattern_body(length: u64, announced: bool) -> Body {
    Pattern { sent: 0, length, announced }.map_err(|never| match never {}).boxed()
}

struct Pattern {
    sent: u64,
    length: u64,
    announced: bool,
}

impl http_body::Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let chunk = pattern_chunk(self.sent, self.length - self.sent);
        self.sent += chunk.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.length
    }

    fn size_hint(&self) -> SizeHint {
        if self.announced { SizeHint::with_exact(self.length - self.sent) } else { SizeHint::default() }
    }
}

/// What was left of a body after it was read and forgotten.
#[derive(Clone, Debug)]
pub struct Consumed {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hex.
    pub sha256: String,
    /// The trailer fields, if there were any.
    pub trailers: Option<HeaderMap>,
}

/// Reads a body to its end and keeps only its digest; `progress` is told the bytes so far after each piece.
///
/// # Errors
/// Where the body breaks off.
pub async fn consume(mut body: Incoming, mut progress: impl FnMut(u64)) -> io::Result<Consumed> {
    let (mut bytes, mut sha, mut trailers) = (0, Sha256::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map_err(io::Error::other)?.into_data() {
            Ok(data) => {
                bytes += data.len() as u64;
                sha.update(&data);
                progress(bytes);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok(Consumed { bytes, sha256: sha.finish(), trailers })
}
