//! What `run` says at its end: which hosts were reached and which refused, how often, why, and what would allow it.
//! Bounded, whatever the command asks for.

mod advice;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;

use http::Method;
use sandgate_policy::destination::Scheme;
use serde::Serialize;

pub(crate) use advice::Advice;
pub use advice::Source;

use crate::audit::{Kind, Record, Verdict};
use crate::learn::Learnt;
use crate::refusal::Code;

/// The most hosts that are told apart; what is asked of further ones is counted together.
const MAX_HOSTS: usize = 1_000;
/// The most that is advised for one line.
const MAX_ADVICE: usize = 8;

/// How the summary is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
    /// Not at all.
    None,
}

impl Format {
    /// Parses the value of `--summary`.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "none" => Ok(Self::None),
            _ => Err(format!("\"{text}\" is not text, json or none")),
        }
    }
}

/// What became of requests. The order is that of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// The policy allowed them.
    Allowed,
    /// The policy would have refused them, but only audits.
    Audited,
    /// The policy allowed them, and they failed.
    Failed,
    /// They were refused.
    Refused,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Audited => "audited",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// One line: an outcome, a host and a reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Line {
    verdict: Outcome,
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheme: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

/// What is known of the requests of one line.
#[derive(Clone, Debug, Default, Serialize)]
struct Told {
    requests: u64,
    /// What became of the way through the upstream proxy, the last time.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "text")]
    message: Option<Arc<str>>,
    /// What would allow them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<Advice>,
    /// Whether there was more to advise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more_to_allow: bool,
}

impl Told {
    fn advise(&mut self, advice: Advice) {
        if self.allow.contains(&advice) {
            return;
        }
        self.more_to_allow = self.allow.len() == MAX_ADVICE;
        if !self.more_to_allow {
            self.allow.push(advice);
        }
    }
}

/// Counts what the audit log sees.
#[derive(Debug, Default)]
pub struct Tally {
    source: Source,
    lines: BTreeMap<Line, Told>,
    /// Requests that were counted when they were decided, as what, and whose end is still to come.
    decided: HashMap<u64, Outcome>,
    /// What was asked of hosts beyond the most that are told apart.
    unlisted: u64,
}

impl Tally {
    /// Counts nothing yet. The policy is from `source`.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self { source, ..Self::default() }
    }

    /// Counts a record: a refusal when it is decided, anything else when it ends. An allowed decision and an audited CONNECT
    /// make their line, so that a host whose tunnel came to nothing is seen too.
    pub fn add(&mut self, record: &Record) {
        let is_decision = record.kind == Kind::Decision;
        let outcome = match (record.verdict, record.code) {
            (Verdict::Denied, _) => Outcome::Refused,
            (Verdict::Audited, _) => Outcome::Audited,
            (Verdict::Allowed, Some(_)) => Outcome::Failed,
            (Verdict::Allowed, None) => Outcome::Allowed,
        };
        // An audited request may still be refused for its address.
        let was_decided = !is_decision
            && record
                .request
                .is_some_and(|request| self.decided.remove(&request).is_some_and(|counted| counted == outcome));
        // What comes in an intercepted tunnel is counted by itself.
        let is_tunnel = is_decision && record.request.is_none() && record.method == Some(Method::CONNECT);
        let count = match outcome {
            Outcome::Audited if is_tunnel => 0,
            Outcome::Refused | Outcome::Audited => u64::from(!was_decided),
            Outcome::Failed => 1,
            Outcome::Allowed => u64::from(!is_decision),
        };
        if is_decision && matches!(outcome, Outcome::Refused | Outcome::Audited) && self.decided.len() < MAX_HOSTS {
            self.decided.extend(record.request.map(|request| (request, outcome)));
        }
        if !was_decided {
            let advice = record.addition.as_ref().and_then(|addition| Advice::of(addition, self.source));
            self.count(line(outcome, record), count, advice, record.message.as_ref());
        }
    }

    fn count(&mut self, line: Line, count: u64, advice: Option<Advice>, message: Option<&Arc<str>>) {
        if self.lines.len() >= MAX_HOSTS && !self.lines.contains_key(&line) {
            self.unlisted += count;
            return;
        }
        let told = self.lines.entry(line).or_default();
        told.requests += count;
        if message.is_some() {
            told.message = message.cloned();
        }
        if let Some(advice) = advice {
            told.advise(advice);
        }
    }

    /// The summary as it is written, with what was learnt; nothing for [`Format::None`].
    #[must_use]
    pub fn write(&self, format: Format, learnt: Option<&Learnt>) -> Option<String> {
        match format {
            Format::Text => {
                Some(self.text() + &learnt.map(|learnt| format!("sandgate: {learnt}\n")).unwrap_or_default())
            }
            Format::Json => Some(self.json(learnt)),
            Format::None => None,
        }
    }

    /// The lines that say something: a host that was allowed and never asked anything has none beside one that says why.
    fn told(&self) -> impl Iterator<Item = (&Line, &Told)> {
        let has_more = |line: &Line| {
            self.lines.keys().any(|other| other != line && other.host == line.host && other.port == line.port)
        };
        self.lines.iter().filter(move |(line, told)| told.requests > 0 || !has_more(line))
    }

    fn text(&self) -> String {
        if self.lines.is_empty() {
            return "sandgate: no request came to the proxy\n".to_owned();
        }
        let rows: Vec<_> =
            self.told().map(|(line, told)| (line, told, authority(line), requests(told.requests))).collect();
        let host_width = rows.iter().map(|(_, _, host, _)| host.len()).max().unwrap_or(0);
        let count_width = rows.iter().map(|(_, _, _, count)| count.len()).max().unwrap_or(0);
        let mut text = "sandgate: what the command asked for\n".to_owned();
        for (line, told, host, count) in &rows {
            let (verdict, why) = (line.verdict.as_str(), line.code.unwrap_or_default());
            let row = format!("  {verdict:<7}  {host:<host_width$}  {count:<count_width$}  {why}");
            let _ = writeln!(text, "{}", row.trim_end());
            if let Some(message) = &told.message {
                let _ = writeln!(text, "           {message}");
            }
            for Advice { add, to } in &told.allow {
                let _ = writeln!(text, "           to allow it, add to {to}: {add}");
            }
            if told.more_to_allow {
                let _ = writeln!(text, "           and further ones");
            }
        }
        if self.unlisted > 0 {
            let _ = writeln!(text, "  and {} to further hosts", requests(self.unlisted));
        }
        text
    }

    fn json(&self, learnt: Option<&Learnt>) -> String {
        #[derive(Serialize)]
        struct Counted<'a> {
            #[serde(flatten)]
            line: &'a Line,
            #[serde(flatten)]
            told: &'a Told,
        }
        let hosts: Vec<_> = self.told().map(|(line, told)| Counted { line, told }).collect();
        let mut summary = serde_json::json!({ "v": 1, "hosts": hosts, "unlisted_requests": self.unlisted });
        if let Some(Learnt { hosts, rules, file }) = learnt {
            let file = file.as_ref().map(|file| file.to_string_lossy());
            summary["learnt"] = serde_json::json!({ "file": file, "hosts": hosts, "rules": rules });
        }
        format!("{summary}\n")
    }
}

fn line(verdict: Outcome, record: &Record) -> Line {
    Line {
        verdict,
        host: record.host.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string),
        scheme: record.scheme.map(Scheme::as_str),
        port: record.port,
        code: record.code.map(Code::as_str),
    }
}

fn text<S: serde::Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text.as_deref().unwrap_or_default())
}

fn authority(line: &Line) -> String {
    match line.port {
        Some(port) => format!("{}:{port}", line.host),
        None => line.host.clone(),
    }
}

fn requests(count: u64) -> String {
    match count {
        0 => "no request".to_owned(),
        1 => "1 request".to_owned(),
        count => format!("{count} requests"),
    }
}

#[cfg(test)]
mod tests;
