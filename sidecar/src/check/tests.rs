use std::fs;

use super::*;

const POLICY: &str = "\
version: 1
destinations:
  - id: github
    host: api.github.com
    allow: [{methods: [GET], paths: ['/repos/**', '/@scope/*']}]
    deny:
      - {paths: ['/repos/secret/**', /repos/secret]}
  - {id: pinned, host: pinned.example.com, tls: passthrough}
  - {id: metadata, host: 169.254.169.254, private_cidrs: [169.254.0.0/16]}
  - {id: local, host: 127.0.0.1}
";

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

fn checked(text: &str, method: &str, url: &str) -> (bool, String) {
    let mut out = Vec::new();
    let allowed = check(file(text).path(), method, url, &mut out).unwrap_or_else(|error| panic!("{error}"));
    (allowed, String::from_utf8(out).unwrap())
}

#[test]
fn a_denial_names_code_rule_reason_and_remedy() {
    let (allowed, text) = checked(POLICY, "GET", "https://api.github.com/repos/secret/x?q=1");
    assert!(!allowed);
    assert_eq!(
        text,
        "denied: request_denied\nrule: github (line 3)\n\
             why: entry 1 of the deny list (line 7) matches GET /repos/secret/x\n\
             to allow it: narrow that entry; deny wins over allow inside a destination\n"
    );
}

#[test]
fn every_kind_of_verdict_says_why() {
    for (method, url, allowed, expected) in [
        ("GET", "https://api.github.com/repos/x", true, "entry 1 of the allow list (line 5) matches GET /repos/x"),
        ("HEAD", "https://api.github.com/repos/x", false, "denied: request_not_allowed"),
        (
            "HEAD",
            "https://api.github.com/repos/x?q",
            false,
            "to allow it, add to github.allow: - {methods: [HEAD], paths: [\"/repos/x\"]}\n",
        ),
        ("GET", "https://127.1/", false, "to allow it, add to local.private_cidrs: - 127.0.0.1/32\n"),
        ("GET", "https://api.github.com/@scope%2Fname", false, "both with a slash and with %2F"),
        ("GET", "https://api.github.com/repos/../x", false, "denied: bad_path"),
        ("GET", "https://api.github.com", false, "denied: request_not_allowed"),
        ("GET", "HTTPS://API.GITHUB.COM.:443/repos/x#f", true, "rule: github"),
        ("GET", "https://api.github.com:8443/repos/x", false, "denied: port_not_allowed"),
        ("GET", "http://api.github.com/repos/x", false, "with scheme http"),
        (
            "GET",
            "https://evil.example/",
            false,
            "to allow it, add to destinations: - {id: evil.example, host: evil.example}\n",
        ),
        ("GET", "https://pinned.example.com/", true, "is a passthrough"),
        ("GET", "https://169.254.169.254/", false, "denied: metadata_address"),
        ("GET", "https://127.1/", false, "denied: address_not_allowed"),
    ] {
        let (verdict, text) = checked(POLICY, method, url);
        assert_eq!(verdict, allowed, "{url}: {text}");
        assert!(text.contains(expected), "{url}: {text}");
    }
}

#[test]
fn a_connect_is_no_request_whatever_the_policy_lists() {
    let lists =
        "version: 1\ndestinations: [{id: a, host: a.test, allow: [{methods: [CONNECT]}]}, {id: b, host: b.test}]\n";
    for text in [lists, "version: 1\nmode: audit\ndestinations: []\n"] {
        for url in ["https://a.test/", "https://b.test/x"] {
            let (allowed, out) = checked(text, "CONNECT", url);
            assert!(!allowed && out.starts_with("denied: connect_in_tunnel\n"), "{out}");
            assert!(!out.contains("methods:") && out.contains("a method such as GET"), "{out}");
        }
    }
}

#[test]
fn audit_allows_and_says_what_enforce_would_do_but_not_for_addresses() {
    let text = "version: 1\nmode: audit\ndestinations: []\n";
    let (allowed, out) = checked(text, "GET", "https://a.test/");
    assert!(allowed && out.starts_with("allowed, as mode is audit; enforce would deny: host_not_allowed\n"), "{out}");
    let (allowed, out) = checked(text, "GET", "https://10.0.0.1/");
    assert!(!allowed && out.starts_with("denied: address_not_allowed\n"), "{out}");
}

#[test]
fn wrong_arguments_are_told_from_a_denial() {
    let file = file(POLICY);
    let error = |method, url| check(file.path(), method, url, &mut Vec::new()).unwrap_err().to_string();
    assert!(error("G T", "https://a.test/").contains("is not a method"));
    for url in ["a.test", "ftp://a.test/", "https://", "https://u@a.test/", "https://a.test:0/", "https://a b/"] {
        assert!(error("GET", url).contains("is not a URL"), "{url}");
    }
}

#[test]
fn validate_names_file_and_line_of_every_problem() {
    let file = file("version: 1\ndestinations:\n  - {id: a, host: '*', ports: [0]}\n");
    let mut out = Vec::new();
    assert!(!validate(file.path(), &mut out).unwrap());
    let out = String::from_utf8(out).unwrap();
    let place = format!("{}:3: destinations[0].", file.path().display());
    assert_eq!(out.lines().filter(|line| line.starts_with(&place)).count(), 2, "{out}");
}

#[test]
fn validate_counts_destinations_and_warns() {
    let file = file(POLICY);
    let mut out = Vec::new();
    assert!(validate(file.path(), &mut out).unwrap());
    let out = String::from_utf8(out).unwrap();
    let name = file.path().display().to_string();
    assert!(out.starts_with(&format!("{name}: valid, 4 destinations\n")), "{out}");
    assert!(out.contains(&format!("{name}:8: warning: pinned.tls: passthrough leaves")), "{out}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = validate(Path::new("/nonexistent/policy.yaml"), &mut Vec::new()).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nonexistent/policy.yaml: "), "{error}");
}
