//! What one record of the audit log says, from this process or from a line of another one's.

use std::net::{IpAddr, SocketAddr};

use http::Method;
use sandgate_policy::destination::{Destination, Host, Scheme};
use serde_json::Value;

use super::template::Template;
use crate::audit::{Kind, MAX_METHOD_BYTES, Record, VERSION, Verdict};
use crate::refusal::Code;
use crate::summary::{self, Advice};

/// What was asked for, and what became of it. Fields are those of an audit line.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    pub(super) kind: Kind,
    pub(super) request: Option<u64>,
    /// `None` too where the line may have only a part of it.
    pub(super) method: Option<Method>,
    pub(super) scheme: Option<Scheme>,
    pub(super) host: Option<Host>,
    pub(super) port: Option<u16>,
    pub(super) path: AskedPath,
    pub(super) verdict: Verdict,
    pub(super) code: Option<Code>,
    /// Whether something was dialled: the origin, or a proxy on the way to it.
    pub(super) was_dialled: bool,
    /// The addresses of the origin that the policy had to admit.
    pub(super) origin: Vec<IpAddr>,
    /// Whether the origin began to answer.
    pub(super) answered: bool,
    /// What would allow it, where it was refused; no line has that.
    pub(super) remedy: Option<Advice>,
}

/// The path of a request.
#[derive(Clone, Debug)]
pub(super) struct AskedPath {
    /// As it came, or as the line has it.
    pub(super) text: String,
    /// Whether the text is all that was asked for.
    pub(super) is_whole: bool,
    /// `None` where no list of paths can allow it.
    pub(super) template: Option<Template>,
}

impl Observation {
    /// What a record of this process says. Its path is the whole one.
    pub(super) fn of_record(record: &Record) -> Self {
        let path = record.whole_path.as_ref().map_or("", |path| path.as_str());
        Self {
            kind: record.kind,
            request: record.request,
            method: record.method.clone(),
            scheme: record.scheme,
            host: record.host.clone(),
            port: record.port,
            path: AskedPath { text: path.to_owned(), is_whole: true, template: Template::of(path) },
            verdict: record.verdict,
            code: record.code,
            was_dialled: record.address.is_some(),
            origin: match (&record.origin_addresses, record.address) {
                (Some(addresses), _) => addresses.to_vec(),
                (None, Some(address)) if record.via.is_none() => vec![address.ip()],
                _ => Vec::new(),
            },
            answered: record.first_byte.is_some(),
            remedy: record.addition.as_deref().and_then(|addition| Advice::of(addition, summary::Source::Learning)),
        }
    }

    /// Where the request went, if that is known.
    pub(super) fn destination(&self) -> Option<Destination> {
        Some(Destination { scheme: self.scheme?, host: self.host.clone()?, port: self.port? })
    }
}

/// Whose line it is: numbers of requests are unique in it.
pub(super) type Source = Box<str>;

/// A line of an audit log.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) source: Source,
    /// How many lines before it were lost.
    pub(super) lost: u64,
    pub(super) observation: Observation,
}

/// Why a line is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Its `v` is not the one that is known here.
    OtherVersion,
    /// It is no audit line, or only part of one.
    Broken,
}

/// Reads a line. Nothing in it is taken that the sidecar would not have written.
pub(super) fn read(line: &[u8]) -> Result<Line, Unread> {
    let value: Value = serde_json::from_slice(line).map_err(|_| Unread::Broken)?;
    match value.get("v").and_then(Value::as_u64) {
        None => return Err(Unread::Broken),
        Some(version) if version != u64::from(VERSION) => return Err(Unread::OtherVersion),
        Some(_) => {}
    }
    let source = ["uid", "namespace", "pod"].map(|key| value.get(key).and_then(Value::as_str).unwrap_or_default());
    let lost = value.get("lost").and_then(Value::as_u64).unwrap_or(0);
    let observation = observation(&value).ok_or(Unread::Broken)?;
    Ok(Line { source: source.join("\n").into(), lost, observation })
}

fn observation(line: &Value) -> Option<Observation> {
    let kind = match text(line, "kind")?? {
        "decision" => Kind::Decision,
        "request" => Kind::Request,
        "tunnel_end" => Kind::TunnelEnd,
        _ => return None,
    };
    let verdicts = [Verdict::Allowed, Verdict::Denied, Verdict::Audited];
    let verdict = text(line, "verdict")??;
    let scheme = match text(line, "scheme")? {
        None => None,
        Some(name) => Some([Scheme::Https, Scheme::Http].into_iter().find(|scheme| scheme.as_str() == name)?),
    };
    let path = text(line, "path")?.unwrap_or_default();
    let port = match line.get("port") {
        None => None,
        Some(port) => Some(u16::try_from(port.as_u64()?).ok().filter(|port| *port != 0)?),
    };
    let address: Option<SocketAddr> = text(line, "address")?.and_then(|address| address.parse().ok());
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    Some(Observation {
        kind,
        request: line.get("request").and_then(Value::as_u64),
        method: method(text(line, "method")?)?,
        scheme,
        host: text(line, "host")?.map(Host::parse).transpose().ok()?,
        port,
        path: AskedPath { text: path.to_owned(), is_whole: false, template: Template::of_logged(path) },
        verdict: verdicts.into_iter().find(|known| known.as_str() == verdict)?,
        code: text(line, "code")?.and_then(|code| Code::ALL.iter().copied().find(|known| known.as_str() == code)),
        was_dialled: address.is_some(),
        origin: match line.get("origin_addresses") {
            Some(addresses) => {
                addresses.as_array()?.iter().filter_map(|address| address.as_str()?.parse().ok()).collect()
            }
            // Whatever `via` says: what it names is not the origin.
            None if line.get("via").is_some() => Vec::new(),
            None => address.map(|address| address.ip()).into_iter().collect(),
        },
        answered: line.get("first_byte_ms").is_some(),
        remedy: None,
    })
}

/// The text of a field, if it is there; `None` where it is something else.
fn text<'a>(line: &'a Value, field: &str) -> Option<Option<&'a str>> {
    match line.get(field) {
        None => Some(None),
        Some(value) => value.as_str().map(Some),
    }
}

/// The method, if it is known whole; `None` where it is none.
fn method(text: Option<&str>) -> Option<Option<Method>> {
    match text {
        Some(text) if text.len() < MAX_METHOD_BYTES => Method::from_bytes(text.as_bytes()).ok().map(Some),
        _ => Some(None),
    }
}
