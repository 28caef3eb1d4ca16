//! Digests in the form that tests compare, and the byte pattern that large bodies are made of. Never holds a body.

use std::fmt::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest;
use bytes::Bytes;

/// The length of the pattern, in bytes: a prime, so that a lost or repeated power of two shows.
const PATTERN_PERIOD: usize = 251;
/// The length of one chunk of the pattern, in bytes: a whole number of periods, so that chunks join without a seam.
pub const PATTERN_CHUNK: usize = PATTERN_PERIOD * 1024;

static PATTERN: LazyLock<Bytes> = LazyLock::new(|| (0..PATTERN_CHUNK).map(pattern_byte).collect::<Vec<u8>>().into());

fn pattern_byte(offset: usize) -> u8 {
    (offset % PATTERN_PERIOD).to_le_bytes()[0]
}

/// The next piece of a patterned body at `offset` with `left` bytes to go; at most [`PATTERN_CHUNK`] bytes and shared,
/// not copied. Byte `i` of a patterned body is `i % 251`.
#[must_use]
pub fn pattern_chunk(offset: u64, left: u64) -> Bytes {
    let start = usize::try_from(offset % PATTERN_PERIOD as u64).expect("less than 251");
    let length = usize::try_from(left).map_or(PATTERN_CHUNK - start, |left| left.min(PATTERN_CHUNK - start));
    PATTERN.slice(start..start + length)
}

/// SHA-256 of a patterned body of `length` bytes, in lower-case hex.
#[must_use]
pub fn pattern_sha256(length: u64) -> String {
    let mut sha = Sha256::new();
    let mut offset = 0;
    while offset < length {
        let chunk = pattern_chunk(offset, length - offset);
        sha.update(&chunk);
        offset += chunk.len() as u64;
    }
    sha.finish()
}

/// SHA-256 of `data`, in lower-case hex.
#[must_use]
pub fn sha256(data: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, data).as_ref())
}

/// A SHA-256 that is fed piece by piece.
pub struct Sha256(digest::Context);

impl Sha256 {
    /// With nothing fed yet.
    #[must_use]
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Feeds the next piece.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The digest so far, in lower-case hex.
    #[must_use]
    pub fn finish(&self) -> String {
        hex(self.0.clone().finish().as_ref())
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

/// SHA-1, which WebSocket handshakes use (RFC 6455 4.2.2).
pub(crate) fn sha1(data: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, data).as_ref().to_vec()
}

fn hex(data: &[u8]) -> String {
    data.iter().fold(String::with_capacity(data.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_the_pattern_join_without_a_seam() {
        let mut body = Vec::new();
        while body.len() < 600_000 {
            let step = if body.is_empty() { 7 } else { 600_000 - body.len() };
            body.extend_from_slice(&pattern_chunk(body.len() as u64, step as u64));
        }
        assert!(body.iter().enumerate().all(|(offset, byte)| *byte == pattern_byte(offset)));
        assert_eq!(pattern_sha256(600_000), sha256(&body));
    }

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
