//! Path globs: `*` within a segment, `**` across segments, everything else itself. Matching takes time proportional to
//! the path for each wildcard, whatever the path; it never backtracks.

use crate::path::{self, PathFault, Readings};

/// The longest glob, in bytes.
const MAX_BYTES: usize = 1024;
/// The most wildcards in a glob: with the path's length they bound the cost of a match.
const MAX_WILDCARDS: usize = 16;

/// A compiled glob. Case-sensitive. It is decoded as paths are, so `/%61` is `/a`, and a `%2F` in it is read both as
/// separator and as character. `/a/**` matches `/a/` and all below, not `/a`; `/a/**/b` matches `/a/b` too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
    separator: Vec<Token>,
    character: Option<Vec<Token>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// These bytes.
    Literal(Vec<u8>),
    /// `*`: any bytes but a separator, or none.
    Segment,
    /// `**`: any bytes, or none.
    Any,
    /// `/**/`: a separator, and any number of whole segments with theirs.
    Between,
}

impl Glob {
    /// Compiles a glob.
    ///
    /// # Errors
    /// What is wrong with it and what to write instead, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        refuse_mistakes(text)?;
        // Repeated, it matches what it matches once.
        let mut simple = text.to_owned();
        while simple.contains("/**/**/") {
            simple = simple.replace("/**/**/", "/**/");
        }
        let pieces = split(&simple)?;
        let separator = tokens(&pieces, |readings| readings.separator.to_vec())?;
        let character = tokens(&pieces, |readings| readings.character.unwrap_or_else(|| readings.separator.to_vec()))?;
        let character = (character != separator).then_some(character);
        Ok(Self { text: text.to_owned(), separator, character })
    }

    /// The glob as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether one reading of a path matches.
    pub(crate) fn matches(&self, reading: &[u8]) -> bool {
        matches(&self.separator, reading) || self.character.as_ref().is_some_and(|tokens| matches(tokens, reading))
    }
}

fn refuse_mistakes(text: &str) -> Result<(), String> {
    let message = match text {
        _ if !text.starts_with('/') => "a path glob begins with /",
        _ if text.len() > MAX_BYTES => "a path glob has at most 1024 bytes",
        _ if text.contains("***") => "*** has no meaning; write * within a segment or ** across segments",
        _ if text.contains('?') => "? is not a wildcard, and the query is never matched; write * within a segment",
        _ if text.contains('#') => "# ends a path; write %23 for the character",
        _ if text.contains(['[', ']', '{', '}']) => {
            "brackets and braces are not wildcards; write * for a segment, or the character percent-encoded"
        }
        _ if text.split('*').count() > MAX_WILDCARDS + 1 => "a path glob has at most 16 *",
        _ => return path::read(text).map(drop).map_err(never_matches),
    };
    Err(message.to_owned())
}

fn never_matches(fault: PathFault) -> String {
    format!("{fault}; such a request is refused before globs are matched, so remove it")
}

/// A glob between its wildcards.
enum Piece<'a> {
    Text(&'a str),
    Wildcard(Token),
}

fn split(glob: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = glob;
    while let Some(at) = rest.find('*') {
        let (before, after) = rest.split_at(at);
        let (text, token, tail) = match (before.strip_suffix('/'), after.strip_prefix("**")) {
            (Some(parent), Some(tail)) if tail.starts_with('/') => (parent, Token::Between, &tail[1..]),
            (_, Some(tail)) => (before, Token::Any, tail),
            (_, None) => (before, Token::Segment, &after[1..]),
        };
        pieces.extend([Piece::Text(text), Piece::Wildcard(token)]);
        rest = tail;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn tokens(pieces: &[Piece<'_>], reading: impl Fn(Readings<'_>) -> Vec<u8>) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match piece {
            Piece::Wildcard(token) => tokens.push(token.clone()),
            Piece::Text("") => {}
            Piece::Text(text) => tokens.push(Token::Literal(reading(path::read_part(text).map_err(never_matches)?))),
        }
    }
    Ok(tokens)
}

fn matches(tokens: &[Token], path: &[u8]) -> bool {
    let (path, wild) = match tokens {
        [Token::Literal(prefix), wild @ ..] => match path.strip_prefix(prefix.as_slice()) {
            Some(rest) => (rest, wild),
            None => return false,
        },
        wild => (path, wild),
    };
    match wild {
        [] => path.is_empty(),
        [Token::Any] => true,
        _ => matches_wildcards(wild, path),
    }
}

/// `ends[n]` says whether the tokens so far can match exactly the first `n` bytes.
fn matches_wildcards(tokens: &[Token], path: &[u8]) -> bool {
    let mut ends = vec![false; path.len() + 1];
    ends[0] = true;
    for token in tokens {
        match token {
            Token::Literal(literal) => ends = after_literal(&ends, path, literal),
            Token::Segment => spread(&mut ends, |at| path[at] != b'/'),
            Token::Any => spread(&mut ends, |_| true),
            Token::Between => ends = after_segments(&ends, path),
        }
    }
    ends[path.len()]
}

fn spread(ends: &mut [bool], may_pass: impl Fn(usize) -> bool) {
    for at in 1..ends.len() {
        ends[at] = ends[at] || (ends[at - 1] && may_pass(at - 1));
    }
}

fn after_literal(ends: &[bool], path: &[u8], literal: &[u8]) -> Vec<bool> {
    let mut next = vec![false; ends.len()];
    for (at, _) in ends.iter().enumerate().filter(|(_, end)| **end) {
        if path[at..].starts_with(literal) {
            next[at + literal.len()] = true;
        }
    }
    next
}

fn after_segments(ends: &[bool], path: &[u8]) -> Vec<bool> {
    let mut next = vec![false; ends.len()];
    let mut begun = false;
    for (at, byte) in path.iter().enumerate() {
        begun = begun || (ends[at] && *byte == b'/');
        next[at + 1] = begun && *byte == b'/';
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(glob: &str, path: &str) -> bool {
        let glob = Glob::parse(glob).unwrap();
        path::read(path).unwrap().iter().all(|reading| glob.matches(reading))
    }

    #[test]
    fn wildcards_match_what_the_documentation_says() {
        for (glob, yes, no) in [
            ("/a", &["/a", "/%61"][..], &["/", "/a/", "/ab", "/A", "//a"][..]),
            ("/%61", &["/a"], &["/%2561"]),
            ("/*", &["/", "/a", "/a.b"], &["/a/", "/a/b", "//"]),
            ("/a/*/c", &["/a/b/c", "/a//c"], &["/a/c", "/a/b/b/c", "/a/b%2Fb/c"]),
            ("/a*", &["/a", "/abc"], &["/a/", "/b"]),
            ("/*.pem", &["/x.pem", "/.pem"], &["/x.pem/", "/a/x.pem"]),
            ("/**", &["/", "/a", "/a/b/", "//"], &["*"]),
            ("/a/**", &["/a/", "/a/b", "/a/b/c"], &["/a", "/ab", "//a/b"]),
            ("/a**", &["/a", "/a/b", "/ab/c"], &["/b"]),
            ("/**/x", &["/x", "/a/x", "/a/b/x", "//x"], &["/ax", "/x/"]),
            ("/a/**/b", &["/a/b", "/a/x/b", "/a/x/y/b", "/a//b"], &["/ab", "/a/xb", "/b"]),
            ("/a/**/**/b", &["/a/b", "/a/x/b"], &["/ab"]),
            ("/a/**/*.js", &["/a/x.js", "/a/b/c/x.js"], &["/a/x.ts", "/x.js"]),
            ("/a%2Ab", &["/a*b", "/a%2ab"], &["/axb"]),
        ] {
            for path in yes {
                assert!(hits(glob, path), "{glob} has to match {path}");
            }
            for path in no {
                assert!(!hits(glob, path), "{glob} must not match {path}");
            }
        }
    }

    #[test]
    fn an_encoded_slash_in_a_glob_is_read_both_ways() {
        assert!(hits("/@scope%2Fname", "/@scope%2Fname"));
        assert!(hits("/@scope%2F*", "/@scope%2fname"));
        assert!(hits("/@scope%2Fname", "/@scope/name"));
        assert!(!hits("/@scope/name", "/@scope%2Fname"));
    }

    #[test]
    fn mistakes_are_refused_with_what_to_write() {
        for (glob, expected) in [
            ("", "begins with /"),
            ("a/*", "begins with /"),
            ("*", "begins with /"),
            ("/***", "*** has no meaning"),
            ("/a?b", "query is never matched"),
            ("/users/{id}", "not wildcards"),
            ("/[ab]", "not wildcards"),
            ("/a/../b", ". or .. segment"),
            ("/%2*", "two hexadecimal"),
            ("/a\\b", "backslash"),
            ("/a%00", "control"),
            ("/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*", "at most 16"),
        ] {
            let message = Glob::parse(glob).unwrap_err();
            assert!(message.contains(expected), "{glob}: {message}");
        }
        assert!(Glob::parse(&format!("/{}", "a".repeat(MAX_BYTES))).is_err());
    }

    /// Backtracking would take longer than the universe has existed: 2^40 ways at least.
    #[test]
    fn a_hostile_path_does_not_make_matching_explode() {
        let path = format!("/{}", "a".repeat(32 << 10));
        for glob in ["/*a*a*a*a*a*a*a*a*a*a*b", "/**a**a**a**a**a**a**a*b", "/a*a**a*a**a*a**a*b"] {
            assert!(!hits(glob, &path), "{glob}");
        }
        let path = "/a".repeat(16 << 10);
        assert!(!hits("/**/a/**/a/**/a/**/a/**/a/**/a/**/b", &path));
        assert!(hits("/**/a/**/a/**/a/**/a/**/a/**/a/**/a", &path));
    }
}
