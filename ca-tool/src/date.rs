//! Points in time as people read them.

use time::{OffsetDateTime, UtcOffset};

/// Date and time in UTC to the minute, such as `2026-11-22 10:42 UTC`.
#[must_use]
pub fn text(at: &OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute())
}
