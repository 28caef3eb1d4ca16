//! A CA's files told to a person: what is in them, and what is wrong with them. Reads a key only to compare it.

use std::fmt::Write;
use std::path::Path;

use time::OffsetDateTime;

use crate::authority::{self, AuthorityError, Facts};
use crate::directory::{CaDirectory, DirectoryError};
use crate::files::{self, FileError};
use crate::{date, pem};
use sandgate_contract::{CA_CERT_FILE, CA_PREVIOUS_FILE};

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// The description, lines of text.
    pub text: String,
    /// What keeps the CA from working, one sentence each. Empty when all is well.
    pub problems: Vec<String>,
    /// What some clients mind, one sentence each.
    pub warnings: Vec<String>,
}

/// Describes a directory with a CA.
///
/// # Errors
/// [`FileError`] when its certificate can't be read; other faults are among the findings.
pub fn directory(directory: &CaDirectory) -> Result<Findings, FileError> {
    let now = OffsetDateTime::now_utc();
    let mut findings = Findings::default();
    let path = directory.file(CA_CERT_FILE);
    findings.certificates(&path, &files::read_text(&path)?, now);
    match directory.read() {
        Ok(authority) => {
            findings.line("private key", "belongs to the certificate");
            findings.warnings.extend(authority.warnings());
        }
        Err(error) => {
            if let DirectoryError::Authority { reason: AuthorityError::Mismatch { .. }, .. } = &error {
                findings.line("private key", "does NOT belong to the certificate");
            }
            findings.problems.push(error.to_string());
        }
    }
    match directory.previous() {
        Ok(Some(previous)) => {
            let _ = write!(findings.text, "\n{CA_PREVIOUS_FILE}, the CA before the rotation:\n");
            findings.certificates(&directory.file(CA_PREVIOUS_FILE), &previous, now);
        }
        Ok(None) => {}
        Err(error) => findings.problems.push(error.to_string()),
    }
    findings.problems.dedup();
    Ok(findings)
}

/// Describes the certificates of a file.
///
/// # Errors
/// [`FileError`] when it can't be read.
pub fn file(path: &Path) -> Result<Findings, FileError> {
    let mut findings = Findings::default();
    let text = files::read_text(path)?;
    findings.certificates(path, &text, OffsetDateTime::now_utc());
    if let Ok([_, ..]) = pem::private_keys(&text).as_deref() {
        findings.warnings.push(format!("{} has a private key in it too", path.display()));
    }
    Ok(findings)
}

impl Findings {
    /// Describes the certificates in `text`, which is what `path` holds; problems name the file.
    fn certificates(&mut self, path: &Path, text: &str, now: OffsetDateTime) {
        let known = self.problems.len();
        match authority::read_chain(text).and_then(|chain| authority::read_facts(&chain)) {
            Ok(chain) => {
                for (number, facts) in chain.iter().enumerate() {
                    if number > 0 {
                        self.text.push('\n');
                    }
                    self.describe(facts, now);
                }
            }
            Err(error) => self.problems.push(error.to_string()),
        }
        for problem in &mut self.problems[known..] {
            *problem = format!("{}: {problem}", path.display());
        }
    }

    fn describe(&mut self, facts: &Facts, now: OffsetDateTime) {
        self.line("subject", &facts.subject);
        let root = if facts.is_self_issued() { " (itself: a root)" } else { "" };
        self.line("issuer", &format!("{}{root}", facts.issuer));
        self.line("valid from", &date::text(&facts.not_before));
        let days = (facts.not_after - now).whole_days();
        self.line("valid until", &format!("{} ({days} days left)", date::text(&facts.not_after)));
        self.line("key", &facts.key_kind);
        let ca = match (facts.is_ca, facts.path_len) {
            (false, _) => "no".to_owned(),
            (true, None) => "yes, and may sign other CAs".to_owned(),
            (true, Some(0)) => "yes, and may not sign other CAs (path length 0)".to_owned(),
            (true, Some(length)) => format!("yes, with {length} CAs below it at most"),
        };
        self.line("CA", &ca);
        match &facts.constraints {
            Some(constraints) => {
                self.list("permitted", constraints.permitted());
                self.list("excluded", constraints.excluded());
            }
            None => self.line("names", "any (no name constraints)"),
        }
        self.line("serial", &facts.serial);
        self.line("SHA-256", &facts.fingerprint);
        if now > facts.not_after {
            self.problems.push(AuthorityError::expired(facts).to_string());
        }
        if now < facts.not_before {
            self.problems.push(AuthorityError::not_yet_valid(facts).to_string());
        }
    }

    fn list(&mut self, label: &str, items: impl Iterator<Item = String>) {
        let mut items = items.peekable();
        if items.peek().is_some() {
            self.line(label, &items.collect::<Vec<_>>().join(", "));
        }
    }

    fn line(&mut self, label: &str, value: &str) {
        // Names come from files: a control character in one must not reach a terminal.
        let value: String = value.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
        let _ = writeln!(self.text, "{:<13}{value}", format!("{label}:"));
    }
}
