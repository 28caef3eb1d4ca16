//! What `run` says at its end: which hosts were reached and which refused, how often, and why. Bounded, whatever the
//! command asks for.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use sandgate_policy::destination::Scheme;
use serde::Serialize;

use crate::audit::{Kind, Record, Verdict};
use crate::refusal::Code;

/// The most hosts that are told apart; what is asked of further ones is counted together.
const MAX_HOSTS: usize = 1_000;

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

/// Counts what the audit log sees.
#[derive(Debug, Default)]
pub struct Tally {
    lines: BTreeMap<Line, u64>,
    /// Requests whose refusal was counted when it was decided, and whose end is still to come.
    decided: HashSet<u64>,
    /// What was asked of hosts beyond the most that are told apart.
    unlisted: u64,
}

impl Tally {
    /// Counts a record: a refusal when it is decided, anything else when it ends. An allowed decision makes its line,
    /// so that a host whose tunnel came to nothing is seen too.
    pub fn add(&mut self, record: &Record) {
        let is_decision = record.kind == Kind::Decision;
        let was_decided = !is_decision && record.request.is_some_and(|request| self.decided.remove(&request));
        let outcome = match (record.verdict, record.code) {
            (Verdict::Denied, _) => Outcome::Refused,
            (Verdict::Audited, _) => Outcome::Audited,
            (Verdict::Allowed, Some(_)) => Outcome::Failed,
            (Verdict::Allowed, None) => Outcome::Allowed,
        };
        let count = match outcome {
            Outcome::Refused | Outcome::Audited => u64::from(!was_decided),
            Outcome::Failed => 1,
            Outcome::Allowed => u64::from(!is_decision),
        };
        if is_decision && matches!(outcome, Outcome::Refused | Outcome::Audited) && self.decided.len() < MAX_HOSTS {
            self.decided.extend(record.request);
        }
        if !was_decided {
            self.count(line(outcome, record), count);
        }
    }

    fn count(&mut self, line: Line, count: u64) {
        if self.lines.len() < MAX_HOSTS || self.lines.contains_key(&line) {
            *self.lines.entry(line).or_default() += count;
        } else {
            self.unlisted += count;
        }
    }

    /// The summary as it is written; nothing for [`Format::None`].
    #[must_use]
    pub fn write(&self, format: Format) -> Option<String> {
        match format {
            Format::Text => Some(self.text()),
            Format::Json => Some(self.json()),
            Format::None => None,
        }
    }

    /// The lines that say something: a host that was allowed and never asked anything has none beside one that says why.
    fn told(&self) -> impl Iterator<Item = (&Line, u64)> {
        let has_more = |line: &Line| {
            self.lines.keys().any(|other| other != line && other.host == line.host && other.port == line.port)
        };
        self.lines.iter().map(|(line, count)| (line, *count)).filter(move |(line, count)| *count > 0 || !has_more(line))
    }

    fn text(&self) -> String {
        if self.lines.is_empty() {
            return "sandgate: no request came to the proxy\n".to_owned();
        }
        let rows: Vec<_> = self.told().map(|(line, count)| (line, authority(line), requests(count))).collect();
        let host_width = rows.iter().map(|(_, host, _)| host.len()).max().unwrap_or(0);
        let count_width = rows.iter().map(|(_, _, count)| count.len()).max().unwrap_or(0);
        let mut text = "sandgate: what the command asked for\n".to_owned();
        for (line, host, count) in &rows {
            let why = line.code.map(|code| format!("{code}{}", advice(line, host))).unwrap_or_default();
            let verdict = line.verdict.as_str();
            let row = format!("  {verdict:<7}  {host:<host_width$}  {count:<count_width$}  {why}");
            let _ = writeln!(text, "{}", row.trim_end());
        }
        if self.unlisted > 0 {
            let _ = writeln!(text, "  and {} to further hosts", requests(self.unlisted));
        }
        text
    }

    fn json(&self) -> String {
        #[derive(Serialize)]
        struct Counted<'a> {
            #[serde(flatten)]
            line: &'a Line,
            requests: u64,
        }
        let hosts: Vec<_> = self.told().map(|(line, requests)| Counted { line, requests }).collect();
        format!("{}\n", serde_json::json!({ "v": 1, "hosts": hosts, "unlisted_requests": self.unlisted }))
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

/// What to do, where one flag of `run` does it.
fn advice(line: &Line, host: &str) -> String {
    let allowed = [Code::HostNotAllowed, Code::PortNotAllowed].map(|code| Some(code.as_str()));
    if line.port.is_none() || !allowed.contains(&line.code) {
        return String::new();
    }
    match line.scheme {
        Some("http") => format!(" (to allow it: --allow http://{})", host.trim_end_matches(":80")),
        _ => format!(" (to allow it: --allow {})", host.trim_end_matches(":443")),
    }
}

#[cfg(test)]
mod tests {
    use sandgate_policy::destination::Host;

    use super::*;

    fn record(kind: Kind, request: u64, host: &str, verdict: Verdict, code: Option<Code>) -> Record {
        let mut record = Record::new(kind, 1, verdict);
        (record.request, record.port, record.code) = (Some(request), Some(443), code);
        record.host = Host::parse(host).ok();
        record
    }

    fn tally(records: &[Record]) -> Tally {
        let mut tally = Tally::default();
        records.iter().for_each(|record| tally.add(record));
        tally
    }

    fn mixed() -> Tally {
        let refused = Some(Code::HostNotAllowed);
        tally(&[
            record(Kind::Decision, 1, "api.github.com", Verdict::Allowed, None),
            record(Kind::Request, 1, "api.github.com", Verdict::Allowed, None),
            record(Kind::Decision, 2, "api.github.com", Verdict::Allowed, None),
            record(Kind::Request, 2, "api.github.com", Verdict::Allowed, None),
            record(Kind::Decision, 3, "evil.test", Verdict::Denied, refused),
            record(Kind::Request, 3, "evil.test", Verdict::Denied, refused),
            record(Kind::Decision, 4, "silent.test", Verdict::Allowed, None),
            record(Kind::Decision, 5, "old.test", Verdict::Allowed, None),
            record(Kind::Request, 5, "old.test", Verdict::Allowed, Some(Code::CertificateExpired)),
        ])
    }

    #[test]
    fn lines_are_aligned_and_say_why() {
        let expected = "\
sandgate: what the command asked for
  allowed  api.github.com:443  2 requests
  allowed  silent.test:443     no request
  failed   old.test:443        1 request   certificate_expired
  refused  evil.test:443       1 request   host_not_allowed (to allow it: --allow evil.test)
";
        assert_eq!(mixed().write(Format::Text).as_deref(), Some(expected));
    }

    #[test]
    fn json_is_one_object_on_one_line() {
        let text = mixed().write(Format::Json).unwrap();
        assert_eq!(text.lines().count(), 1);
        let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
        let refused = serde_json::json!({
            "verdict": "refused", "host": "evil.test", "port": 443, "code": "host_not_allowed", "requests": 1
        });
        assert_eq!(summary["hosts"].as_array().unwrap().last(), Some(&refused));
    }

    #[test]
    fn a_refusal_without_a_decision_is_counted_too() {
        let tally = tally(&[record(Kind::Request, 1, "evil.test", Verdict::Denied, Some(Code::BadPath))]);
        assert!(tally.text().contains("evil.test:443  1 request  bad_path"), "{}", tally.text());
    }

    #[test]
    fn a_request_that_is_refused_after_its_verdict_is_counted_once() {
        let refused = Some(Code::AddressNotAllowed);
        let tally = tally(&[
            record(Kind::Decision, 1, "inner.test", Verdict::Allowed, None),
            record(Kind::Request, 1, "inner.test", Verdict::Denied, refused),
        ]);
        let told: Vec<_> = tally.told().map(|(line, count)| (line.verdict, line.code, count)).collect();
        assert_eq!(told, [(Outcome::Refused, Some("address_not_allowed"), 1)]);
    }

    #[test]
    fn a_command_that_asked_for_nothing_is_told_so() {
        assert_eq!(Tally::default().text(), "sandgate: no request came to the proxy\n");
        assert_eq!(Tally::default().write(Format::None), None);
    }

    #[test]
    fn hosts_without_end_are_counted_together() {
        let mut tally = Tally::default();
        for number in 0..5_000 {
            let host = format!("h{number}.test");
            tally.add(&record(Kind::Decision, number, &host, Verdict::Denied, Some(Code::HostNotAllowed)));
        }
        assert_eq!((tally.lines.len(), tally.unlisted), (MAX_HOSTS, 4_000));
        assert!(tally.decided.len() <= MAX_HOSTS);
        assert!(tally.text().ends_with("  and 4000 requests to further hosts\n"));
    }
}
