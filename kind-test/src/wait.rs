//! Conditions with deadlines. There is no other way to wait here.

use std::time::{Duration, Instant};

/// How long anything may take that its test does not time. Nodes may be small and busy.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Looks at a condition until it holds.
///
/// # Panics
/// After [`DEADLINE`], with what the condition said last.
#[track_caller]
pub fn eventually<T>(what: &str, condition: impl FnMut() -> Result<T, String>) -> T {
    within(DEADLINE, what, condition)
}

/// The same with a deadline of its own.
///
/// # Panics
/// After `limit`, with what the condition said last.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(found) => return found,
            Err(why) => assert!(start.elapsed() < limit, "not within {limit:?}: {what}: {why}"),
        }
        std::thread::park_timeout(POLL);
    }
}

/// Looks for as long as `time` whether a condition holds all the while.
///
/// # Panics
/// As soon as it does not.
#[track_caller]
pub fn throughout(time: Duration, what: &str, mut condition: impl FnMut() -> Result<(), String>) {
    let start = Instant::now();
    while start.elapsed() < time {
        if let Err(why) = condition() {
            panic!("after {:?}: {what}: {why}", start.elapsed());
        }
        std::thread::park_timeout(POLL);
    }
}
