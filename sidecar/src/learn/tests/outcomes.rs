//! What became of requests decides what is learnt: a rule, a comment, or nothing.

use std::net::IpAddr;

use super::*;

#[test]
fn what_was_refused_for_its_address_or_failed_is_a_comment() {
    let request = Request::new("GET", "https://inner.test/secret");
    let ended = |code| {
        let mut end = Record { kind: Kind::Request, code: Some(code), ..request.decision(0) };
        if matches!(code, Code::MetadataAddress | Code::AddressNotAllowed | Code::OwnAddress) {
            end.verdict = Verdict::Denied;
        }
        [request.decision(0), end]
    };
    for from in [From::Record, From::Line] {
        for code in [
            Code::MetadataAddress,
            Code::AddressNotAllowed,
            Code::OwnAddress,
            Code::NameNotFound,
            Code::ConnectionRefused,
            Code::CertificateUnknownIssuer,
        ] {
            let text = learnt(None, from, &ended(code));
            assert!(text.ends_with(&format!("# Not learnt: inner.test:443: {code}, 1 request\n")), "{text}");
            assert!(Policy::parse(text.as_bytes()).unwrap().rules().is_empty());
            assert_eq!(learnt(Some(&text), from, &ended(code)), text, "a comment is not repeated");
        }
    }
}

#[test]
fn who_goes_away_has_asked_and_what_never_ended_was_asked_for_if_the_host_is_known() {
    let request = Request::new("GET", "https://a.test/events");
    let gone = Record { first_byte: None, code: Some(Code::ClientClosed), ..request.end(0) };
    let unsent = Record { address: None, ..gone.clone() };
    for from in [From::Record, From::Line] {
        let other = Request::new("GET", "https://a.test/other");
        let beside = [vec![request.decision(0)], other.records(1).to_vec()].concat();
        for records in [vec![request.decision(0), gone.clone()], beside] {
            assert_allows(&learnt(None, from, &records), std::slice::from_ref(&request));
        }
        let text = learnt(None, from, &[request.decision(0)]);
        assert!(text.ends_with("# Not learnt: a.test:443: a request had not ended, 1 request\n"), "{text}");
        let text = learnt(None, from, &[request.decision(0), unsent.clone()]);
        assert!(text.contains("# Not learnt: a.test:443: client_closed, 1 request"), "{text}");
    }
}

fn connect(host: &str, port: u16, verdict: Verdict, code: Option<Code>) -> Record {
    let destination = Destination { scheme: Scheme::Https, host: Host::parse(host).unwrap(), port };
    let record = Record::new(Kind::Decision, 1, verdict).to(&destination);
    Record { scheme: None, method: Some(Method::CONNECT), code, ..record }
}

#[test]
fn tunnels_are_learnt_only_by_what_comes_in_them() {
    let request = Request::new("GET", "https://a.test/");
    let audited = |host| connect(host, 443, Verdict::Audited, Some(Code::HostNotAllowed));
    let mut records = vec![audited("a.test"), audited("idle.test")];
    records.extend(request.records(0));
    for from in [From::Record, From::Line] {
        let text = learnt(None, from, &records);
        assert_eq!(Policy::parse(text.as_bytes()).unwrap().rules().len(), 1, "{text}");
        let comment = "# Not learnt: idle.test:443: there were tunnels to it, and no request in them, 1 request\n";
        assert!(text.ends_with(comment), "{text}");
    }
}

#[test]
fn a_passthrough_of_a_log_is_learnt_as_one() {
    let destination = Destination { scheme: Scheme::Https, host: Host::parse("pinned.test").unwrap(), port: 443 };
    let ended = Record::new(Kind::TunnelEnd, 1, Verdict::Allowed).to(&destination);
    let ended = Record { address: Some(([10, 1, 2, 3], 443).into()), ..ended };
    let text = learnt(None, From::Line, &[ended.clone(), ended.clone()]);
    let expected = "  - id: pinned.test  # 2 requests\n    host: pinned.test\n    tls: passthrough\n    private_cidrs: [\"10.1.2.3/32\"]\n";
    assert!(text.ends_with(expected), "{text}");
    assert_eq!(learnt(Some(&text), From::Line, &[ended]), text);
}

#[test]
fn the_address_of_a_proxy_on_the_way_is_not_that_of_the_host() {
    let request = Request::new("GET", "https://a.test/");
    let end = |port, via, origin: &[[u8; 4]]| {
        let mut end = Record { address: Some(([10, 0, 0, 9], port).into()), via, ..request.end(0) };
        end.origin_addresses = (!origin.is_empty()).then(|| origin.iter().copied().map(IpAddr::from).collect());
        end
    };
    for from in [From::Record, From::Line] {
        for (record, expected) in [
            (end(443, Some("upstream_proxy"), &[]), None),
            (end(443, Some("upstream_proxy"), &[[1, 1, 1, 1]]), None),
            (
                end(3128, Some("upstream_proxy"), &[[10, 1, 2, 4], [1, 1, 1, 1], [10, 1, 2, 3]]),
                Some("    private_cidrs: [\"10.1.2.3/32\", \"10.1.2.4/32\"]\n"),
            ),
            (end(443, None, &[]), Some("    private_cidrs: [\"10.0.0.9/32\"]\n")),
        ] {
            let text = learnt(None, from, &[record]);
            assert_eq!(text.contains("private_cidrs"), expected.is_some(), "{text}");
            assert!(text.contains(expected.unwrap_or_default()), "{text}");
        }
    }
}

#[test]
fn a_private_address_that_a_destination_of_the_file_does_not_list_is_a_comment() {
    let base = "version: 1\ndestinations:\n  - {id: a, host: a.test, private_cidrs: [10.1.0.0/16]}\n  - {id: p, host: p.test, tls: passthrough}\n  \
                - {id: w, host: '*.w.test', allow: [{methods: [GET]}]}\n";
    let at = |request: Request, address: &str| {
        let end = Record { address: Some((address.parse::<IpAddr>().unwrap(), 443).into()), ..request.end(0) };
        [request.decision(0), end]
    };
    let get = |url| Request::new("GET", url);
    let mut passed = Record::new(Kind::TunnelEnd, 1, Verdict::Allowed).to(&get("https://p.test/").destination);
    passed.address = Some(([10, 9, 9, 9], 443).into());
    let mut records = vec![passed];
    records.extend(at(get("https://a.test/x"), "10.1.2.3"));
    records.extend(at(get("https://a.test/x"), "1.1.1.1"));
    records.extend(at(get("https://a.test/x"), "10.2.2.3"));
    records.extend(at(get("https://one.w.test/x"), "fd00::1"));
    records.extend(at(get("https://two.w.test/x"), "fd00::1"));
    for from in [From::Record, From::Line] {
        let text = learnt(Some(base), from, &records);
        let lacks =
            |addition| format!("# Reached at a private address that is not listed; to allow it, add to {addition}\n");
        let expected =
            ["a.private_cidrs: - 10.2.2.3/32", "p.private_cidrs: - 10.9.9.9/32", "w.private_cidrs: - \"fd00::1/128\""];
        assert_eq!(text, format!("{base}{}", expected.map(lacks).concat()));
        assert_eq!(learnt(Some(&text), from, &records), text, "comments are not repeated");
    }
}

fn refused(method: &str, url: &str, code: Code) -> Record {
    let record = Request::new(method, url).decision(0);
    Record { verdict: Verdict::Denied, code: Some(code), ..record }
}

#[test]
fn what_a_cluster_refused_is_a_comment_with_what_would_allow_it() {
    let records = [
        connect("evil.test", 443, Verdict::Denied, Some(Code::HostNotAllowed)),
        refused("POST", "https://a.test/items", Code::RequestNotAllowed),
        refused("GET", "https://a.test/denied", Code::RequestDenied),
        refused("GET", "http://b.test/x", Code::HostNotAllowed),
    ];
    let text = learnt(None, From::Line, &records);
    assert!(Policy::parse(text.as_bytes()).unwrap().rules().is_empty(), "{text}");
    for comment in [
        "# Not learnt: a.test:443: request_denied, 1 request\n",
        "# Refused: evil.test:443. This destination would allow it:\n#   - id: evil.test  # 1 request\n#     host: evil.test\n",
        "#     # any method and path, as none was seen\n",
        "#     scheme: http\n#     allow:\n#       - methods: [GET]  # 1 request\n#         paths:\n#           - \"/x\"  # 1 request\n",
    ] {
        assert!(text.contains(comment), "{comment}{text}");
    }
    // Without the marks of comments, that is a policy.
    let shown: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("#   ")).map(|line| format!("  {line}\n")).collect();
    let policy = Policy::parse(format!("version: 1\ndestinations:\n{}", shown.concat()).as_bytes()).unwrap();
    assert_eq!(policy.rules().len(), 3);
    let base = "version: 1\ndestinations:\n  - {id: a, host: a.test, allow: [{methods: [GET]}]}\n  - {id: evil, host: evil.test}\n";
    let text = learnt(Some(base), From::Line, &records);
    assert!(text.starts_with(base) && !text.contains("evil.test:443"), "{text}");
    let comment = "# Refused by the destination a. These entries in its allow list would allow it, behind the bracket that opens the list:\n#   {methods: [POST], paths: [\"/items\"]},  # 1 request\n";
    assert!(text.contains(comment), "{text}");
    assert_eq!(learnt(Some(&text), From::Line, &records), text, "comments are not repeated");
    let more = [refused("PUT", "https://a.test/other", Code::RequestNotAllowed)];
    let text = learnt(Some(&text), From::Line, &more);
    assert!(text.ends_with("#   {methods: [PUT], paths: [\"/other\"]},  # 1 request\n"), "{text}");
}

/// The lines of comments that can be put into a list.
fn shown(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("# Refused") && !line.starts_with("# Not"));
    lines.filter_map(|line| line.strip_prefix("# ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn comments_without_their_marks_are_lines_of_the_list_that_they_are_for() {
    let asked = [("POST", "https://a.test/items"), ("GET", "https://new.test/zen")];
    let records = [
        refused("POST", "https://a.test/items", Code::RequestNotAllowed),
        refused("GET", "https://new.test/zen", Code::HostNotAllowed),
    ];
    let head = "version: 1\ndestinations:";
    let (list, all) = ("allow:\n            - methods: [GET]\n", requests(&asked));
    for base in [
        format!("{head}\n- id: a\n  host: a.test\n  {list}"),
        format!("{head}\n      - id: a\n        host: a.test\n        {list}"),
    ] {
        // What is last in the text is last in its list.
        let entries = learnt(Some(&base), From::Line, &records[..1]);
        let text = format!("{base}{}", shown(&entries));
        assert_allows(&text, &all[..1]);
        let destination = learnt(Some(&text), From::Line, &records[1..]);
        assert_allows(&format!("{text}{}", shown(&destination)), &all);
    }
    let base = "{version: 1, destinations: [{id: a, host: a.test, allow: [{methods: [GET]}]}]}\n";
    let entries = shown(&learnt(Some(base), From::Line, &records[..1]));
    let text = base.replace("allow: [", &format!("allow: [\n{entries}"));
    assert_allows(&text, &all[..1]);
    let destination = shown(&learnt(Some(&text), From::Line, &records[1..]));
    assert_allows(&text.replace("destinations: [", &format!("destinations: [\n{destination}")), &all);
}

#[test]
fn what_was_refused_of_a_host_that_is_learnt_belongs_to_its_new_destination() {
    let all = requests(&[("GET", "https://a.test/zen"), ("POST", "https://a.test/items"), ("GET", "https://a.test/x")]);
    let mut records = all[0].records(1).to_vec();
    records.push(refused("POST", "https://a.test/items", Code::RequestNotAllowed));
    records.push(refused("GET", "https://a.test/zen", Code::RequestNotAllowed));
    records.push(refused("GET", "https://a.test/x", Code::RequestNotAllowed));
    records.push(connect("a.test", 443, Verdict::Denied, Some(Code::HostNotAllowed)));
    for base in [None, Some("version: 1\ndestinations:\n- id: b\n  host: b.test\n")] {
        let text = learnt(base, From::Line, &records);
        let words = "# Refused by the destination a.test. These entries in its allow list would allow it:\n";
        assert!(text.contains(words) && !text.contains("This destination would"), "{text}");
        let shown = text.split_once(words).unwrap().1.replace("# ", "");
        assert!(shown.contains("- methods: [POST]") && !shown.contains("/zen"), "{shown}");
        assert_allows(
            &text
                .replace("\n# ", "\n")
                .replace("\nRefused", "\n# Refused")
                .replace("\nLearnt", "\n# Learnt")
                .replace("\nThe", "\n# The"),
            &all,
        );
    }
    // One that allows everything lacks nothing.
    let mut passed = Record::new(Kind::TunnelEnd, 1, Verdict::Allowed).to(&all[0].destination);
    passed.address = Some(([1, 1, 1, 1], 443).into());
    let text = learnt(None, From::Line, &[passed, refused("GET", "https://a.test/x", Code::RequestNotAllowed)]);
    assert!(!text.contains("# Refused"), "{text}");
}

#[test]
fn what_no_entry_can_name_is_a_comment_and_never_a_whole_host() {
    for (method, path) in [("GET", "*"), ("*", "/zen"), ("*", "/a/../b"), ("DELETE", "*")] {
        let request = Request { path: path.to_owned(), ..Request::new(method, "https://a.test/") };
        for from in [From::Record, From::Line] {
            let text = learnt(None, from, &request.records(0));
            assert!(Policy::parse(text.as_bytes()).unwrap().rules().is_empty(), "{method} {path}: {text}");
            assert!(text.contains("# Not learnt: a.test:443: "), "{method} {path}: {text}");
        }
    }
}

#[test]
fn an_end_that_hides_what_the_policy_said_is_not_learnt_without_its_decision() {
    let request = Request::new("DELETE", "https://a.test/admin/x");
    let denied = Record { verdict: Verdict::Audited, code: Some(Code::RequestDenied), ..request.decision(0) };
    let end = Record { verdict: Verdict::Audited, code: Some(Code::ClientClosed), ..request.end(0) };
    let text = learnt(None, From::Line, &[denied, end.clone()]);
    assert!(text.contains("# Not learnt: a.test:443: request_denied, 1 request"), "{text}");
    let text = learnt(None, From::Line, &[end]);
    assert!(Policy::parse(text.as_bytes()).unwrap().rules().is_empty(), "{text}");
    assert!(text.contains("# Not learnt: a.test:443: its decision is missing, 1 request"), "{text}");
}

#[test]
fn a_line_that_no_sidecar_writes_spoils_nothing() {
    let destination = Destination { scheme: Scheme::Http, host: Host::parse("a.test").unwrap(), port: 80 };
    let ended = Record::new(Kind::TunnelEnd, 1, Verdict::Allowed).to(&destination);
    let ended = Record { address: Some(([10, 1, 2, 3], 80).into()), ..ended };
    let text = learnt(None, From::Line, &[ended]);
    assert!(Policy::parse(text.as_bytes()).unwrap().rules().is_empty(), "{text}");
}
