//! What the process asks of the kernel for itself. Nothing here is needed for correctness, so a failure is reported
//! and not fatal.

use nix::sys::prctl;

/// Keeps the memory, in which the CA's key lies, from other processes of the same user: no ptrace, no core dump, no
/// `/proc/PID/mem`.
///
/// # Errors
/// Why the kernel refused, with what that means.
pub fn hide_memory() -> Result<(), String> {
    prctl::set_dumpable(false)
        .map_err(|error| format!("the memory of this process stays readable to its user: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_not_dumpable_afterwards() {
        hide_memory().unwrap();
        assert!(!prctl::get_dumpable().unwrap());
    }
}
