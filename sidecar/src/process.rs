//! What the process asks of the kernel for itself. Nothing here is needed for correctness, so a failure is reported
//! and not fatal.

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Keeps the memory, in which the CA's key lies, from other processes of the same user: no ptrace, no core dump, no
/// `/proc/PID/mem`.
///
/// # Errors
/// Why the kernel refused, with what that means.
pub fn hide_memory() -> Result<(), String> {
    prctl::set_dumpable(false)
        .map_err(|error| format!("the memory of this process stays readable to its user: {error}"))
}

/// Raises the limit of open files to the most that the kernel lets this process have. Not for `run`, whose command
/// would inherit it.
///
/// # Errors
/// Why the kernel refused, with the limit that stays.
pub fn raise_file_limit() -> Result<(), String> {
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| format!("the limit of open files: {error}"))?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .map_err(|error| format!("the limit of open files stays at {soft}: {error}"))
}

/// How many files this process may have open. A limit that can't be read is taken for a low one.
#[must_use]
pub fn file_limit() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(LEAST_FILES, |(soft, _)| soft);
    usize::try_from(soft).unwrap_or(usize::MAX)
}

/// Lower than any usual limit.
const LEAST_FILES: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_not_dumpable_afterwards() {
        hide_memory().unwrap();
        assert!(!prctl::get_dumpable().unwrap());
    }

    #[test]
    fn the_file_limit_is_as_high_as_allowed_afterwards() {
        raise_file_limit().unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
        assert_eq!(file_limit() as u64, soft);
    }
}
