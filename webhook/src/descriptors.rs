//! How many files this process may have open. Two thousand connections are more than most machines allow by default.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lower than any usual limit; what a limit that can't be read is taken for.
const LEAST: u64 = 256;

/// Raises the limit to the most that the kernel lets this process have, and says what it is then.
pub fn raise() -> usize {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((LEAST, LEAST));
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, limit = soft, "the limit of open files can't be raised");
            soft
        }
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_as_high_as_allowed_afterwards() {
        let limit = raise();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!((soft, limit as u64), (hard, hard));
    }
}
