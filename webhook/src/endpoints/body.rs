//! The body of a call: of one type, bounded in size and time, and all large ones together in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::{self, HeaderMap};
use http::request::Parts;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::rejection::Rejection;
use crate::metrics::Rejected;

/// Up to here a body needs no part of the memory for large ones: most reviews are smaller, and are never kept out by
/// large ones.
const SMALL: usize = 64 * 1024;
/// So many of the largest bodies may be in memory at once.
const LARGEST_AT_ONCE: usize = 8;

/// The bounds of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bytes: usize,
    /// From the end of the head to the last byte.
    pub(super) time: Duration,
}

impl Bounds {
    /// Bytes of large bodies, all together.
    pub(super) fn all_large(&self) -> usize {
        self.bytes.saturating_mul(LARGEST_AT_ONCE).min(Semaphore::MAX_PERMITS)
    }
}

/// A whole body.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    /// Its part of the memory for large ones.
    large: Option<OwnedSemaphorePermit>,
}

/// Reads the body of a review.
///
/// # Errors
/// Another type, a compressed one, or a bound.
pub(super) async fn read(
    request: http::Request<Body>,
    bounds: Bounds,
    large: &Arc<Semaphore>,
) -> Result<Whole, Rejection> {
    let (Parts { headers, .. }, body) = request.into_parts();
    check_type(&headers)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > bounds.bytes as u64) {
        return Err(too_large(bounds));
    }
    match timeout(bounds.time, collect(body, bounds, large)).await {
        Ok(whole) => whole,
        Err(_elapsed) => {
            let time = bounds.time;
            Err(Rejection::new(Rejected::BodyTimeout, format!("the body took longer than {time:?}")))
        }
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Rejection> {
    let essence = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Rejection::new(Rejected::MediaType, "reviews are taken as Content-Type: application/json"));
    }
    let encodings = headers.get_all(header::CONTENT_ENCODING);
    if encodings.iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Rejection::new(Rejected::MediaType, "reviews are taken uncompressed, without Content-Encoding"));
    }
    Ok(())
}

async fn collect(mut body: Body, bounds: Bounds, large: &Arc<Semaphore>) -> Result<Whole, Rejection> {
    let mut whole = Whole { bytes: Vec::new(), large: None };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_error| Rejection::new(Rejected::BodyBroken, "the body ended early"))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.bytes.len() + data.len() > bounds.bytes {
            return Err(too_large(bounds));
        }
        whole.bytes.extend_from_slice(&data);
        whole.account(large)?;
    }
    Ok(whole)
}

impl Whole {
    /// Takes the part of the memory for large bodies that this one has grown to.
    fn account(&mut self, large: &Arc<Semaphore>) -> Result<(), Rejection> {
        let held = self.large.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = self.bytes.len().saturating_sub(SMALL).saturating_sub(held);
        if more == 0 {
            return Ok(());
        }
        let busy = || Rejection::new(Rejected::Busy, "too many large reviews at once; try again");
        let more = u32::try_from(more).map_err(|_| busy())?;
        let permit = Arc::clone(large).try_acquire_many_owned(more).map_err(|_| busy())?;
        match &mut self.large {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

fn too_large(bounds: Bounds) -> Rejection {
    let bytes = bounds.bytes;
    Rejection::new(Rejected::TooLarge, format!("the body is larger than {bytes} bytes (server.maxBodyBytes)"))
}
