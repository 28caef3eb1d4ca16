//! What was observed is allowed by the policy that is written, and nothing that could not be is in it. Records go in as the
//! proxy makes them, and as the lines that it would write.

mod files;
mod outcomes;
mod property;

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use sandgate_policy::destination::{Destination, Host, Scheme};
use sandgate_policy::{Outcome, Policy};

use super::addition::{Additions, Ranges};
use super::learner::Learner;
use super::observation::{self, Observation};
use super::{document, parse};
use crate::audit::{Kind, LoggedPath, Record, Verdict, WholePath};
use crate::refusal::Code;

/// A request that went through, though no policy allowed it.
#[derive(Clone, Debug)]
struct Request {
    destination: Destination,
    method: Method,
    path: String,
}

/// How the learner is told.
#[derive(Clone, Copy, Debug)]
enum From {
    Record,
    Line,
}

impl Request {
    fn new(method: &str, url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
        let authority = sandgate_policy::destination::Authority::parse(authority).unwrap();
        let port = authority.port.unwrap_or(scheme.default_port());
        let destination = Destination { scheme, host: authority.host, port };
        Self { destination, method: method.parse().unwrap(), path: path.to_owned() }
    }

    fn decision(&self, request: u64) -> Record {
        let mut record = Record::new(Kind::Decision, 1, Verdict::Audited).to(&self.destination);
        (record.request, record.method) = (Some(request), Some(self.method.clone()));
        record.path = Some(LoggedPath::of(&self.path));
        record.whole_path = PathAndQuery::try_from(self.path.as_str()).ok().map(WholePath);
        record.code = Some(Code::HostNotAllowed);
        record
    }

    fn end(&self, request: u64) -> Record {
        let mut record = Record { kind: Kind::Request, ..self.decision(request) };
        record.address = Some(([1, 1, 1, 1], self.destination.port).into());
        (record.status, record.first_byte) = (Some(StatusCode::OK), Some(Duration::from_millis(1)));
        record
    }

    fn records(&self, request: u64) -> [Record; 2] {
        [self.decision(request), self.end(request)]
    }
}

fn tell(learner: &mut Learner, from: From, record: &Record) {
    match from {
        From::Record => learner.add("", Observation::of_record(record)),
        From::Line => {
            let mut line = serde_json::to_value(record).unwrap();
            line["v"] = 1.into();
            let line = observation::read(line.to_string().as_bytes()).unwrap_or_else(|why| panic!("{why:?}: {line}"));
            learner.add(&line.source, line.observation);
        }
    }
}

/// The text that learning from `records` makes of `text`.
fn learnt(text: Option<&str>, from: From, records: &[Record]) -> String {
    let base = || text.map_or_else(Policy::deny_all, |text| Policy::parse(text.as_bytes()).unwrap());
    let mut learner = Learner::new(base());
    records.iter().for_each(|record| tell(&mut learner, from, record));
    learner.finish();
    let additions = Additions::of(&learner, &base(), Ranges::Each);
    let new = match text {
        Some(text) => document::extended(text, &additions),
        None => document::new(&additions),
    };
    new.unwrap_or_else(|error| panic!("{error}\n{text:?}\n{additions:#?}"))
}

fn learnt_of(text: Option<&str>, from: From, requests: &[Request]) -> String {
    let records: Vec<_> = (0..).zip(requests).flat_map(|(number, request)| request.records(number)).collect();
    learnt(text, from, &records)
}

fn requests(all: &[(&str, &str)]) -> Vec<Request> {
    all.iter().map(|(method, url)| Request::new(method, url)).collect()
}

#[track_caller]
fn assert_allows(text: &str, requests: &[Request]) {
    let policy = Policy::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    for request in requests {
        let verdict = policy.judge_request(&request.destination, &request.method, &request.path);
        assert_eq!(verdict.outcome, Outcome::Allow, "{request:?}\n{text}");
    }
}

#[test]
fn nothing_else_is_allowed() {
    let all = requests(&[
        ("GET", "https://a.test/zen"),
        ("POST", "https://a.test/items/42/tags"),
        ("GET", "http://b.test/x"),
        ("GET", "https://c.test:8443/"),
    ]);
    for from in [From::Record, From::Line] {
        let policy = Policy::parse(learnt_of(None, from, &all).as_bytes()).unwrap();
        for other in requests(&[
            ("HEAD", "https://a.test/zen"),
            ("POST", "https://a.test/zen"),
            ("GET", "https://a.test/zen/"),
            ("POST", "https://a.test/items/42"),
            ("GET", "https://b.test/x"),
            ("GET", "http://b.test:8080/x"),
            ("GET", "https://c.test/"),
            ("GET", "https://d.a.test/zen"),
            ("GET", "http://a.test/zen"),
        ]) {
            let outcome = policy.judge_request(&other.destination, &other.method, &other.path).outcome;
            assert!(matches!(outcome, Outcome::Deny(_)), "{other:?}");
        }
    }
}

#[test]
fn a_policy_is_sorted_and_says_how_often_each_line_was_used() {
    let mut all = requests(&[
        ("POST", "https://b.test/v1/items"),
        ("GET", "https://a.test:8443/x"),
        ("GET", "https://a.test/zen"),
        ("GET", "http://a.test/plain"),
        ("GET", "https://a.test/repos/7"),
        ("GET", "https://a.test/repos/8"),
        ("GET", "https://a.test/zen"),
        ("GET", "https://[2001:db8::1]/"),
        ("GET", "https://B\u{fc}cher.example/"),
    ]);
    let text = learnt_of(None, From::Record, &all);
    let expected = r#"version: 1
destinations:
  - id: 2001-db8--1  # 1 request
    host: "[2001:db8::1]"
    allow:
      - methods: [GET]  # 1 request
        paths:
          - "/"  # 1 request
  - id: a.test-http  # 1 request
    host: a.test
    scheme: http
    allow:
      - methods: [GET]  # 1 request
        paths:
          - "/plain"  # 1 request
  - id: a.test  # 4 requests
    host: a.test
    allow:
      - methods: [GET]  # 4 requests
        paths:
          - "/repos/*"  # 2 requests
          - "/zen"  # 2 requests
  - id: a.test-8443  # 1 request
    host: a.test
    ports: [8443]
    allow:
      - methods: [GET]  # 1 request
        paths:
          - "/x"  # 1 request
  - id: b.test  # 1 request
    host: b.test
    allow:
      - methods: [POST]  # 1 request
        paths:
          - "/v1/items"  # 1 request
  - id: xn--bcher-kva.example  # 1 request
    host: xn--bcher-kva.example
    allow:
      - methods: [GET]  # 1 request
        paths:
          - "/"  # 1 request
"#;
    assert!(text.ends_with(expected), "{text}");
    all.reverse();
    assert_eq!(learnt_of(None, From::Record, &all), text);
    assert_eq!(learnt_of(None, From::Line, &all), text);
}

#[test]
fn folded_paths_say_so() {
    let names = |count: u8| (0..count).map(|number| char::from(b'a' + number));
    let siblings = names(9).map(|name| Request::new("GET", &format!("https://a.test/v1/{name}")));
    let firsts = names(9).map(|name| Request::new("GET", &format!("https://b.test/{name}/x")));
    let many = (0..1_000).map(|number| Request::new("GET", &format!("https://c.test/v1/n{number}")));
    let text = learnt_of(None, From::Record, &siblings.chain(firsts).chain(many).collect::<Vec<_>>());
    for line in [
        "- \"/v1/*\"  # 9 requests to 9 paths\n",
        "- \"/**\"  # 9 requests to 9 paths with more than 8 first segments\n",
        "- \"/v1/*\"  # 1000 requests to many paths\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn a_deny_list_stays_what_it_is() {
    let base =
        "version: 1\ndestinations:\n  - {id: a, host: a.test, allow: [{paths: ['/**']}], deny: [{paths: [/admin]}]}\n";
    let text = learnt_of(Some(base), From::Record, &requests(&[("GET", "https://a.test/admin")]));
    assert_eq!(text, format!("{base}# Not learnt: a.test:443: request_denied, 1 request\n"));
}

#[test]
fn entries_go_to_the_destination_that_answers() {
    let base = "version: 1\ndestinations:\n  - id: wide\n    host: '*.example.test'\n    allow:\n      - methods: [GET]\n  - id: all\n    host: b.test\n";
    let all = requests(&[
        ("POST", "https://x.example.test/a"),
        ("POST", "https://y.example.test/a"),
        ("POST", "https://y.example.test/b"),
        ("GET", "https://y.example.test/c"),
        ("GET", "https://x.example.test:8443/"),
        ("DELETE", "https://b.test/x"),
    ]);
    let text = learnt_of(Some(base), From::Record, &all);
    assert_allows(&text, &all);
    let policy = Policy::parse(text.as_bytes()).unwrap();
    let ids: Vec<_> = policy.rules().iter().map(|rule| Arc::clone(&rule.id)).collect();
    assert_eq!(ids.iter().map(|id| &**id).collect::<Vec<_>>(), ["wide", "all", "x.example.test-8443"]);
    assert_eq!(text.matches("\"/a\"").count(), 1, "hosts below one wildcard share its list:\n{text}");
}

#[test]
fn paths_that_are_there_count_when_new_ones_are_folded() {
    let names = |from: u8, to: u8| -> Vec<Request> {
        let names = (from..to).map(char::from);
        names.map(|name| Request::new("GET", &format!("https://a.test/v1/{name}"))).collect()
    };
    let text = learnt_of(None, From::Record, &names(b'a', b'f'));
    let extended = learnt_of(Some(&text), From::Record, &names(b'f', b'm'));
    assert!(
        extended.contains("\"/v1/a\"") && extended.contains("- \"/v1/*\"  # 7 requests to 7 paths\n"),
        "{extended}"
    );
}

#[test]
fn a_path_that_no_list_allows_leaves_its_destination_without_lists_of_paths() {
    let all = requests(&[("GET", "https://a.test/a/../b"), ("POST", "https://a.test/x")]);
    let text = learnt_of(None, From::Record, &all);
    assert_allows(&text, &all);
    assert!(text.contains("    # any path, as one was asked for that no list of paths allows\n"), "{text}");
    assert!(!text.contains("paths:"), "{text}");
    let base = "version: 1\ndestinations:\n  - id: a\n    host: a.test\n    allow: [{methods: [POST], paths: [/x]}]\n";
    let text = learnt_of(Some(base), From::Record, &all);
    assert_eq!(text, format!("{base}# Not learnt: a.test:443: bad_path, 1 request\n"));
    // As long as it judges no paths, it goes on so.
    let base = "version: 1\ndestinations:\n  - id: a\n    host: a.test\n    allow: [{methods: [GET]}]\n";
    assert_allows(&learnt_of(Some(base), From::Record, &all), &all);
}

#[test]
fn a_server_wide_options_is_allowed_by_its_method() {
    let server_wide = Request { path: "*".to_owned(), ..Request::new("OPTIONS", "https://a.test/") };
    let all = [server_wide, Request::new("GET", "https://a.test/x")];
    let text = learnt_of(None, From::Record, &all);
    assert_allows(&text, &all);
    assert!(text.contains("- methods: [OPTIONS]  # 1 request\n") && text.contains("- \"/x\"  # 1 request\n"), "{text}");
}

#[test]
fn a_bad_path_that_a_line_does_not_show_is_known_by_its_code() {
    let long = "x".repeat(25);
    let request = Request::new("GET", &format!("https://a.test/{long}%00"));
    let records = request.records(0).map(|record| Record { code: Some(Code::BadPath), ..record });
    assert_allows(&learnt(None, From::Line, &records), &[request]);
}

#[test]
fn a_file_that_is_no_policy_is_named_with_its_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.yaml");
    std::fs::write(&path, "version: 2\n").unwrap();
    let file = super::PolicyFile::open(&path).unwrap();
    let error = parse(&file, file.text()).unwrap_err().to_string();
    assert!(error.contains(&format!("{}: line 1: version: \"2\" is not known; write 1", path.display())), "{error}");
}
