//! `check` and `validate`: what a policy file says, for people and for CI. Each reads the file that it is given, opens
//! no connection, and asks the same code that judges live requests.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::Method;
use sandgate_policy::access::{Entry, Finding};
use sandgate_policy::address;
use sandgate_policy::destination::{Authority, Destination, InvalidAuthority, Scheme};
use sandgate_policy::problem::Unplaced;
use sandgate_policy::rule::{Rule, Tls};
use sandgate_policy::yaml;
use sandgate_policy::{Addition, Outcome, Policy, PolicyErrors, Problem, Reason, Verdict};
use thiserror::Error;

use crate::file;
use crate::refusal::Code;

/// Why there is no verdict.
#[derive(Debug, Error)]
pub enum CheckError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is no valid policy.
    #[error("{path} is not a valid policy:\n{errors}")]
    Policy {
        /// The file.
        path: PathBuf,
        /// All that is wrong with it.
        errors: PolicyErrors,
    },
    /// The method is no token (RFC 9110 9.1). Wrong usage.
    #[error("{0:?} is not a method; write one such as GET")]
    Method(String),
    /// The URL is none. Wrong usage.
    #[error("{url:?} is not a URL that can be checked: {why}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The output cannot be written.
    #[error("cannot write the result: {0}")]
    Output(#[from] io::Error),
}

/// Judges one request by the policy in `file`, and writes the verdict, the rule and why. A name is not resolved, so
/// its addresses are not judged; an IP literal is.
///
/// # Errors
/// [`CheckError`], where there is no verdict.
pub fn check(file: &Path, method: &str, url: &str, out: &mut impl Write) -> Result<bool, CheckError> {
    let policy = Policy::parse(&read(file)?).map_err(|errors| CheckError::Policy { path: file.to_owned(), errors })?;
    check_policy(&policy, method, url, out)
}

/// As [`check`], for a policy that is already there, such as a short form.
///
/// # Errors
/// [`CheckError`], where there is no verdict.
pub fn check_policy(policy: &Policy, method: &str, url: &str, out: &mut impl Write) -> Result<bool, CheckError> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| CheckError::Method(method.to_owned()))?;
    let (destination, path) = split_url(url).map_err(|why| CheckError::Url { url: url.to_owned(), why })?;
    if method == Method::CONNECT {
        return in_tunnel(&destination, out);
    }
    let verdict = policy.judge_request(&destination, &method, path);
    let address_code = refused_address(&destination, &verdict);
    let request = Request { destination, method, path };
    match (verdict.outcome, address_code) {
        (Outcome::Deny(code), _) => writeln!(out, "denied: {code}")?,
        (_, Some(code)) => writeln!(out, "denied: {code}")?,
        (Outcome::Audit(code), None) => writeln!(out, "allowed, as mode is audit; enforce would deny: {code}")?,
        (Outcome::Allow, None) => writeln!(out, "allowed")?,
    }
    if let Some(rule) = &verdict.rule {
        writeln!(out, "rule: {}{}", rule.id, at_line(rule.line))?;
    }
    let (why, advice) = match address_code {
        Some(code) if verdict.outcome.denied().is_none() => (explain_address(code).to_owned(), None),
        _ => request.explain(&verdict),
    };
    writeln!(out, "why: {why}")?;
    if let Some(addition) = request.addition(policy, &verdict) {
        writeln!(out, "to allow it, add to {}: {}", addition.place(), addition.yaml())?;
    } else if let Some(advice) = advice {
        writeln!(out, "to allow it: {advice}")?;
    }
    Ok(verdict.outcome.denied().is_none() && address_code.is_none())
}

/// What the proxy says of a CONNECT as a request for a URL, whatever the policy lists.
fn in_tunnel(destination: &Destination, out: &mut impl Write) -> Result<bool, CheckError> {
    writeln!(out, "denied: {}", Code::ConnectInTunnel)?;
    writeln!(out, "why: a CONNECT opens a tunnel to {destination}, and is no request in one")?;
    writeln!(out, "to see what may be asked in it: check a method such as GET")?;
    Ok(false)
}

/// Says whether `file` is a valid policy: its problems one a line as `FILE:LINE: field: message`, or its size, and
/// warnings.
///
/// # Errors
/// [`CheckError::Read`] and [`CheckError::Output`].
pub fn validate(file: &Path, out: &mut impl Write) -> Result<bool, CheckError> {
    let name = file.display();
    match Policy::parse(&read(file)?) {
        Ok(policy) => {
            let count = policy.rules().len();
            writeln!(out, "{name}: valid, {count} destination{}", if count == 1 { "" } else { "s" })?;
            for warning in policy.warnings() {
                writeln!(out, "{name}{}: warning: {}", colon_line(warning), Unplaced(warning))?;
            }
            Ok(true)
        }
        Err(PolicyErrors(problems)) => {
            for problem in &problems {
                writeln!(out, "{name}{}: {}", colon_line(problem), Unplaced(problem))?;
            }
            Ok(false)
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, CheckError> {
    file::read(file, yaml::MAX_BYTES).map_err(|source| CheckError::Read { path: file.to_owned(), source })
}

fn colon_line(problem: &Problem) -> String {
    if problem.line == 0 { String::new() } else { format!(":{}", problem.line) }
}

fn at_line(line: usize) -> String {
    if line == 0 { String::new() } else { format!(" (line {line})") }
}

/// Takes a URL apart without changing its path: a URL library would remove the dot segments that are to be judged.
fn split_url(url: &str) -> Result<(Destination, &str), String> {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
        _ => return Err("it has to begin with https:// or http://".to_owned()),
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let Authority { host, port } = Authority::parse(authority).map_err(|error: InvalidAuthority| error.to_string())?;
    Ok((Destination { scheme, host, port: port.unwrap_or(scheme.default_port()) }, path))
}

fn refused_address(destination: &Destination, verdict: &Verdict) -> Option<Code> {
    let address: IpAddr = destination.host.address()?;
    let listed = verdict.rule.as_ref().map_or(&[][..], |rule| &rule.private_cidrs);
    address::judge(address, listed).err()
}

fn explain_address(code: Code) -> &'static str {
    match code {
        Code::MetadataAddress => "a cloud metadata service is refused whatever the policy lists",
        _ => "the address is not globally reachable, and the destination lists no range for it",
    }
}

/// What was asked for.
struct Request<'a> {
    destination: Destination,
    method: Method,
    path: &'a str,
}

impl Request<'_> {
    /// What could be added to the policy so that it allows this, where it does not.
    fn addition(&self, policy: &Policy, verdict: &Verdict) -> Option<Addition> {
        let Self { destination, method, path } = self;
        match (verdict.outcome, destination.host.address()) {
            (Outcome::Deny(_) | Outcome::Audit(_), _) => {
                policy.addition_for_request(destination, method, path, verdict)
            }
            (Outcome::Allow, Some(address)) => {
                let rule = verdict.rule.as_deref();
                refused_address(destination, verdict)?;
                policy.addition_for_address(destination, rule, address)
            }
            (Outcome::Allow, None) => None,
        }
    }

    /// Why; and what to do where nothing can be added to the policy.
    fn explain(&self, verdict: &Verdict) -> (String, Option<String>) {
        let Destination { scheme, host, port } = &self.destination;
        match (verdict.reason, &verdict.rule) {
            (Reason::Lists(finding), Some(rule)) => self.explain_lists(finding, rule),
            (reason, _) => {
                let scheme = scheme.as_str();
                let why = match reason {
                    Reason::NoPort => {
                        format!(
                            "a destination has the host {host}, but none has it on port {port} with scheme {scheme}"
                        )
                    }
                    _ => format!("no destination of the policy has the host {host}"),
                };
                (why, Some("no policy can; the address is reserved or a metadata service".to_owned()))
            }
        }
    }

    fn explain_lists(&self, finding: Finding, rule: &Rule) -> (String, Option<String>) {
        let Self { method, path, .. } = self;
        let line = |entries: &[Entry], index: usize| entries.get(index).map_or(0, |entry| entry.line);
        match finding {
            Finding::NoLists if matches!(rule.tls, Tls::Passthrough { .. }) => (
                "the destination is a passthrough: the method, the path and the certificate are not seen".to_owned(),
                None,
            ),
            Finding::NoLists => ("the destination has no lists, so every method and path is allowed".to_owned(), None),
            Finding::NotDenied => ("no entry of the deny list matches, and there is no allow list".to_owned(), None),
            Finding::AllowEntry(index) => {
                let line = at_line(line(rule.access.allow().unwrap_or_default(), index));
                (format!("entry {} of the allow list{line} matches {method} {path}", index + 1), None)
            }
            Finding::DenyEntry(index) => {
                let line = at_line(line(rule.access.deny(), index));
                let why = format!("entry {} of the deny list{line} matches {method} {path}", index + 1);
                (why, Some("narrow that entry; deny wins over allow inside a destination".to_owned()))
            }
            Finding::NoAllowEntry => {
                let both = if path.to_ascii_lowercase().contains("%2f") {
                    "; a path with %2F has to be allowed both with a slash and with %2F"
                } else {
                    ""
                };
                let why = format!("no entry of the allow list matches {method} {path}{both}");
                let advice =
                    "another reading of the path is denied, or it or the method is too odd to be listed".to_owned();
                (why, Some(advice))
            }
            Finding::BadPath(fault) => {
                let advice = "send a plain path; a destination without path lists does not judge paths".to_owned();
                (format!("{fault}, which origins read differently, and the destination judges paths"), Some(advice))
            }
        }
    }
}

#[cfg(test)]
mod tests;
