//! Keeping the memory of the process, in which a key lies, from others. A failure is reported and not fatal.

use nix::sys::prctl;

/// Keeps the memory from other processes of the same user: no ptrace, no core dump, no `/proc/PID/mem`.
///
/// # Errors
/// Why the kernel refused, with what that means.
pub fn hide() -> Result<(), String> {
    prctl::set_dumpable(false)
        .map_err(|error| format!("the memory of this process stays readable to its user: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_not_dumpable_afterwards() {
        hide().unwrap();
        assert!(!prctl::get_dumpable().unwrap());
    }
}
