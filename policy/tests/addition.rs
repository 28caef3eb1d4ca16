//! Whatever is refused: the addition, put where it says, makes a valid policy that allows exactly that.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use http::Method;
use sandgate_policy::destination::{Destination, Host, Scheme};
use sandgate_policy::{Addition, Policy, address};

/// A destination as a file has it, with its lists apart, so that an item can be added to one.
struct Written {
    id: &'static str,
    fields: Vec<&'static str>,
    allow: Vec<String>,
    private_cidrs: Vec<String>,
}

fn written(id: &'static str, fields: &[&'static str], allow: &[&str]) -> Written {
    let allow = allow.iter().map(|item| format!("- {item}")).collect();
    Written { id, fields: fields.to_vec(), allow, private_cidrs: Vec::new() }
}

/// Rules of every kind that can refuse, and ids that stand in the way of those that additions choose.
fn file() -> Vec<Written> {
    vec![
        written("paths", &["host: paths.test"], &["{methods: [GET], paths: [/zen, '/a/*/b']}"]),
        written("methods", &["host: methods.test"], &["{methods: [GET]}"]),
        written("denies", &["host: denies.test", "deny: [{paths: ['/**/d', '/*d', '/d/**']}]"], &["{paths: [/zen]}"]),
        written("denies-methods", &["host: dm.test", "deny: [{methods: [DELETE]}]"], &["{methods: [GET]}"]),
        written("below", &["host: '*.below.test'", "ports: [443, 8443]"], &["{paths: [/zen]}"]),
        written("plain", &["host: plain.test", "scheme: http"], &["{paths: [/zen]}"]),
        written("new.test", &["host: elsewhere.test"], &[]),
        written("new.test-2", &["host: elsewhere.test", "ports: [8443]"], &[]),
        written("inner", &["host: inner.test"], &[]),
    ]
}

fn text(file: &[Written], further: &str) -> String {
    let mut text = "version: 1\ndestinations:\n".to_owned();
    let list = |name: &str, items: &[String]| match items {
        [] => String::new(),
        items => format!("    {name}:\n      {}\n", items.join("\n      ")),
    };
    for destination in file {
        let fields = destination.fields.join("\n    ");
        text += &format!("  - id: {}\n    {fields}\n", destination.id);
        text += &list("allow", &destination.allow);
        text += &list("private_cidrs", &destination.private_cidrs);
    }
    format!("{text}{further}")
}

/// The file with the addition where it says that it belongs.
fn added(addition: &Addition) -> Policy {
    let (mut file, place, yaml) = (file(), addition.place(), addition.yaml());
    assert!(yaml.len() <= 600 && yaml.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{yaml}");
    let mut further = String::new();
    if place == "destinations" {
        further = format!("  {yaml}\n");
    } else {
        let (id, field) = place.rsplit_once('.').unwrap();
        let destination = file.iter_mut().find(|destination| destination.id == id).unwrap();
        let list = if field == "allow" { &mut destination.allow } else { &mut destination.private_cidrs };
        list.push(yaml);
    }
    let text = text(&file, &further);
    Policy::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn before() -> Policy {
    Policy::parse(text(&file(), "").as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn destination(scheme: Scheme, host: &str, port: u16) -> Destination {
    Destination { scheme, host: Host::parse(host).unwrap(), port }
}

fn allows(policy: &Policy, destination: &Destination, method: &Method, path: &str) -> bool {
    policy.judge_request(destination, method, path).outcome.denied().is_none()
}

const HOSTS: [&str; 16] = [
    "new.test",
    "new.test.",
    "paths.test",
    "x.below.test",
    "below.test",
    "null",
    "true",
    "_a.test",
    "-a.test",
    "b\u{fc}cher.test",
    "192.0.9.1",
    "10.0.0.5",
    "127.1",
    "[fd00::5]",
    "[::ffff:10.0.0.5]",
    "[2606:4700::1]",
];

#[test]
fn a_destination_that_is_added_allows_what_was_refused_and_no_other_host_port_or_scheme() {
    let (policy, mut asked) = (before(), 0);
    let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    for host in HOSTS.into_iter().chain([&*long]) {
        for port in [1, 80, 443, 8443, 65535] {
            for scheme in [Scheme::Https, Scheme::Http] {
                let to = destination(scheme, host, port);
                let verdict = policy.judge_request(&to, &Method::GET, "/zen");
                if verdict.outcome.denied().is_none() {
                    continue;
                }
                let addition = policy.addition_for_request(&to, &Method::GET, "/zen", &verdict).unwrap();
                let after = added(&addition);
                assert!(allows(&after, &to, &Method::GET, "/zen"), "{to:?}");
                let rule = after.judge_request(&to, &Method::GET, "/zen").rule.unwrap();
                assert!(to.host.address().is_none_or(|to| address::judge(to, &rule.private_cidrs).is_ok()), "{to:?}");
                assert_eq!((rule.ports.as_slice(), after.rules().len()), (&[port][..], policy.rules().len() + 1));
                assert!(!rule.pattern.matches(&Host::parse(&format!("x.{host}")).unwrap_or(Host::parse("x").unwrap())));
                asked += 1;
            }
            let host = Host::parse(host).unwrap();
            if policy.judge_connect(&host, port).outcome.denied().is_some() {
                let after = added(&policy.addition_for_connect(&host, port).unwrap());
                assert!(after.judge_connect(&host, port).outcome.denied().is_none(), "{host}:{port}");
            }
        }
    }
    assert!(asked > 100, "{asked}");
}

/// Every row of three of these, and rows that are longer than a policy has room for.
fn paths() -> Vec<String> {
    let parts = [
        "/",
        "//",
        "zen",
        "d",
        "*",
        "%2F",
        "%2f",
        "%2A",
        "%25",
        "%20",
        "..",
        "{[",
        "]}\"'",
        "\\",
        "\u{e9}\u{202e}",
        "a:b,c#",
        "?",
        "%",
        "~;=",
        "segments-that-are-secrets-are-long",
    ];
    let mut paths = vec![String::new(), "*".to_owned(), "/".to_owned()];
    for one in parts {
        for two in parts {
            paths.extend(parts.map(|three| format!("/{one}{two}{three}")));
        }
        paths.extend([10, 20, 300].map(|count| format!("/{one}").repeat(count)));
        paths.push(format!("/{}", one.repeat(500)));
    }
    paths
}

#[test]
fn an_item_of_an_allow_list_that_is_added_allows_the_request_that_was_refused() {
    let (policy, mut asked) = (before(), 0);
    let destinations = [
        destination(Scheme::Https, "paths.test", 443),
        destination(Scheme::Https, "methods.test", 443),
        destination(Scheme::Https, "denies.test", 443),
        destination(Scheme::Https, "dm.test", 443),
        destination(Scheme::Https, "x.below.test", 8443),
        destination(Scheme::Http, "plain.test", 80),
    ];
    let methods = ["GET", "POST", "DELETE", "get", "NULL", "~", "!#$%&'*+-.^_`|~", "*", "TWENTY-FIVE-BYTES-OF-NAME"];
    let paths = paths();
    // Each path with one destination and method, which change from path to path: all of both meet, in less time.
    for (index, path) in paths.iter().enumerate() {
        let (to, method) = (&destinations[index % destinations.len()], methods[index / 6 % methods.len()]);
        let method: Method = method.parse().unwrap();
        let verdict = policy.judge_request(to, &method, path);
        let Some(addition) = policy.addition_for_request(to, &method, path, &verdict) else { continue };
        let after = added(&addition);
        assert!(allows(&after, to, &method, path), "{method} {path} by {}", addition.yaml());
        assert!(!addition.yaml().contains("segments-that"), "{}", addition.yaml());
        // Nothing else came with it.
        for other in ["/other-than-that", "/zen/and/more/than/that"] {
            let allowed_before = allows(&policy, to, &Method::PATCH, other);
            assert_eq!(allows(&after, to, &Method::PATCH, other), allowed_before, "{}", addition.yaml());
        }
        asked += 1;
    }
    assert!(asked > 1000, "{asked}");
}

#[test]
fn what_has_no_addition_is_allowed_denied_on_purpose_or_cannot_be_written() {
    let policy = before();
    let to = destination(Scheme::Https, "denies.test", 443);
    for path in paths() {
        let verdict = policy.judge_request(&to, &Method::GET, &path);
        let code = verdict.outcome.denied().map(sandgate_policy::Code::as_str);
        if policy.addition_for_request(&to, &Method::GET, &path, &verdict).is_none() {
            let has_denied_reading =
                path.to_ascii_lowercase().replace("%2f", "/").contains("/d") || path.ends_with('d');
            let has_none = code != Some("request_not_allowed") || has_denied_reading || path.len() > 200;
            assert!(has_none, "{path}: {code:?}");
        }
    }
}

#[test]
fn a_range_that_is_added_admits_the_address() {
    let policy = before();
    let to = destination(Scheme::Https, "inner.test", 443);
    let rule = policy.judge_connect(&to.host, 443).https.unwrap();
    for text in ["10.1.2.3", "127.0.0.1", "100.64.0.1", "fd00::1", "::1", "::ffff:192.168.0.1", "64:ff9b::a00:1"] {
        let address = text.parse().unwrap();
        let after = added(&policy.addition_for_address(&to, Some(&rule), address).unwrap());
        let rule = after.judge_connect(&to.host, 443).https.unwrap();
        assert!(address::judge(address, &rule.private_cidrs).is_ok(), "{text}");
        assert!(rule.private_cidrs.iter().all(|range| range.prefix_len() == range.max_prefix_len()), "{text}");
        let unlisted = destination(Scheme::Https, "new.test", 443);
        let after = added(&policy.addition_for_address(&unlisted, None, address).unwrap());
        let rule = after.judge_connect(&unlisted.host, 443).https.unwrap();
        assert!(address::judge(address, &rule.private_cidrs).is_ok(), "{text}");
    }
}
