//! Paths in a container, as text: brought into one form before they are compared. Symbolic links of an image are invisible
//! to admission.

/// The absolute path without `.`, `..` and doubled slashes, as the kubelet makes it: a relative one starts at the root,
/// and nothing leads above the root.
pub(crate) fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether `path` is `directory` or lies below it; both normal.
pub(crate) fn is_within(path: &str, directory: &str) -> bool {
    directory == "/" || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_form() {
        for (path, expected) in [
            ("/etc/proxy-ca", "/etc/proxy-ca"),
            ("/etc//proxy-ca/", "/etc/proxy-ca"),
            ("/etc/./proxy-ca/.", "/etc/proxy-ca"),
            ("/etc/x/../proxy-ca", "/etc/proxy-ca"),
            ("/../../etc/proxy-ca", "/etc/proxy-ca"),
            ("etc/proxy-ca", "/etc/proxy-ca"),
            ("/", "/"),
            ("", "/"),
            ("/..", "/"),
            ("/etc/...", "/etc/..."),
        ] {
            assert_eq!(normal(path), expected, "{path:?}");
        }
    }

    #[test]
    fn a_path_is_within_a_directory_by_whole_names() {
        for (path, directory, within) in [
            ("/a/b", "/a/b", true),
            ("/a/b/c", "/a/b", true),
            ("/a/bc", "/a/b", false),
            ("/a", "/a/b", false),
            ("/a", "/", true),
        ] {
            assert_eq!(is_within(path, directory), within, "{path} in {directory}");
        }
    }
}
