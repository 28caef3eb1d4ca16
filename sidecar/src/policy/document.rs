//! The policy file: from the YAML tree to rules. It checks each destination by itself and goes on after a problem, so
//! that one reading finds all of them. What several destinations mean together is not its business.

use std::sync::Arc;

use super::access::Access;
use super::fields::{Field, Fields};
use super::pattern::HostPattern;
use super::problem::Problems;
use super::rule::{Ech, Limits, Rule, Tls, UpstreamHttp, UpstreamOptions};
use super::{Mode, lists, quantity, upstream, yaml};
use crate::destination::Scheme;

/// What a file says, before its destinations are compared with each other.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) mode: Mode,
    pub(super) destinations: Vec<Placed>,
}

/// A rule and the places of what may clash with another rule.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) rule: Rule,
    /// As in `destinations[0]`.
    pub(super) path: String,
    pub(super) id_line: usize,
    pub(super) host_line: usize,
}

/// Reads a file. With problems, the document holds what could be read of it.
pub(super) fn read(text: &[u8], problems: &mut Problems) -> Document {
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
    let (id, host) = (id?, host?);
    let (id_line, host_line) = (id.line(), host.line());
    let (id, pattern) = (id.parse(problems, read_id), host.parse(problems, HostPattern::parse));
    let rule = Rule { id: id?, pattern: pattern?, ..rule };
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
