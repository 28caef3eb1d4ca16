use std::sync::Arc;

use sandgate_policy::destination::Host;
use sandgate_policy::{Addition, Policy};

use super::*;

fn record(kind: Kind, request: u64, host: &str, verdict: Verdict, code: Option<Code>) -> Record {
    let mut record = Record::new(kind, 1, verdict);
    (record.request, record.port, record.code) = (Some(request), Some(443), code);
    record.host = Host::parse(host).ok();
    if code == Some(Code::HostNotAllowed) {
        let empty = Policy::from_allowed_domains("").unwrap();
        record.addition = empty.addition_for_connect(record.host.as_ref().unwrap(), 443).map(Arc::new);
    }
    record
}

fn tally(records: &[Record]) -> Tally {
    tally_of(Source::Flags, records)
}

fn tally_of(source: Source, records: &[Record]) -> Tally {
    let mut tally = Tally::new(source);
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
  refused  evil.test:443       1 request   host_not_allowed
           to allow it, add to run: --allow evil.test
";
    assert_eq!(mixed().write(Format::Text, None).as_deref(), Some(expected));
}

#[test]
fn json_is_one_object_on_one_line() {
    let text = mixed().write(Format::Json, None).unwrap();
    assert_eq!(text.lines().count(), 1);
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    let refused = serde_json::json!({
        "verdict": "refused", "host": "evil.test", "port": 443, "code": "host_not_allowed", "requests": 1,
        "allow": [{"add": "--allow evil.test", "to": "run"}],
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
    let told: Vec<_> = tally.told().map(|(line, told)| (line.verdict, line.code, told.requests)).collect();
    assert_eq!(told, [(Outcome::Refused, Some("address_not_allowed"), 1)]);
}

#[test]
fn with_a_policy_file_each_entry_that_would_allow_something_is_told_up_to_a_bound() {
    let asked = |number: u64| {
        let mut record = record(Kind::Decision, number, "api.test", Verdict::Denied, Some(Code::RequestNotAllowed));
        let path = Some(format!("/v1/{}", number / 2));
        let addition = Addition::Allow { rule: "api".into(), method: http::Method::GET, path };
        record.addition = Some(Arc::new(addition));
        record
    };
    let tally = |count| tally_of(Source::File, &(0..count).map(asked).collect::<Vec<_>>());
    let expected = "\
sandgate: what the command asked for
  refused  api.test:443  3 requests  request_not_allowed
           to allow it, add to api.allow: - {methods: [GET], paths: [\"/v1/0\"]}
           to allow it, add to api.allow: - {methods: [GET], paths: [\"/v1/1\"]}
";
    assert_eq!(tally(3).text(), expected);
    let many = tally(1_000).text();
    assert_eq!(many.lines().count(), 2 + MAX_ADVICE + 1);
    assert!(many.ends_with("  and further ones\n"), "{many}");
    let many: serde_json::Value = serde_json::from_str(&tally(1_000).json(None)).unwrap();
    assert_eq!(many["hosts"][0]["allow"].as_array().map(Vec::len), Some(MAX_ADVICE));
    assert_eq!(many["hosts"][0]["more_to_allow"], true);
}

#[test]
fn a_command_that_asked_for_nothing_is_told_so() {
    assert_eq!(Tally::default().text(), "sandgate: no request came to the proxy\n");
    assert_eq!(Tally::default().write(Format::None, None), None);
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

#[test]
fn what_was_learnt_is_said_in_the_form_of_the_summary() {
    let learnt = Learnt { hosts: 1, rules: 2, file: Some("policy.yaml".into()) };
    let text = mixed().write(Format::Text, Some(&learnt)).unwrap();
    assert!(text.ends_with("\nsandgate: learnt 1 host, 2 rules: policy.yaml\n"), "{text}");
    let summary = mixed().write(Format::Json, Some(&learnt)).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["learnt"], serde_json::json!({ "file": "policy.yaml", "hosts": 1, "rules": 2 }));
    assert_eq!(mixed().write(Format::None, Some(&learnt)), None);
    let nothing = Learnt { hosts: 0, rules: 0, ..learnt };
    assert_eq!(nothing.to_string(), "learnt nothing new: policy.yaml");
}

#[test]
fn an_audited_request_that_is_refused_for_its_address_is_told_as_both() {
    let tally = tally(&[
        record(Kind::Decision, 1, "inner.test", Verdict::Audited, Some(Code::HostNotAllowed)),
        record(Kind::Request, 1, "inner.test", Verdict::Denied, Some(Code::AddressNotAllowed)),
        record(Kind::Decision, 2, "a.test", Verdict::Audited, Some(Code::HostNotAllowed)),
        record(Kind::Request, 2, "a.test", Verdict::Audited, Some(Code::HostNotAllowed)),
    ]);
    let told: Vec<_> = tally.told().map(|(line, told)| (line.verdict, line.host.as_str(), told.requests)).collect();
    let audited = Outcome::Audited;
    assert_eq!(told, [(audited, "a.test", 1), (audited, "inner.test", 1), (Outcome::Refused, "inner.test", 1)]);
}

#[test]
fn an_audited_tunnel_is_told_only_where_nothing_came_in_it() {
    let refused = Some(Code::HostNotAllowed);
    let connect = |host| {
        let record = record(Kind::Decision, 0, host, Verdict::Audited, refused);
        Record { request: None, method: Some(Method::CONNECT), ..record }
    };
    let of_request =
        |kind| Record { scheme: Some(Scheme::Https), ..record(kind, 1, "a.test", Verdict::Audited, refused) };
    let tally =
        tally(&[connect("a.test"), connect("idle.test"), of_request(Kind::Decision), of_request(Kind::Request)]);
    let told: Vec<_> = tally.told().map(|(line, told)| (line.host.as_str(), line.scheme, told.requests)).collect();
    assert_eq!(told, [("a.test", Some("https"), 1), ("idle.test", None, 0)]);
    assert!(tally.text().contains("audited  idle.test:443  no request  host_not_allowed\n"), "{}", tally.text());
}
