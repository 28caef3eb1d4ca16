//! How many files this process may have open. Programs with thousands of connections need more than most machines allow
//! by default.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lower than any usual limit; what a limit that can't be read is taken for.
const LEAST: u64 = 256;

/// Raises the limit to the most that the kernel lets this process have. Programs that it starts inherit it.
///
/// # Errors
/// Why the kernel refused, with the limit that stays. Nothing needs it to work, so it is to be reported and not fatal.
pub fn raise_limit() -> Result<(), String> {
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| format!("the limit of open files: {error}"))?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .map_err(|error| format!("the limit of open files stays at {soft}: {error}"))
}

/// How many files this process may have open now. A limit that can't be read is taken for a low one.
#[must_use]
pub fn limit() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(LEAST, |(soft, _)| soft);
    usize::try_from(soft).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_as_high_as_allowed_afterwards() {
        raise_limit().unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
        assert_eq!(limit() as u64, soft);
    }
}
