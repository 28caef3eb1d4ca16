//! One path as a list of the policy can name it: its segments in one spelling, ids as `*`, within the bounds of a glob.
//! The glob of a template allows the path that it was made of, and what differs from it only where it has a wildcard.

use std::fmt::{self, Write};

use sandgate_policy::path;

use crate::audit::MAX_PATH_BYTES;

/// A glob of the policy has at most 1,024 bytes; what folding may add still fits.
const MAX_GLOB_BYTES: usize = 960;
/// A glob of the policy has at most 16 asterisks, of which `**` takes two.
const MAX_ASTERISKS: usize = 14;
/// In a path that is too long for a glob, a longer segment becomes `*` before anything else is given up.
const MAX_SEGMENT_BYTES: usize = 128;
/// The most that the end of a path takes that goes on beyond its template.
const REST: &str = "%2F**";
/// So much hexadecimal is no word.
const MIN_HEX: usize = 16;

/// What stands before a piece. An encoded slash is read both as a separator and as a character, so it is kept as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Separator {
    Slash,
    Encoded,
}

/// What stands between two separators.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Piece {
    /// This text, as a glob writes it.
    Text(Box<str>),
    /// `*`.
    Any,
    /// Whatever begins with this text, over any number of segments. Only the last piece.
    Rest(Box<str>),
}

/// A path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Template(pub(super) Vec<(Separator, Piece)>);

impl Template {
    /// The template of a path in origin form without its query, as it came.
    ///
    /// `None` for what no list of paths can allow: the target of a server-wide OPTIONS, and what the policy does not
    /// judge.
    pub(super) fn of(path: &str) -> Option<Self> {
        let pieces = pieces(path)?.map(|(separator, text)| {
            let text = canonical(text);
            (separator, if is_id(&text) { Piece::Any } else { Piece::Text(text) })
        });
        Some(Self(pieces.collect()).bounded())
    }

    /// The template of a path as an audit line has it: a segment `*` may have been anything but a slash, and what is as
    /// long as the most that is written may have gone on.
    pub(super) fn of_logged(path: &str) -> Option<Self> {
        let is_cut = path.len() > MAX_PATH_BYTES - 3;
        if is_cut && path::fault(path).is_some() {
            // The cut may have made a dot segment of a name with dots.
            let parent = &path[..=path.rfind('/')?];
            return Self::of_logged_whole(parent).map(Self::open);
        }
        let template = Self::of_logged_whole(path)?;
        Some(if is_cut { template.open() } else { template })
    }

    fn of_logged_whole(path: &str) -> Option<Self> {
        let pieces = pieces(path)?.map(|(separator, text)| {
            let text = if text == "*" { Box::from("*") } else { canonical(text) };
            (separator, if &*text == "*" || is_id(&text) { Piece::Any } else { Piece::Text(text) })
        });
        Some(Self(pieces.collect()).bounded())
    }

    /// The template of a glob of the policy, if it is one that a template can be.
    pub(super) fn of_glob(glob: &str) -> Option<Self> {
        let plain = |text: &str| text == "*" || !text.contains('*');
        let pieces: Vec<_> = pieces(glob)?.collect();
        pieces.iter().all(|(_, text)| plain(text)).then(|| Self::of_logged_whole(glob)).flatten()
    }

    /// The same, and whatever else begins like it.
    fn open(mut self) -> Self {
        if let Some((_, last)) = self.0.last_mut() {
            *last = match std::mem::replace(last, Piece::Any) {
                Piece::Text(text) => Piece::Rest(text),
                Piece::Any | Piece::Rest(_) => Piece::Rest(Box::default()),
            };
        }
        self
    }

    /// A template whose glob the policy takes; wider, where the path itself is too long for one.
    pub(super) fn bounded(mut self) -> Self {
        if self.fits() {
            return self;
        }
        for (_, piece) in &mut self.0 {
            if matches!(piece, Piece::Text(text) if text.len() > MAX_SEGMENT_BYTES) {
                *piece = Piece::Any;
            }
        }
        if self.fits() {
            return self;
        }
        let (mut bytes, mut asterisks) = (REST.len(), 2);
        let kept = self.0.iter().take_while(|piece| {
            bytes += bytes_of(piece);
            asterisks += asterisks_of(piece);
            bytes <= MAX_GLOB_BYTES && asterisks <= MAX_ASTERISKS
        });
        let kept = kept.count();
        self.0.truncate(kept + 1);
        if let Some((_, last)) = self.0.last_mut() {
            *last = Piece::Rest(Box::default());
        }
        self
    }

    fn fits(&self) -> bool {
        self.0.iter().map(bytes_of).sum::<usize>() <= MAX_GLOB_BYTES
            && self.0.iter().map(asterisks_of).sum::<usize>() <= MAX_ASTERISKS
    }

    /// Paths of which each is allowed only where everything is that the template may stand for. Those of a template
    /// without wildcards are the path itself.
    pub(super) fn probes(&self) -> Vec<String> {
        // A name that nobody lists, and that is no id.
        const ANYTHING: &str = "sandgate-learn-probe";
        let with = |rest: &str| {
            let mut path = String::new();
            for (separator, piece) in &self.0 {
                path.push_str(separator.as_str());
                match piece {
                    Piece::Text(text) => path.push_str(text),
                    Piece::Any => path.push_str(ANYTHING),
                    Piece::Rest(text) => path.extend([text, rest]),
                }
            }
            path
        };
        if matches!(self.0.last(), Some((_, Piece::Rest(_)))) {
            vec![with(""), with(ANYTHING), with("x/sandgate-learn-probe/x"), with("x%2Fx/x%2Fx")]
        } else {
            vec![with("")]
        }
    }
}

fn bytes_of((separator, piece): &(Separator, Piece)) -> usize {
    let text = match piece {
        Piece::Text(text) => text.len(),
        Piece::Any => 1,
        Piece::Rest(text) => text.len() + 2,
    };
    separator.as_str().len() + text
}

fn asterisks_of((_, piece): &(Separator, Piece)) -> usize {
    match piece {
        Piece::Text(_) => 0,
        Piece::Any => 1,
        Piece::Rest(_) => 2,
    }
}

impl Separator {
    fn as_str(self) -> &'static str {
        match self {
            Self::Slash => "/",
            Self::Encoded => "%2F",
        }
    }
}

/// The glob.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (separator, piece) in &self.0 {
            f.write_str(separator.as_str())?;
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Any => f.write_char('*')?,
                Piece::Rest(text) => write!(f, "{text}**")?,
            }
        }
        Ok(())
    }
}

/// The pieces of a path, each with what stands before it; `None` where the policy does not judge the path.
fn pieces(path: &str) -> Option<impl Iterator<Item = (Separator, &str)>> {
    let path = if path.is_empty() { "/" } else { path };
    if path == "*" || path::fault(path).is_some() {
        return None;
    }
    let segments = path.strip_prefix('/')?.split('/');
    Some(segments.flat_map(|segment| {
        let mut rest = Some(segment);
        let mut separator = Separator::Slash;
        std::iter::from_fn(move || {
            let text = rest?;
            let end = text.find("%2F").into_iter().chain(text.find("%2f")).min();
            rest = end.map(|end| &text[end + 3..]);
            Some((std::mem::replace(&mut separator, Separator::Encoded), &text[..end.unwrap_or(text.len())]))
        })
    }))
}

/// One spelling of a piece without faults: what a glob may hold stands as it is, and everything else is encoded.
fn canonical(text: &str) -> Box<str> {
    let mut canonical = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' { decoded(bytes.next(), bytes.next()) } else { byte };
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(&byte) {
            canonical.push(char::from(byte));
        } else {
            let _ = write!(canonical, "%{byte:02X}");
        }
    }
    canonical.into()
}

/// The byte that two hexadecimal digits mean; a path without faults has them behind each `%`.
fn decoded(high: Option<u8>, low: Option<u8>) -> u8 {
    let digit = |digit: Option<u8>| digit.and_then(|digit| char::from(digit).to_digit(16)).unwrap_or_default();
    u8::try_from(digit(high) << 4 | digit(low)).unwrap_or_default()
}

/// Whether the text names one thing of many, and not a kind of things: digits, a UUID, or much hexadecimal.
fn is_id(text: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_uuid = || {
        let lengths = [8, 4, 4, 4, 12];
        let mut groups = text.split('-');
        lengths.iter().all(|length| groups.next().is_some_and(|group| group.len() == *length && is_hex(group)))
            && groups.next().is_none()
    };
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
        || text.len() >= MIN_HEX && is_hex(text)
        || text.len() == 36 && is_uuid()
}

#[cfg(test)]
mod tests {
    use sandgate_policy::glob::Glob;

    use super::*;
    use crate::audit::LoggedPath;

    fn glob(path: &str) -> String {
        Template::of(path).unwrap_or_else(|| panic!("{path} has no template")).to_string()
    }

    #[test]
    fn ids_become_wildcards_and_nothing_else_does() {
        for (path, expected) in [
            ("/users/42/posts", "/users/*/posts"),
            ("/7", "/*"),
            ("/v1/items", "/v1/items"),
            ("/a/550e8400-e29b-41d4-a716-446655440000", "/a/*"),
            ("/a/550e8400-e29b-41d4-a716-44665544000", "/a/550e8400-e29b-41d4-a716-44665544000"),
            ("/a/0123456789abcdef", "/a/*"),
            ("/a/0123456789abcde", "/a/0123456789abcde"),
            ("/a/0123456789abcdeg", "/a/0123456789abcdeg"),
            ("/a/%34%32", "/a/*"),
            ("/@scope%2F42", "/@scope%2F*"),
        ] {
            assert_eq!(glob(path), expected, "{path}");
        }
    }

    #[test]
    fn a_path_has_one_spelling_that_a_glob_can_hold() {
        for (path, expected) in [
            ("", "/"),
            ("/", "/"),
            ("//a//", "//a//"),
            ("/%61b%7e", "/ab~"),
            ("/@scope%2fname", "/@scope%2Fname"),
            ("/a*b/*", "/a%2Ab/%2A"),
            ("/[x]{y}|\"z\"^`", "/%5Bx%5D%7By%7D%7C%22z%22%5E%60"),
            ("/caf\u{e9}%c3%a9 ", "/caf%C3%A9%C3%A9%20"),
            ("/100%25/%3f%23", "/100%25/%3F%23"),
        ] {
            assert_eq!(glob(path), expected, "{path}");
        }
    }

    #[test]
    fn what_no_list_can_allow_has_no_template() {
        for path in ["*", "/a/../b", "/%2e%2e", "/a\\b", "/a%", "/a%00", "a"] {
            assert_eq!(Template::of(path), None, "{path}");
            assert_eq!(Template::of_logged(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_too_long_for_a_glob_is_widened_as_little_as_it_takes() {
        let long = "s".repeat(2_000);
        assert_eq!(glob(&format!("/a/{long}/b")), "/a/*/b");
        assert_eq!(glob(&format!("/a%2F{long}")), "/a%2F*");
        assert_eq!(glob(&"/7".repeat(14)), "/*".repeat(14));
        assert_eq!(glob(&"/7".repeat(15)), format!("{}/**", "/*".repeat(12)));
        let deep = glob(&"/abcdefg".repeat(1_000));
        assert!(deep.starts_with("/abcdefg/abcdefg/") && deep.ends_with("/**") && deep.len() > 900, "{deep}");
        for path in ["/7".repeat(100), "/x".repeat(5_000), "%2F7".repeat(900), format!("/{}", "%2F".repeat(900))] {
            let path = format!("/{path}");
            Glob::parse(&glob(&path)).unwrap();
        }
    }

    #[test]
    fn a_logged_path_stands_for_all_that_it_may_have_been() {
        let logged = |path: &str| Template::of_logged(&LoggedPath::of(path).to_string()).unwrap().to_string();
        let long = "s".repeat(25);
        for (path, expected) in [
            (format!("/v1/{long}/x"), "/v1/*/x".to_owned()),
            (format!("/@scope%2f{long}"), "/*%2F*".to_owned()),
            ("/a*b".to_owned(), "/a%2Ab".to_owned()),
            ("/abc".repeat(200), format!("{}**", "/abc".repeat(64))),
            (format!("{}/{long}/{long}", "/abcdefg".repeat(31)), format!("{}/*/*", "/abcdefg".repeat(31))),
        ] {
            assert_eq!(logged(&path), expected, "{path}");
        }
    }

    #[test]
    fn a_cut_within_dots_is_no_dot_segment() {
        let parent = format!("{}/ab", "/abcd".repeat(50));
        let logged = LoggedPath::of(&format!("{parent}/..names")).to_string();
        assert!(path::fault(&logged).is_some(), "{logged}");
        assert_eq!(Template::of_logged(&logged).unwrap().to_string(), format!("{parent}/**"));
    }

    #[test]
    fn only_simple_globs_are_templates() {
        for (glob, template) in [("/a/*", Some("/a/*")), ("/%61%2Fb", Some("/a%2Fb")), ("/a*", None), ("/a/**", None)] {
            assert_eq!(Template::of_glob(glob).map(|template| template.to_string()).as_deref(), template, "{glob}");
        }
    }
}
