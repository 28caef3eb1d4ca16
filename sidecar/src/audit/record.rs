//! What an audit line says, and what it leaves out: version 1 of its fields.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use sandgate_policy::Addition;
use sandgate_policy::destination::{Destination, Host, Scheme};
use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use super::Identity;
use crate::refusal::Code;
use crate::upstream::Peer;

/// The version of the line's fields. A change that breaks a reader raises it; new fields do not.
pub(crate) const VERSION: u8 = 1;
/// The most of a path that is written, in bytes.
pub(crate) const MAX_PATH_BYTES: usize = 256;
/// A longer segment is likely a token or an identifier, and written as `*`.
const MAX_SEGMENT_CHARS: usize = 24;
/// The most of a method that is written, in bytes: clients may invent methods of any length.
pub(crate) const MAX_METHOD_BYTES: usize = 24;
/// What `via` says of the address of an upstream proxy.
const UPSTREAM_PROXY: &str = "upstream_proxy";
/// The most addresses of an origin that are written.
const MAX_ADDRESSES: usize = 16;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A CONNECT or a request was judged.
    Decision,
    /// A request ended: its response is complete or broke off.
    Request,
    /// An opaque tunnel or an upgraded stream ended.
    TunnelEnd,
}

/// How the policy judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The policy allows it.
    Allowed,
    /// It was refused; the code says why.
    Denied,
    /// The policy would refuse it, but is in `mode: audit`; the code says why.
    Audited,
}

impl Verdict {
    /// As lines and metrics write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Audited => "audited",
        }
    }
}

/// One line of the audit log, but for the time and the identity. What is `None` is left out.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// What the line is about.
    pub kind: Kind,
    /// The number of the client's connection since the sidecar started.
    pub connection: u64,
    /// The number of the request since the sidecar started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// The method; at most 24 bytes of it are written.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "method")]
    pub method: Option<Method>,
    /// The scheme of the destination.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "scheme")]
    pub scheme: Option<Scheme>,
    /// The canonical host.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "display")]
    pub host: Option<Host>,
    /// The port of the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The path as it may be logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<LoggedPath>,
    /// The path as it came, for the observer. It is in no line, and does not outlive the call.
    #[serde(skip)]
    pub whole_path: Option<WholePath>,
    /// The `id` of the policy's destination that decided.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "display")]
    pub rule: Option<Arc<str>>,
    /// How the policy judged.
    pub verdict: Verdict,
    /// Why it was refused or, in audit mode, would have been; or what ended it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "display")]
    pub code: Option<Code>,
    /// The status that the client got.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "status")]
    pub status: Option<StatusCode>,
    /// The address that was dialled.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "display")]
    pub address: Option<SocketAddr>,
    /// Whose address that is, where it is not the origin's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<&'static str>,
    /// The addresses that the host has here, which the policy had to admit, where an upstream proxy was dialled.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "addresses")]
    pub origin_addresses: Option<Arc<[IpAddr]>>,
    /// Bytes of bodies or of an opaque tunnel, from the client to the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_up: Option<u64>,
    /// Bytes of bodies or of an opaque tunnel, from the origin to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_down: Option<u64>,
    /// From the request's head to its end; written in milliseconds as `total_ms`.
    #[serde(rename = "total_ms", skip_serializing_if = "Option::is_none", serialize_with = "milliseconds")]
    pub total: Option<Duration>,
    /// What resolving, dialling and the origin's handshake took, if this request had to wait for them.
    #[serde(rename = "connect_ms", skip_serializing_if = "Option::is_none", serialize_with = "milliseconds")]
    pub connect: Option<Duration>,
    /// From the request's head to the first byte of the origin's response.
    #[serde(rename = "first_byte_ms", skip_serializing_if = "Option::is_none", serialize_with = "milliseconds")]
    pub first_byte: Option<Duration>,
    /// How the refusal put it that the way through the upstream proxy failed, for the summary of `run`; no line has it.
    #[serde(skip)]
    pub message: Option<Arc<str>>,
    /// What would allow it, for the summary of `run`; no line has it.
    #[serde(skip)]
    pub addition: Option<Arc<Addition>>,
}

impl Record {
    /// A record of which nothing more is known yet.
    #[must_use]
    pub fn new(kind: Kind, connection: u64, verdict: Verdict) -> Self {
        Self {
            kind,
            connection,
            request: None,
            method: None,
            scheme: None,
            host: None,
            port: None,
            path: None,
            whole_path: None,
            rule: None,
            verdict,
            code: None,
            status: None,
            address: None,
            via: None,
            origin_addresses: None,
            bytes_up: None,
            bytes_down: None,
            total: None,
            connect: None,
            first_byte: None,
            message: None,
            addition: None,
        }
    }

    /// Forgets what no line has: it may be as large as a client's head, and would wait in memory for the writer.
    pub(super) fn keep_what_is_written(&mut self) {
        self.whole_path = None;
        self.message = None;
        self.addition = None;
        let long = self.method.take_if(|method| method.as_str().len() > MAX_METHOD_BYTES);
        if let Some(long) = long {
            self.method = Method::from_bytes(&long.as_str().as_bytes()[..MAX_METHOD_BYTES]).ok();
        }
    }

    /// Fills in scheme, host and port.
    #[must_use]
    pub fn to(mut self, destination: &Destination) -> Self {
        self.scheme = Some(destination.scheme);
        self.host = Some(destination.host.clone());
        self.port = Some(destination.port);
        self
    }

    /// Fills in what was dialled, and the origin's addresses where those are others.
    pub fn leads_to(&mut self, peer: &Peer) {
        self.address = Some(peer.address);
        self.via = peer.is_proxy.then_some(UPSTREAM_PROXY);
        self.origin_addresses = (peer.is_proxy && !peer.judged.is_empty()).then(|| Arc::clone(&peer.judged));
    }
}

/// A path as it came. It may hold secrets, so it is neither serialized nor shown.
#[derive(Clone)]
pub struct WholePath(pub PathAndQuery);

impl WholePath {
    /// The path without its query.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.path()
    }
}

impl fmt::Debug for WholePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WholePath(..)")
    }
}

/// A path as it may be logged: no query and no fragment, at most 256 bytes, long segments as `*`, and percent-encoded what
/// is not printable ASCII, so that no path rearranges the terminal that shows it. There is no other way to get a path into
/// a line. Where a long segment has an encoded slash, that stays, for it says how the policy reads the segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoggedPath(String);

impl LoggedPath {
    /// Takes out of a request target's path what must not be logged.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let mut logged = String::with_capacity(path.len().min(MAX_PATH_BYTES));
        for (index, segment) in path.split('/').enumerate() {
            if index > 0 {
                logged.push('/');
            }
            if segment.chars().nth(MAX_SEGMENT_CHARS).is_none() {
                push_printable(&mut logged, segment);
            } else {
                push_hidden(&mut logged, segment);
            }
            if logged.len() > MAX_PATH_BYTES {
                cut(&mut logged);
                break;
            }
        }
        Self(logged)
    }
}

fn push_printable(logged: &mut String, segment: &str) {
    for byte in segment.bytes() {
        if byte.is_ascii_graphic() {
            logged.push(char::from(byte));
        } else {
            let _ = write!(logged, "%{byte:02X}");
        }
    }
}

/// `*` for each part of the segment between encoded slashes.
fn push_hidden(logged: &mut String, segment: &str) {
    logged.push('*');
    let escapes = segment.match_indices('%').filter(|(at, _)| {
        segment.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.eq_ignore_ascii_case(b"2f"))
    });
    for _ in escapes.take(MAX_PATH_BYTES) {
        logged.push_str("%2F*");
    }
}

/// Cuts a path of ASCII, but not within a percent-encoded byte.
fn cut(logged: &mut String) {
    logged.truncate(MAX_PATH_BYTES);
    if let Some(at) = logged.rfind('%').filter(|at| at + 3 > MAX_PATH_BYTES) {
        logged.truncate(at);
    }
}

impl fmt::Display for LoggedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Appends a line with everything that stands in it.
pub(super) fn write_line(out: &mut Vec<u8>, identity: &Identity, time: SystemTime, lost: u64, record: &Record) {
    #[derive(Serialize)]
    struct Line<'a> {
        v: u8,
        #[serde(serialize_with = "rfc3339")]
        time: SystemTime,
        #[serde(skip_serializing_if = "str::is_empty")]
        pod: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        namespace: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        uid: &'a str,
        #[serde(flatten)]
        record: &'a Record,
        #[serde(skip_serializing_if = "is_zero")]
        lost: u64,
    }
    let Identity { pod, namespace, uid } = identity;
    let line = Line { v: VERSION, time, pod, namespace, uid, record, lost };
    serde_json::to_writer(&mut *out, &line).expect("writing to memory, and all keys are strings");
    out.push(b'\n');
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// RFC 3339 in UTC with microseconds.
fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let time = OffsetDateTime::from(*time);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, micro) = time.to_hms_micro();
    let month = u8::from(month);
    serializer.collect_str(&format_args!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z"))
}

fn method<S: Serializer>(method: &Option<Method>, serializer: S) -> Result<S::Ok, S::Error> {
    method.as_ref().map(Method::as_str).serialize(serializer)
}

fn scheme<S: Serializer>(scheme: &Option<Scheme>, serializer: S) -> Result<S::Ok, S::Error> {
    scheme.map(Scheme::as_str).serialize(serializer)
}

fn status<S: Serializer>(status: &Option<StatusCode>, serializer: S) -> Result<S::Ok, S::Error> {
    status.map(|status| status.as_u16()).serialize(serializer)
}

fn display<S: Serializer>(value: &Option<impl fmt::Display>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

fn addresses<S: Serializer>(addresses: &Option<Arc<[IpAddr]>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(addresses.iter().flat_map(|all| all.iter()).take(MAX_ADDRESSES))
}

/// Milliseconds with the precision of a microsecond.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53 microseconds, which are 285 years")]
fn milliseconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_micros() as f64 / 1000.0).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn line(record: &Record, lost: u64) -> Value {
        let mut out = Vec::new();
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_042);
        write_line(&mut out, &Identity::default(), time, lost, record);
        assert_eq!(out.pop(), Some(b'\n'));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_full_line_has_these_fields() {
        let to = Destination { scheme: Scheme::Https, host: Host::parse("a.test").unwrap(), port: 8443 };
        let record = Record {
            request: Some(3),
            method: Some(Method::GET),
            path: Some(LoggedPath::of("/a?secret")),
            whole_path: Some(WholePath(PathAndQuery::from_static("/whole?secret"))),
            rule: Some("a".into()),
            code: Some(Code::ResponseTimeout),
            status: Some(StatusCode::GATEWAY_TIMEOUT),
            address: Some(([192, 0, 2, 1], 8443).into()),
            via: Some(UPSTREAM_PROXY),
            origin_addresses: Some(Arc::new([[10, 1, 2, 3].into()])),
            bytes_up: Some(1),
            bytes_down: Some(2),
            total: Some(Duration::from_nanos(1_234_567)),
            connect: Some(Duration::from_micros(500)),
            first_byte: Some(Duration::from_secs(1)),
            ..Record::new(Kind::Request, 2, Verdict::Allowed).to(&to)
        };
        let expected = json!({
            "v": 1, "time": "2023-11-14T22:13:20.000042Z", "kind": "request", "connection": 2, "request": 3,
            "method": "GET", "scheme": "https", "host": "a.test", "port": 8443, "path": "/a", "rule": "a",
            "verdict": "allowed", "code": "response_timeout", "status": 504, "address": "192.0.2.1:8443",
            "via": "upstream_proxy", "origin_addresses": ["10.1.2.3"],
            "bytes_up": 1, "bytes_down": 2, "total_ms": 1.234, "connect_ms": 0.5, "first_byte_ms": 1000.0, "lost": 9,
        });
        assert!(!format!("{record:?}").contains("secret"));
        let line = line(&record, 9);
        assert_eq!(line, expected);
        let page = include_str!("../../../docs/audit.md");
        for field in line.as_object().unwrap().keys() {
            assert!(page.contains(&format!("`{field}`")), "docs/audit.md does not explain {field}");
        }
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let expected = json!({
            "v": 1, "time": "2023-11-14T22:13:20.000042Z", "kind": "tunnel_end", "connection": 2, "verdict": "denied",
        });
        assert_eq!(line(&Record::new(Kind::TunnelEnd, 2, Verdict::Denied), 0), expected);
    }

    #[test]
    fn verdicts_have_one_spelling() {
        for verdict in [Verdict::Allowed, Verdict::Denied, Verdict::Audited] {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
        }
    }

    #[test]
    fn paths_lose_their_query_and_what_may_be_a_secret() {
        let long = "s".repeat(25);
        for (path, logged) in [
            ("/a/b?token=x", "/a/b"),
            ("/a#b", "/a"),
            ("*", "*"),
            ("", ""),
            (&format!("/v1/{long}/x?y"), "/v1/*/x"),
            (&format!("/@scope%2f{long}/x"), "/*%2F*/x"),
            (&format!("/a%2F%2Fb%2{long}%"), "/*%2F*%2F*"),
            (&format!("/{}/", &long[1..]), &format!("/{}/", &long[1..])),
            (&format!("/{}", "\u{e9}".repeat(24)), &format!("/{}", "%C3%A9".repeat(24))),
            ("/a\u{202e}b\u{9b}2J/%e9 \u{7f}", "/a%E2%80%AEb%C2%9B2J/%e9%20%7F"),
        ] {
            assert_eq!(LoggedPath::of(path).to_string(), logged, "{path}");
        }
    }

    #[test]
    fn long_paths_and_methods_are_cut() {
        for (path, whole) in [
            ("/abc".repeat(200), "/abc".repeat(200)),
            ("/a%2b".repeat(200), "/a%2b".repeat(200)),
            ("/\u{20ac}\u{20ac}".repeat(200), "/%E2%82%AC%E2%82%AC".repeat(200)),
        ] {
            let logged = LoggedPath::of(&path).to_string();
            assert!(whole.starts_with(&logged) && (254..=256).contains(&logged.len()), "{logged}");
            assert!(logged.rfind('%').is_none_or(|at| at + 3 <= logged.len()), "{logged}");
        }
        let mut record = Record::new(Kind::Request, 1, Verdict::Allowed);
        record.method = Some(Method::from_bytes(&[b'M'; 1000]).unwrap());
        record.keep_what_is_written();
        assert_eq!(line(&record, 0)["method"], "M".repeat(24));
    }
}
