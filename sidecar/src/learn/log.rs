//! Reads an audit log line by line, and says what it passed over.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::learner::Learner;
use super::observation::{self, Unread};

/// The longest line that is read, in bytes. An audit line has at most a few thousand.
const MAX_LINE: usize = 64 << 10;
/// So many lines that were passed over are named.
const NAMED: usize = 5;

/// What was found in a log.
#[derive(Debug)]
pub(super) struct Found {
    log: PathBuf,
    /// How many audit lines were read.
    pub(super) read: u64,
    broken: Passed,
    /// Why the first of those may be none.
    cause: &'static str,
    other_version: Passed,
    /// How many lines the sidecars could not write, and the lines that say so.
    lost: u64,
    losses: Passed,
}

/// Lines by number, the first few by name.
#[derive(Debug, Default)]
struct Passed {
    count: u64,
    first: Vec<u64>,
}

impl Passed {
    fn add(&mut self, number: u64) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(number);
        }
    }
}

impl Found {
    /// Counts a line that is no whole audit line.
    fn pass_over(&mut self, line: &[u8], number: u64) {
        if self.cause.is_empty() {
            self.cause = cause(line, number);
        }
        self.broken.add(number);
    }
}

/// Has `learner` learn from the log at `path`, `-` for the standard input.
pub(super) fn read(path: &Path, learner: &mut Learner) -> io::Result<Found> {
    let found = Found {
        log: path.to_owned(),
        read: 0,
        broken: Passed::default(),
        cause: "",
        other_version: Passed::default(),
        lost: 0,
        losses: Passed::default(),
    };
    match path.to_str() {
        Some("-") => read_lines(io::stdin().lock(), found, learner),
        _ => read_lines(BufReader::new(File::open(path)?), found, learner),
    }
}

fn read_lines(mut log: impl BufRead, mut found: Found, learner: &mut Learner) -> io::Result<Found> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = (&mut log).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        if read > MAX_LINE {
            log.skip_until(b'\n')?;
            found.pass_over(&line, number);
            continue;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match observation::read(&line) {
            Ok(line) => {
                found.read += 1;
                if line.lost > 0 {
                    found.lost += line.lost;
                    found.losses.add(number);
                }
                learner.add(&line.source, line.observation);
            }
            Err(Unread::Broken) => found.pass_over(&line, number),
            Err(Unread::OtherVersion) => found.other_version.add(number),
        }
    }
    Ok(found)
}

/// What may have become of an audit line that this is none, with what to do; nothing where that is not known.
fn cause(line: &[u8], number: u64) -> &'static str {
    let starts_as = |any: &[&[u8]]| number == 1 && any.iter().any(|start| line.starts_with(start));
    // The first bytes of gzip (RFC 1952 2.3.1), Zstandard (RFC 8878 3.1.1), bzip2 and xz.
    if starts_as(&[b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ"]) {
        return "the log is compressed: unpack it first, as in zcat FILE | sandgate-sidecar learn --audit-log -";
    }
    if starts_as(&[b"\xff\xfe", b"\xfe\xff"]) || number == 1 && line.contains(&0) {
        return "the log is UTF-16: save it as UTF-8";
    }
    let rest = line.iter().position(|byte| *byte == b'{').map_or(&[][..], |start| &line[start..]);
    match observation::read(rest) {
        Ok(_) => {
            "something stands before the audit line: leave out what puts it there, such as --prefix and \
                  --timestamps of kubectl logs"
        }
        Err(_) => "",
    }
}

/// `1 line` and its number, or more.
impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.first.iter().map(ToString::to_string).collect();
        let more = if self.count > self.first.len() as u64 { ", ..." } else { "" };
        write!(f, "line{} {}{more}", if self.count == 1 { "" } else { "s" }, numbers.join(", "))
    }
}

/// A line for each thing that was passed over; nothing where nothing was.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = self.log.display();
        if self.broken.count > 0 {
            let (count, lines) = (self.broken.count, &self.broken);
            writeln!(f, "sandgate: {log}: {count} passed over, as no whole audit line: {lines}")?;
            if !self.cause.is_empty() {
                writeln!(f, "sandgate: {log}: {}", self.cause)?;
            }
        }
        if self.other_version.count > 0 {
            let (count, lines) = (self.other_version.count, &self.other_version);
            writeln!(f, "sandgate: {log}: {count} passed over, as of another version than 1: {lines}")?;
        }
        if self.lost > 0 {
            let (lost, lines) = (self.lost, &self.losses);
            writeln!(f, "sandgate: {log}: {lost} lost before they were written, so something may be missing: {lines}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sandgate_policy::Policy;

    use super::*;

    fn said(log: impl AsRef<[u8]>) -> (u64, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        std::fs::write(&path, log).unwrap();
        let found = read(&path, &mut Learner::new(Policy::deny_all())).unwrap();
        (found.read, found.to_string().replace(&format!("{}", path.display()), "audit.log"))
    }

    const LINE: &str = r#"{"v":1,"kind":"request","connection":1,"request":1,"verdict":"allowed"}"#;

    #[test]
    fn what_is_passed_over_is_counted_and_named() {
        let lost = LINE.replace("\"v\":1", "\"v\":1,\"lost\":7");
        let other = LINE.replace("\"v\":1", "\"v\":2");
        let long = format!("{{\"v\":1,\"x\":\"{}\"}}", "x".repeat(MAX_LINE));
        let log = format!("{LINE}\n\nINFO ready\n{other}\n{long}\r\n{lost}\n{{\n{{\n{{\n{{\n{}", &LINE[..20]);
        let (read, said) = said(&log);
        assert_eq!(read, 2);
        assert_eq!(
            said,
            "sandgate: audit.log: 7 passed over, as no whole audit line: lines 3, 5, 7, 8, 9, ...\n\
             sandgate: audit.log: 1 passed over, as of another version than 1: line 4\n\
             sandgate: audit.log: 7 lost before they were written, so something may be missing: line 6\n"
        );
    }

    #[test]
    fn a_log_that_something_was_done_to_is_told_what() {
        let utf16: Vec<u8> = std::iter::once(0xfeff).chain(LINE.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let long = [&b"\x1f\x8b"[..], &vec![7; MAX_LINE + 1]].concat();
        for (log, cause) in [
            (&b"\x1f\x8b\x08\0\0\0\0\0\0\x03\n\x01"[..], "compressed"),
            (&long, "compressed"),
            (&utf16, "UTF-16"),
            (&utf16[2..], "UTF-16"),
            (format!("[pod/a/auth-proxy] {LINE}\n").as_bytes(), "--prefix"),
            (format!("INFO ready\n2026-01-31T12:00:00Z {LINE}\n").as_bytes(), "--timestamps"),
        ] {
            let (read, said) = said(log);
            assert!(read == 0 && said.contains("no whole audit line") && said.contains(cause), "{said}");
        }
        assert_eq!(said(format!("{LINE}\nINFO {{ready}}\n")).1.lines().count(), 1);
    }

    #[test]
    fn a_good_log_needs_no_words() {
        assert_eq!(said(format!("{LINE}\n{LINE}")), (2, String::new()));
    }

    #[test]
    fn a_line_that_no_sidecar_writes_is_passed_over() {
        for (from, to) in [
            ("request\",", "else\","),
            ("allowed", "fine"),
            ("\"v\":1,", ""),
            ("\"v\":1,", "\"v\":1,\"host\":\"a b\","),
            ("\"v\":1,", "\"v\":1,\"host\":7,"),
            ("\"v\":1,", "\"v\":1,\"port\":0,"),
            ("\"v\":1,", "\"v\":1,\"port\":70000,"),
            ("\"v\":1,", "\"v\":1,\"scheme\":\"ftp\","),
            ("\"v\":1,", "\"v\":1,\"method\":\"G T\","),
            ("\"v\":1,", "\"v\":1,\"path\":\"/a\\n- id: evil\","),
        ] {
            let line = LINE.replacen(from, to, 1);
            assert_ne!(line, LINE);
            assert_eq!(said(&line).0, 0, "{line}");
        }
    }
}
