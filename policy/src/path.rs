//! How a request path is read before globs are matched against it. Nothing here changes the path that is forwarded.
//!
//! Origins disagree on what encoded separators and dot segments mean. So a path that two origins could take for two
//! different resources is either refused, or read both ways.

use std::borrow::Cow;

use thiserror::Error;

/// Stands for an encoded slash that is read as a character. NUL cannot occur otherwise: it is refused.
const SLASH_AS_CHARACTER: u8 = 0;

/// Why a path is not judged at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathFault {
    /// It does not begin with a slash.
    #[error("the path does not begin with /")]
    NotAbsolute,
    /// A `.` or `..` segment, plain, encoded, encoded twice, or with parameters as in `..;`.
    #[error("the path has a . or .. segment, possibly encoded")]
    DotSegment,
    /// A backslash, which some origins read as a slash.
    #[error("the path has a backslash, possibly encoded")]
    Backslash,
    /// A control character, NUL among them.
    #[error("the path has a control character, possibly encoded")]
    Control,
    /// A `%` without two hexadecimal digits.
    #[error("the path has a % that is not followed by two hexadecimal digits")]
    Percent,
    /// An ASCII character in an overlong UTF-8 form, which no encoder makes (RFC 3629 10).
    #[error("the path has an overlong UTF-8 sequence")]
    Overlong,
    /// A `?` or `#`, which do not belong to a path.
    #[error("the path has a ? or #")]
    Delimiter,
}

/// Why no list of paths can allow `path`, which is in origin form and without its query.
#[must_use]
pub fn fault(path: &str) -> Option<PathFault> {
    read(path).err()
}

/// A path with its percent-encoding resolved. Only a path with `%2F` has two readings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Readings<'a> {
    /// `%2F` separates segments, as a written slash does.
    pub(crate) separator: Cow<'a, [u8]>,
    /// `%2F` is an ordinary character of its segment.
    pub(crate) character: Option<Vec<u8>>,
}

impl Readings<'_> {
    /// Every reading; a request is allowed only if all of them are.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&*self.separator).chain(self.character.as_deref())
    }
}

/// Reads a path as it came, in origin form without its query. An empty path means `/` (RFC 9110 4.2.3); `*`, the
/// target of a server-wide OPTIONS, is itself and matches no glob.
pub(crate) fn read(path: &str) -> Result<Readings<'_>, PathFault> {
    let path = if path.is_empty() { "/" } else { path };
    if path != "*" && !path.starts_with('/') {
        return Err(PathFault::NotAbsolute);
    }
    if path.contains(['?', '#']) {
        return Err(PathFault::Delimiter);
    }
    read_part(path)
}

/// As [`read`], for a text that need not be a whole path: a piece of a glob.
pub(crate) fn read_part(path: &str) -> Result<Readings<'_>, PathFault> {
    let raw = path.as_bytes();
    if !raw.contains(&b'%') {
        inspect(raw)?;
        return Ok(Readings { separator: Cow::Borrowed(raw), character: None });
    }
    let separator = decode(raw, b'/', Strictness::Refuse)?;
    inspect(&separator)?;
    inspect(&decode(&separator, b'/', Strictness::Keep)?)?;
    let has_two = path.contains("%2F") || path.contains("%2f");
    let character = has_two.then(|| decode(raw, SLASH_AS_CHARACTER, Strictness::Refuse)).transpose()?;
    Ok(Readings { separator: Cow::Owned(separator), character })
}

fn inspect(path: &[u8]) -> Result<(), PathFault> {
    if path.iter().any(u8::is_ascii_control) {
        return Err(PathFault::Control);
    }
    if path.contains(&b'\\') {
        return Err(PathFault::Backslash);
    }
    if path.windows(2).any(is_overlong) {
        return Err(PathFault::Overlong);
    }
    if path.split(|byte| *byte == b'/').any(is_dot_segment) {
        return Err(PathFault::DotSegment);
    }
    Ok(())
}

/// `C0 80` to `C1 BF`, and the beginnings `E0 80` to `E0 9F` and `F0 80` to `F0 8F` (RFC 3629 4).
fn is_overlong(pair: &[u8]) -> bool {
    matches!(pair, [0xc0 | 0xc1, 0x80..=0xbf] | [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f])
}

/// Whether an origin could take this segment for `.` or `..`; some drop what follows a semicolon first.
fn is_dot_segment(segment: &[u8]) -> bool {
    let name = segment.split(|byte| *byte == b';').next();
    matches!(name, Some(b"." | b".."))
}

/// What a `%` means that no two hexadecimal digits follow.
#[derive(Clone, Copy)]
enum Strictness {
    /// A fault.
    Refuse,
    /// Itself: in a text that was decoded before, `%25` has become `%`.
    Keep,
}

fn decode(text: &[u8], slash: u8, strictness: Strictness) -> Result<Vec<u8>, PathFault> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = if *first == b'%' { tail.first_chunk().and_then(byte_of) } else { None };
        match (escaped, strictness) {
            (Some(byte), _) => decoded.push(if byte == b'/' { slash } else { byte }),
            (None, Strictness::Refuse) if *first == b'%' => return Err(PathFault::Percent),
            (None, _) => decoded.push(*first),
        }
        // An encoded NUL would be taken for an encoded slash that is read as a character.
        if escaped == Some(0) {
            return Err(PathFault::Control);
        }
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    Ok(decoded)
}

fn byte_of(digits: &[u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(path: &str) -> Vec<String> {
        let readings = read(path).unwrap_or_else(|fault| panic!("{path}: {fault}"));
        readings.iter().map(|reading| String::from_utf8_lossy(reading).replace('\0', "<slash>")).collect()
    }

    #[test]
    fn ordinary_characters_are_decoded() {
        assert_eq!(readings("/%61dmin"), ["/admin"]);
        assert_eq!(readings("/%61%64%6D%69%6e/b%20c"), ["/admin/b c"]);
        assert_eq!(readings("/100%25"), ["/100%"]);
        assert_eq!(readings("/caf%C3%A9"), ["/café"]);
    }

    #[test]
    fn an_encoded_slash_is_read_both_ways() {
        assert_eq!(readings("/@scope%2Fname"), ["/@scope/name", "/@scope<slash>name"]);
        assert_eq!(readings("/a%2fb/c"), ["/a/b/c", "/a<slash>b/c"]);
    }

    #[test]
    fn an_empty_path_is_the_root_and_double_slashes_stay() {
        assert_eq!(readings(""), ["/"]);
        assert_eq!(readings("//a//b/"), ["//a//b/"]);
        assert_eq!(readings("*"), ["*"]);
    }

    #[test]
    fn names_with_dots_are_ordinary() {
        for path in ["/.well-known/x", "/a..b", "/...", "/..a", "/a;..", "/%2e%2ea"] {
            assert!(read(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn what_origins_read_differently_is_refused() {
        use PathFault::*;
        for (path, fault) in [
            ("/a/../b", DotSegment),
            ("/a/./b", DotSegment),
            ("/..", DotSegment),
            ("/%2e%2e/b", DotSegment),
            ("/.%2E/b", DotSegment),
            ("/a%2F..%2Fb", DotSegment),
            ("/%252e%252e/b", DotSegment),
            ("/%252e./b", DotSegment),
            ("/a%252f..%252fb", DotSegment),
            ("/..;/b", DotSegment),
            ("/..;x=1/b", DotSegment),
            ("/..%3Bx/b", DotSegment),
            ("/%2e%2e%253b/b", DotSegment),
            ("/a\\b", Backslash),
            ("/a%5Cb", Backslash),
            ("/a%5cb", Backslash),
            ("/a%255cb", Backslash),
            ("/a%00b", Control),
            ("/a%2500b", Control),
            ("/a\0b", Control),
            ("/a%0ab", Control),
            ("/a%0D%0Ab", Control),
            ("/a\tb", Control),
            ("/a%7Fb", Control),
            ("/a%", Percent),
            ("/a%2", Percent),
            ("/a%zz", Percent),
            ("/a%+1", Percent),
            ("/a%u002e", Percent),
            ("/%c0%ae%c0%ae/b", Overlong),
            ("/a%c0%afb", Overlong),
            ("/%e0%80%ae", Overlong),
            ("a", NotAbsolute),
            ("http://x/", NotAbsolute),
            ("**", NotAbsolute),
            ("/a?b", Delimiter),
            ("/a#b", Delimiter),
        ] {
            assert_eq!(read(path), Err(fault), "{path:?}");
            assert_eq!(super::fault(path), Some(fault), "{path:?}");
        }
    }
}
