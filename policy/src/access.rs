//! The `allow` and `deny` lists of one destination, and what they say of a method and a path.

use http::Method;

use crate::Code;
use crate::glob::Glob;
use crate::path::{self, PathFault};

/// One entry of a list: it matches a request whose method and path it both has. What it does not name, it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The line of the entry, from 1.
    pub line: usize,
    /// Methods, compared with case (RFC 9110 9.1). `GET` does not stand for `HEAD`.
    pub methods: Option<Vec<Method>>,
    /// Globs that a path is matched against.
    pub paths: Option<Vec<Glob>>,
}

impl Entry {
    fn matches(&self, method: &Method, reading: Option<&[u8]>) -> bool {
        let has_path = |globs: &Vec<Glob>| reading.is_some_and(|path| globs.iter().any(|glob| glob.matches(path)));
        self.methods.as_ref().is_none_or(|methods| methods.contains(method)) && self.paths.as_ref().is_none_or(has_path)
    }
}

/// The lists of a destination. Deny comes before allow; without an allow list everything else is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    allow: Option<Vec<Entry>>,
    deny: Vec<Entry>,
    judges_paths: bool,
}

/// What the lists said of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The destination has no lists.
    NoLists,
    /// It has a deny list alone, and no entry matches.
    NotDenied,
    /// The entry of the allow list, by index from 0, that matches.
    AllowEntry(usize),
    /// The entry of the deny list, by index from 0, that matches.
    DenyEntry(usize),
    /// No entry of the allow list matches.
    NoAllowEntry,
    /// The path is not judged.
    BadPath(PathFault),
}

impl Finding {
    /// The code of a refusal; `None` where the request is allowed.
    #[must_use]
    pub fn code(self) -> Option<Code> {
        match self {
            Self::NoLists | Self::NotDenied | Self::AllowEntry(_) => None,
            Self::DenyEntry(_) => Some(Code::RequestDenied),
            Self::NoAllowEntry => Some(Code::RequestNotAllowed),
            Self::BadPath(_) => Some(Code::BadPath),
        }
    }
}

impl Access {
    /// The lists as given; an allow list that is there and empty allows nothing.
    #[must_use]
    pub fn new(allow: Option<Vec<Entry>>, deny: Vec<Entry>) -> Self {
        let judges_paths = allow.iter().flatten().chain(&deny).any(|entry| entry.paths.is_some());
        Self { allow, deny, judges_paths }
    }

    /// The allow list, if there is one.
    #[must_use]
    pub fn allow(&self) -> Option<&[Entry]> {
        self.allow.as_deref()
    }

    /// The deny list.
    #[must_use]
    pub fn deny(&self) -> &[Entry] {
        &self.deny
    }

    /// Whether paths are judged: some entry has them.
    pub(crate) fn judges_paths(&self) -> bool {
        self.judges_paths
    }

    /// Whether a `deny` entry matches some reading of the path.
    pub(crate) fn denies(&self, method: &Method, path: &str) -> bool {
        path::read(path).is_ok_and(|readings| {
            readings.iter().any(|reading| matches!(self.judge_reading(method, Some(reading)), Finding::DenyEntry(_)))
        })
    }

    /// Judges a request. The path is in origin form, as it came, without its query; it is looked at only where an
    /// entry has paths. Each reading of a path has to be allowed, and none denied.
    #[must_use]
    pub fn judge(&self, method: &Method, path: &str) -> Finding {
        if !self.judges_paths {
            return self.judge_reading(method, None);
        }
        let readings = match path::read(path) {
            Ok(readings) => readings,
            Err(fault) => return Finding::BadPath(fault),
        };
        let mut finding = Finding::NoAllowEntry;
        for reading in readings.iter() {
            finding = self.judge_reading(method, Some(reading));
            if finding.code().is_some() {
                break;
            }
        }
        finding
    }

    fn judge_reading(&self, method: &Method, reading: Option<&[u8]>) -> Finding {
        let first = |entries: &[Entry]| entries.iter().position(|entry| entry.matches(method, reading));
        match (first(&self.deny), &self.allow) {
            (Some(entry), _) => Finding::DenyEntry(entry),
            (None, Some(allow)) => first(allow).map_or(Finding::NoAllowEntry, Finding::AllowEntry),
            (None, None) if self.deny.is_empty() => Finding::NoLists,
            (None, None) => Finding::NotDenied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(methods: &[&str], paths: &[&str]) -> Entry {
        let method = |name: &&str| name.parse().unwrap();
        let glob = |text: &&str| Glob::parse(text).unwrap();
        Entry {
            line: 1,
            methods: (!methods.is_empty()).then(|| methods.iter().map(method).collect()),
            paths: (!paths.is_empty()).then(|| paths.iter().map(glob).collect()),
        }
    }

    fn finding(access: &Access, method: &str, path: &str) -> Finding {
        access.judge(&method.parse().unwrap(), path)
    }

    #[test]
    fn deny_comes_before_allow() {
        let access = Access::new(Some(vec![entry(&["GET"], &["/**"])]), vec![entry(&[], &["/admin", "/admin/**"])]);
        assert_eq!(finding(&access, "GET", "/a"), Finding::AllowEntry(0));
        assert_eq!(finding(&access, "POST", "/a"), Finding::NoAllowEntry);
        for path in ["/admin", "/%61dmin", "/admin/x", "/admin%2Fx"] {
            assert_eq!(finding(&access, "GET", path), Finding::DenyEntry(0), "{path}");
        }
        assert_eq!(finding(&access, "GET", "/Admin"), Finding::AllowEntry(0));
        assert_eq!(finding(&access, "GET", "//admin"), Finding::AllowEntry(0));
    }

    #[test]
    fn no_allow_list_allows_what_is_not_denied_and_an_empty_one_allows_nothing() {
        assert_eq!(finding(&Access::default(), "BREW", "/%"), Finding::NoLists);
        let denies = Access::new(None, vec![entry(&["DELETE"], &[])]);
        assert_eq!(finding(&denies, "GET", "/"), Finding::NotDenied);
        assert_eq!(finding(&denies, "DELETE", "/"), Finding::DenyEntry(0));
        assert_eq!(finding(&Access::new(Some(vec![]), vec![]), "GET", "/"), Finding::NoAllowEntry);
    }

    #[test]
    fn methods_are_compared_with_case_and_get_is_not_head() {
        let access = Access::new(Some(vec![entry(&["GET", "BREW"], &[])]), vec![]);
        assert_eq!(finding(&access, "BREW", "/"), Finding::AllowEntry(0));
        for method in ["HEAD", "get", "POST"] {
            assert_eq!(finding(&access, method, "/"), Finding::NoAllowEntry, "{method}");
        }
    }

    #[test]
    fn both_readings_of_an_encoded_slash_have_to_be_allowed() {
        let only = |paths: &[&str]| Access::new(Some(vec![entry(&[], paths)]), vec![]);
        let path = "/@scope%2Fname";
        assert_eq!(finding(&only(&["/@scope/*"]), "GET", path), Finding::NoAllowEntry);
        assert_eq!(finding(&only(&["/*"]), "GET", path), Finding::NoAllowEntry);
        for paths in [&["/*", "/@scope/*"][..], &["/**"], &["/@scope%2F*"]] {
            assert_eq!(finding(&only(paths), "GET", path), Finding::AllowEntry(0), "{paths:?}");
        }
        let denies = |glob: &str| Access::new(None, vec![entry(&[], &[glob])]);
        assert_eq!(finding(&denies("/@scope/*"), "GET", path), Finding::DenyEntry(0));
        assert_eq!(finding(&denies("/*"), "GET", path), Finding::DenyEntry(0));
    }

    #[test]
    fn paths_are_judged_only_where_an_entry_has_paths() {
        let methods_only = Access::new(Some(vec![entry(&["GET"], &[])]), vec![]);
        assert_eq!(finding(&methods_only, "GET", "/a/../b"), Finding::AllowEntry(0));
        let with_paths = Access::new(Some(vec![entry(&["GET"], &[])]), vec![entry(&[], &["/x"])]);
        assert_eq!(finding(&with_paths, "GET", "/a/../b"), Finding::BadPath(PathFault::DotSegment));
    }

    #[test]
    fn a_server_wide_options_has_no_path_that_a_glob_matches() {
        let access = Access::new(Some(vec![entry(&["OPTIONS"], &[]), entry(&[], &["/**"])]), vec![]);
        assert_eq!(finding(&access, "OPTIONS", "*"), Finding::AllowEntry(0));
        let access = Access::new(Some(vec![entry(&[], &["/**"])]), vec![]);
        assert_eq!(finding(&access, "OPTIONS", "*"), Finding::NoAllowEntry);
    }
}
