//! The policy file: from the YAML tree to rules. It checks each destination by itself and goes on after a problem, so
//! that one reading finds all of them. What several destinations mean together is not its business.

use std::sync::Arc;

use crate::access::Access;
use crate::destination::Scheme;
use crate::fields::{Field, Fields};
use crate::pattern::HostPattern;
use crate::problem::Problems;
use crate::rule::{Ech, Limits, Rule, Tls, UpstreamHttp, UpstreamOptions};
use crate::{Mode, lists, quantity, upstream, yaml};

/// What a file says, before its destinations are compared with each other.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) mode: Mode,
    pub(crate) destinations: Vec<Placed>,
}

/// A rule and the places of what may clash with another rule.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) rule: Rule,
    /// As in `destinations[0]`.
    pub(crate) path: String,
    pub(crate) id_line: usize,
    pub(crate) host_line: usize,
}

/// Reads a file. With problems, the document holds what could be read of it.
pub(crate) fn read(text: &[u8], problems: &mut Problems) -> Document {
    let mut document = Document { mode: Mode::Enforce, destinations: Vec::new() };
    let parsed = yaml::parse(text);
    let is_whole = parsed.faults.is_empty();
    for fault in parsed.faults {
        problems.add(fault.line, "", fault.message);
    }
    let Some(root) = parsed.root else {
        if is_whole {
            problems.add(1, "", "the file is empty; to deny everything, write version: 1 and destinations: []");
        }
        return document;
    };
    let Some(fields) = Field::root(&root).mapping(problems, &["version", "mode", "destinations"]) else {
        return document;
    };
    if let Some(version) = fields.require(problems, "version", "version: 1") {
        version.choice(problems, &[("1", ())]);
    }
    if let Some(mode) = fields.get("mode") {
        let modes = [("enforce", Mode::Enforce), ("audit", Mode::Audit)];
        document.mode = mode.choice(problems, &modes).unwrap_or(Mode::Enforce);
    }
    if let Some(list) = fields.require(problems, "destinations", "a list, or destinations: [] to deny everything") {
        document.destinations = list.list(problems).iter().filter_map(|item| destination(item, problems)).collect();
    }
    document
}

const DESTINATION_FIELDS: &[&str] =
    &["id", "host", "ports", "scheme", "tls", "ech", "allow", "deny", "private_cidrs", "upstream", "limits"];

fn destination(field: &Field<'_>, problems: &mut Problems) -> Option<Placed> {
    let fields = field.mapping(problems, DESTINATION_FIELDS)?;
    let id = fields.require(problems, "id", "a name that is unique in the file, as in id: github");
    let host = fields.require(problems, "host", "a host, as in host: api.example.com");
    let scheme = read_scheme(&fields, problems);
    let private_cidrs = fields.get("private_cidrs");
    let rule = Rule {
        id: Arc::default(),
        line: fields.line(),
        pattern: HostPattern::Below(Arc::default()),
        ports: read_ports(&fields, scheme, problems),
        scheme,
        tls: read_tls(&fields, scheme, problems),
        access: read_access(&fields, problems),
        private_cidrs: private_cidrs.map_or_else(Vec::new, |list| list.parse_items(problems, super::private_cidr)),
        upstream: fields.get("upstream").map_or_else(UpstreamOptions::default, |it| upstream::read(&it, problems)),
        limits: fields.get("limits").map_or_else(Limits::default, |limits| read_limits(&limits, problems)),
    };
    refuse_what_has_no_effect(&rule, &fields, problems);
    let id_value = id.as_ref().and_then(|id| id.parse(problems, read_id));
    let pattern = host.as_ref().and_then(|host| host.parse(problems, HostPattern::parse));
    let rule = Rule { id: id_value?, pattern: pattern?, ..rule };
    let (id_line, host_line) = (id?.line(), host?.line());
    Some(Placed { rule, path: field.path().to_owned(), id_line, host_line })
}

fn read_id(text: &str) -> Result<Arc<str>, String> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if (1..=63).contains(&text.len()) && text.bytes().all(is_allowed) {
        return Ok(text.into());
    }
    Err(format!("{text:?} is not an id; write 1 to 63 of a-z, 0-9, -, _ and ."))
}

fn read_scheme(fields: &Fields<'_>, problems: &mut Problems) -> Scheme {
    let schemes = [("https", Scheme::Https), ("http", Scheme::Http)];
    fields.get("scheme").and_then(|scheme| scheme.choice(problems, &schemes)).unwrap_or(Scheme::Https)
}

fn read_ports(fields: &Fields<'_>, scheme: Scheme, problems: &mut Problems) -> Vec<u16> {
    let Some(list) = fields.get("ports") else { return vec![scheme.default_port()] };
    let items = list.filled_list(problems, "remove it for the scheme's own port");
    let mut ports: Vec<_> = items.iter().filter_map(|port| port.parse(problems, quantity::port)).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn read_tls(fields: &Fields<'_>, scheme: Scheme, problems: &mut Problems) -> Tls {
    let ech_field = fields.get("ech");
    let choices = [("refuse", Ech::Refuse), ("allow", Ech::Allow)];
    let ech = ech_field.as_ref().and_then(|ech| ech.choice(problems, &choices)).unwrap_or_default();
    let choices = [("intercept", Tls::Intercept), ("passthrough", Tls::Passthrough { ech })];
    let field = fields.get("tls");
    let tls = field.as_ref().and_then(|tls| tls.choice(problems, &choices)).unwrap_or(Tls::Intercept);
    match (tls, scheme, field, ech_field) {
        (Tls::Passthrough { .. }, Scheme::Http, Some(field), _) => {
            field.refuse(problems, "passthrough is for TLS, and scheme is http; remove one of the two");
        }
        (Tls::Intercept, _, _, Some(ech)) => {
            ech.refuse(problems, "has a meaning only beside tls: passthrough; remove it");
        }
        _ => {}
    }
    tls
}

fn read_access(fields: &Fields<'_>, problems: &mut Problems) -> Access {
    let allow = fields.get("allow").map(|list| {
        let why = "it would refuse every request; remove it to allow all, or remove the destination";
        lists::read(&list.filled_list(problems, why), problems)
    });
    let deny = fields.get("deny").map_or_else(Vec::new, |list| lists::read(&list.list(problems), problems));
    Access::new(allow, deny)
}

fn read_limits(field: &Field<'_>, problems: &mut Problems) -> Limits {
    let known = ["requests_per_second", "burst", "concurrent_requests", "body_bytes", "idle"];
    let Some(fields) = field.mapping(problems, &known) else { return Limits::default() };
    let mut count = |key| fields.get(key).and_then(|field| field.parse(problems, quantity::count));
    let (requests_per_second, burst) = (count("requests_per_second"), count("burst"));
    let concurrent_requests = count("concurrent_requests");
    if let (Some(burst), None) = (fields.get("burst"), fields.get("requests_per_second")) {
        burst.refuse(problems, "has a meaning only beside requests_per_second; add that, or remove it");
    }
    Limits {
        requests_per_second,
        burst,
        concurrent_requests,
        body_bytes: fields.get("body_bytes").and_then(|field| field.parse(problems, quantity::size)),
        idle: fields.get("idle").and_then(|field| field.parse(problems, quantity::duration)),
    }
}

/// A field that the author counts on, and that nothing would obey, is a problem.
fn refuse_what_has_no_effect(rule: &Rule, fields: &Fields<'_>, problems: &mut Problems) {
    if matches!(rule.tls, Tls::Passthrough { .. }) {
        let why = "cannot be judged in a passthrough, whose requests are not seen; remove it, or write tls: intercept";
        for key in ["allow", "deny"] {
            fields.get(key).inspect(|field| field.refuse(problems, why));
        }
        fields.get("limits").filter(|_| rule.limits.body_bytes.is_some()).inspect(|limits| {
            problems.add(limits.line(), format!("{}.body_bytes", limits.path()), why);
        });
        let why = "has no effect on a passthrough, where the client speaks TLS with the origin; remove it";
        fields.get("upstream").inspect(|field| field.refuse(problems, why));
    }
    let needs_tls = !rule.upstream.ca.is_empty() || rule.upstream.client_cert.is_some();
    if let (Some(upstream), Scheme::Http, true) = (fields.get("upstream"), rule.scheme, needs_tls) {
        upstream.refuse(problems, "ca and client_cert are for TLS, and scheme is http; remove them, or the scheme");
    }
    if let (Some(upstream), Scheme::Http, UpstreamHttp::Http2) =
        (fields.get("upstream"), rule.scheme, rule.upstream.http)
    {
        upstream.refuse(problems, "HTTP/2 is spoken over TLS alone, and scheme is http; remove http, or the scheme");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;

    /// A file with one destination, whose lines begin at line 3.
    fn errors_of(destination: &str) -> String {
        let text = format!("version: 1\ndestinations:\n{destination}");
        Policy::parse(text.as_bytes()).map_or_else(|errors| errors.to_string(), |_| String::new())
    }

    const WHOLE: &str = r#"# Everything that a file can say.
version: 1
mode: enforce
destinations:
  - id: github
    host: api.github.com
    ports: [443, 8443]
    scheme: https
    tls: intercept
    allow: [{methods: [GET, POST], paths: ["/repos/**"]}]
    deny: [{methods: [DELETE]}, {paths: ["/admin/**"]}]
    private_cidrs: ["10.0.0.0/8", "fd00::/8"]
    upstream: {ca: [/path/extra.pem], client_cert: {certificate: /p, key: /k}, http: "1.1"}
    limits: {requests_per_second: 10, burst: 20, concurrent_requests: 5, body_bytes: 10MiB, idle: 30s}
  - id: pinned
    host: "*.pinned.example.com"
    tls: passthrough
    ech: allow
  - {id: plain, host: 10.0.0.1, scheme: http, private_cidrs: [10.0.0.1/32]}
"#;

    #[test]
    fn a_file_that_says_everything_is_read_whole() {
        let policy = Policy::parse(WHOLE.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
        let [github, pinned, plain] = policy.rules() else { panic!("three rules") };
        assert_eq!((&*github.id, github.line, &github.ports[..]), ("github", 5, &[443, 8443][..]));
        assert_eq!((github.access.allow().unwrap().len(), github.access.deny().len()), (1, 2));
        assert_eq!(github.upstream.http, UpstreamHttp::Http1);
        assert_eq!(github.upstream.client_cert.as_ref().unwrap().key.to_str(), Some("/k"));
        let limits = github.limits;
        assert_eq!((limits.requests_per_second, limits.burst), (Some(10), Some(20)));
        assert_eq!((limits.concurrent_requests, limits.body_bytes), (Some(5), Some(10 << 20)));
        assert_eq!(limits.idle.map(|idle| idle.as_secs()), Some(30));
        assert_eq!(pinned.tls, Tls::Passthrough { ech: Ech::Allow });
        assert_eq!((plain.scheme, &plain.ports[..]), (Scheme::Http, &[80][..]));
    }

    #[test]
    fn every_problem_of_a_file_is_reported_in_the_order_of_its_lines() {
        let text = "version: 2\nmod: audit\ndestinations:\n  - host: '*'\n    prots: [443]\n  - id: B\n    host: b.test\n    \
                    ports: [0, x]\n  - 7\n";
        let errors = Policy::parse(text.as_bytes()).unwrap_err().to_string();
        let expected = [
            "line 1: version: \"2\" is not known; write 1",
            "line 2: mod: there is no such field; did you mean mode?",
            "line 4: destinations[0].id: is missing; write a name that is unique in the file, as in id: github",
            "line 4: destinations[0].host: a bare * would allow every host; list the hosts, or write \"*.example.com\"",
            "line 5: destinations[0].prots: there is no such field; did you mean ports?",
            "line 6: destinations[1].id: \"B\" is not an id; write 1 to 63 of a-z, 0-9, -, _ and .",
            "line 8: destinations[1].ports[0]: \"0\" is not a port; write a number from 1 to 65535",
            "line 8: destinations[1].ports[1]: \"x\" is not a port; write a number from 1 to 65535",
        ];
        assert_eq!(errors.lines().take(8).collect::<Vec<_>>(), expected);
        assert!(errors.lines().last().unwrap().starts_with("line 9: destinations[2]: has to be a mapping"), "{errors}");
    }

    #[test]
    fn what_the_whole_file_lacks_is_named() {
        for (text, expected) in [
            ("", "line 1: the file is empty"),
            ("# nothing\n", "line 1: the file is empty"),
            ("mode: audit\n", "version: is missing"),
            ("version: 1\n", "destinations: is missing; write a list, or destinations: [] to deny everything"),
            ("version: 1\ndestinations:\n", "line 2: destinations: has to be a list"),
            ("[]", "has to be a mapping with the fields version, mode, destinations"),
            ("version: 1\nmode: learn\ndestinations: []\n", "mode: \"learn\" is not known; write enforce or audit"),
            ("version: 1\nversion: 1\ndestinations: []\n", "line 2: the key \"version\" stands twice"),
            ("version: 1\ndestinations: [\n", "not valid YAML"),
            ("version: 1\ndestinations:\n- id: a\n  host: *\n", "line 4: "),
            ("version: 1\ndestinations:\n- id: a\n  host: *.a.com\n", "line 4: an unquoted * begins a YAML alias"),
        ] {
            let errors = Policy::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(errors.contains(expected), "{text:?}: {errors}");
        }
    }

    #[test]
    fn what_a_destination_cannot_mean_is_a_load_error() {
        for (fields, field, expected) in [
            ("host: '*.co.uk'", "host", "public suffix"),
            ("host: '*.github.io'", "host", "public suffix"),
            ("host: 'a.*.com'", "host", "whole first label"),
            ("host: 'a.test:443'", "host", "ports: [443]"),
            ("host: ~", "host", "has no value"),
            ("host: [a.test]", "host", "single value"),
            ("host: a.test, ports: []", "ports", "empty list"),
            ("host: a.test, ports: 443", "ports", "has to be a list"),
            ("host: a.test, ports: [65536]", "ports[0]", "1 to 65535"),
            ("host: a.test, scheme: ftp", "scheme", "write https or http"),
            ("host: a.test, tls: none", "tls", "write intercept or passthrough"),
            ("host: a.test, ech: allow", "ech", "only beside tls: passthrough"),
            ("host: a.test, scheme: http, tls: passthrough", "tls", "passthrough is for TLS"),
            ("host: a.test, tls: passthrough, allow: [{methods: [GET]}]", "allow", "not seen"),
            ("host: a.test, tls: passthrough, deny: [{paths: [/x]}]", "deny", "not seen"),
            ("host: a.test, tls: passthrough, limits: {body_bytes: 1MiB}", "limits.body_bytes", "not seen"),
            ("host: a.test, tls: passthrough, upstream: {ca: [/a]}", "upstream", "no effect on a passthrough"),
            ("host: a.test, scheme: http, upstream: {ca: [/a]}", "upstream", "are for TLS"),
            ("host: a.test, scheme: http, upstream: {http: 2}", "upstream", "over TLS alone"),
            ("host: a.test, upstream: {ca: [a.pem]}", "upstream.ca[0]", "absolute path"),
            ("host: a.test, upstream: {client_cert: {key: /k}}", "upstream.client_cert.certificate", "is missing"),
            ("host: a.test, upstream: {http: 3}", "upstream.http", "auto or 1.1 or 2"),
            ("host: a.test, upstream: {verify: false}", "upstream.verify", "no such field"),
            ("host: a.test, allow: []", "allow", "empty list"),
            ("host: a.test, allow: [{}]", "allow[0]", "neither methods nor paths"),
            ("host: a.test, allow: [{methods: []}]", "allow[0].methods", "empty list"),
            ("host: a.test, allow: [{methods: ['G T']}]", "allow[0].methods[0]", "not a method"),
            ("host: a.test, allow: [{methods: ['*']}]", "allow[0].methods[0]", "remove methods"),
            ("host: a.test, allow: [{paths: [x]}]", "allow[0].paths[0]", "begins with /"),
            ("host: a.test, deny: [{paths: [/a/../b]}]", "deny[0].paths[0]", ". or .. segment"),
            ("host: a.test, deny: [{methods: [GET], path: [/a]}]", "deny[0].path", "did you mean paths?"),
            ("host: a.test, private_cidrs: [10.0.0.1/8]", "private_cidrs[0]", "write 10.0.0.0/8"),
            ("host: a.test, private_cidrs: [ten]", "private_cidrs[0]", "is not a range"),
            ("host: a.test, private_cidrs: [169.254.169.254/32]", "private_cidrs[0]", "never dialled"),
            ("host: a.test, limits: {burst: 5}", "limits.burst", "only beside requests_per_second"),
            ("host: a.test, limits: {requests_per_second: 0}", "limits.requests_per_second", "from 1"),
            ("host: a.test, limits: {idle: 30}", "limits.idle", "as in 30s"),
            ("host: a.test, limits: {body_bytes: 10}", "limits.body_bytes", "as in 10MiB"),
        ] {
            let errors = errors_of(&format!("- {{id: a, {fields}}}\n"));
            let place = format!("line 3: destinations[0].{field}: ");
            assert!(errors.starts_with(&place) && errors.contains(expected), "{fields}: {errors:?}");
            assert_eq!(errors.lines().count(), 1, "{fields}: {errors}");
        }
    }
}
