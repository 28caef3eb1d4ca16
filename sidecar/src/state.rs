//! The state directory: where it may be, and how what is kept in it is read again. It holds a key, so the workload must
//! never see it.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::file;
use crate::settings::{CaSource, Settings};
use crate::trust::whole_file;

/// Write permission of anybody but the owner.
const OTHERS_MAY_WRITE: u32 = 0o022;

/// Refuses directories that share a tree although one holds a key and the other is the workload's: the state directory,
/// the operator's CA and the trust files are kept apart. Warns of a state directory that others may write.
///
/// # Errors
/// Text that names both settings and paths.
pub fn check_place(settings: &Settings) -> Result<(), String> {
    let ca = (settings.ca == CaSource::Files).then_some(("--ca-dir", &settings.ca_dir));
    let trust = settings.trust_dir.as_ref().map(|trust| ("--trust-dir", trust));
    if let (Some(ca), Some(trust)) = (ca, trust) {
        keep_apart(ca, trust)?;
    }
    if let (Some(auth), Some(trust)) = (&settings.upstream_proxy_auth_file, trust) {
        keep_apart(("--upstream-proxy-auth-file", auth), trust)?;
    }
    let Some(state) = &settings.state_dir else { return Ok(()) };
    for other in [trust, ca].into_iter().flatten() {
        keep_apart(("--state-dir", state), other)?;
    }
    // A volume of its own is for whoever mounts it to share or not, and that of an emptyDir always has mode 0777.
    if let Some(mode) = open_mode(state).filter(|_| !is_mount_point(state)) {
        tracing::warn!(
            "--state-dir {} may be written by other users (mode {mode:04o}): they could replace the key in it; give it a \
             directory of the sidecar's user alone",
            state.display()
        );
    }
    Ok(())
}

/// The content of a file that was kept at `path`, if there is one; its mode is 0600 afterwards.
///
/// # Errors
/// What the system says, or [`file::read`]. The path is for the caller to name.
pub fn kept(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match file::read(path, file::LIMIT) {
        Ok(content) => whole_file::restrict(path, 0o600).map(|()| Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn keep_apart(one: (&str, &PathBuf), other: (&str, &PathBuf)) -> Result<(), String> {
    let (resolved, other_resolved) = (resolve(one.1), resolve(other.1));
    if !resolved.starts_with(&other_resolved) && !other_resolved.starts_with(&resolved) {
        return Ok(());
    }
    Err(format!(
        "{} {} and {} {} are the same directory, or one is inside the other; a secret in one would be seen by whoever has \
         the other: use directories of their own",
        one.0,
        one.1.display(),
        other.0,
        other.1.display()
    ))
}

/// `path` without links as far as it exists.
fn resolve(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = path.ancestors().find_map(|ancestor| Some((ancestor, fs::canonicalize(ancestor).ok()?)));
    match existing {
        Some((ancestor, real)) => real.join(path.strip_prefix(ancestor).unwrap_or(Path::new(""))),
        None => path,
    }
}

fn open_mode(dir: &Path) -> Option<u32> {
    let mode = fs::metadata(dir).ok()?.permissions().mode() & 0o7777;
    (mode & OTHERS_MAY_WRITE != 0).then_some(mode)
}

/// Whether something else is mounted at `dir` than around it.
pub(crate) fn is_mount_point(dir: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    device(dir) != device(&dir.join(".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_told_from_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_mount_point(dir.path()));
        assert!(is_mount_point(Path::new("/proc")));
    }

    #[test]
    fn the_same_directory_and_one_inside_the_other_are_refused_whatever_they_are_called() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        for (state, other) in
            [(&real, &real), (&real, &link), (&real.join("new/deep"), &link), (&link, &real.join("trust"))]
        {
            let error = keep_apart(("--state-dir", state), ("--trust-dir", other)).unwrap_err();
            assert!(error.contains("--state-dir") && error.contains(&other.display().to_string()), "{error}");
        }
        keep_apart(("--state-dir", &real), ("--trust-dir", &dir.path().join("real-trust"))).unwrap();
    }

    #[test]
    fn a_directory_that_others_may_write_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, expected) in [(0o700, None), (0o755, None), (0o1777, Some(0o1777)), (0o770, Some(0o770))] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(open_mode(dir.path()), expected, "{mode:o}");
        }
        assert_eq!(open_mode(&dir.path().join("missing")), None);
    }

    #[test]
    fn what_was_kept_is_private_again_after_it_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kept");
        assert_eq!(kept(&path).unwrap(), None);
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(kept(&path).unwrap().as_deref(), Some(&b"x"[..]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
