//! The head of a request as it arrived: order kept, and in HTTP/1 the case of names too. Strict, so that a test never
//! takes two readings of one message for one: what is ambiguous is an error.

use std::io;

/// Method, target and header fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// As sent.
    pub method: String,
    /// The request target of HTTP/1, or `:path`.
    pub target: String,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub version: String,
    /// `:authority` of HTTP/2; `None` in HTTP/1, where the `Host` field is among the headers.
    pub authority: Option<String>,
    /// Name and value in order of arrival. HTTP/2 has lower-case names only.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The value of the first field with this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_lines(name).first().copied()
    }

    /// The values of all fields with this name, in any case, one per line.
    #[must_use]
    pub fn header_lines(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The target without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The query without its question mark; empty where there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The value of `name=value` in the query.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<&str> {
        self.query().split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|pair| pair.1)
    }

    /// Reads a head of HTTP/1, without the empty line that ends it.
    pub(crate) fn parse(text: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(text).map_err(|_| bad("the head is not UTF-8"))?;
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let parts: Vec<&str> = first.split(' ').collect();
        let [method, target, version @ ("HTTP/1.0" | "HTTP/1.1")] = parts[..] else {
            return Err(bad(&format!("bad request line {first:?}")));
        };
        let headers = lines.filter(|line| !line.is_empty()).map(parse_field).collect::<io::Result<_>>()?;
        Ok(Self { method: method.into(), target: target.into(), version: version.into(), authority: None, headers })
    }

    /// How the body of this HTTP/1 request is framed (RFC 9112 6).
    pub(crate) fn framing(&self) -> io::Result<Framing> {
        let lengths = self.header_lines("content-length");
        match (self.header_lines("transfer-encoding").as_slice(), lengths.as_slice()) {
            ([], []) => Ok(Framing::Length(0)),
            ([], [length]) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().map(Framing::Length).map_err(|_| bad("bad Content-Length"))
            }
            ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            (codings, lengths) => {
                Err(bad(&format!("ambiguous framing: Transfer-Encoding {codings:?}, Content-Length {lengths:?}")))
            }
        }
    }
}

/// How a body of HTTP/1 is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes.
    Length(u64),
    /// Chunks and trailers.
    Chunked,
}

/// The head of a response of HTTP/1.
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// Reads the head of a response, with or without the empty line that ends it.
pub(crate) fn parse_response_head(text: &[u8]) -> io::Result<ResponseHead> {
    let text = std::str::from_utf8(text).map_err(|_| bad("the head is not UTF-8"))?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..)?.split_once(' '));
    let parsed = status.and_then(|(status, reason)| Some((status.parse().ok()?, reason.to_owned())));
    let (status, reason) = parsed.ok_or_else(|| bad(&format!("bad status line {first:?}")))?;
    let headers = lines.filter(|line| !line.is_empty()).map(parse_field).collect::<io::Result<_>>()?;
    Ok(ResponseHead { status, reason, headers })
}

/// Reads one `name: value` line, refusing what RFC 9112 5.1 forbids.
pub(crate) fn parse_field(line: &str) -> io::Result<(String, String)> {
    let field = line.split_once(':').filter(|(name, value)| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_graphic())
            && !value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
    });
    let (name, value) = field.ok_or_else(|| bad(&format!("bad header line {line:?}")))?;
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

pub(crate) fn bad(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_case_survive() {
        let head = Head::parse(b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-B: 2\r\nx-a:  1 ").expect("a valid head");
        assert_eq!(head.headers, [("Host", "x"), ("X-B", "2"), ("x-a", "1")].map(|(n, v)| (n.into(), v.into())));
        assert_eq!((head.path(), head.query_value("b")), ("/a", Some("c")));
    }

    #[test]
    fn ambiguous_framing_is_an_error() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: +5",
            "Transfer-Encoding: chunked\r\nContent-Length: 3",
            "Transfer-Encoding: chunked, identity",
        ] {
            let head = Head::parse(format!("POST / HTTP/1.1\r\n{fields}").as_bytes()).expect("a valid head");
            assert!(head.framing().is_err(), "{fields}");
        }
    }

    #[test]
    fn lines_that_two_parsers_read_differently_are_errors() {
        for line in ["Name : x", " folded", "no colon", "A: x\ny"] {
            assert!(parse_field(line).is_err(), "{line:?}");
        }
    }
}
