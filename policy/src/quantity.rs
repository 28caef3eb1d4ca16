//! Numbers, sizes and durations as a person writes them. No unit is ever assumed.

use std::time::Duration;

/// A whole number from 1 up.
pub(crate) fn count(text: &str) -> Result<u32, String> {
    let number = digits(text).and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
    number.ok_or_else(|| format!("{text:?} is not a whole number from 1 to {}", u32::MAX))
}

/// A port, 1 to 65535.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    let number = digits(text).and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0);
    number.ok_or_else(|| format!("{text:?} is not a port; write a number from 1 to 65535"))
}

/// A size in bytes: a whole number with `B`, `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// What is wrong and what to write instead.
pub fn size(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, u64)] = &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
    with_unit(text, UNITS)
        .ok_or_else(|| format!("{text:?} is not a size; write a whole number with KiB, MiB or GiB, as in 10MiB"))
}

/// A duration above zero: a whole number with `ms`, `s`, `m` or `h`.
///
/// # Errors
/// What is wrong and what to write instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let millis = with_unit(text, UNITS).filter(|millis| *millis > 0);
    millis.map(Duration::from_millis).ok_or_else(|| {
        format!("{text:?} is not a duration above zero; write a whole number with ms, s, m or h, as in 30s")
    })
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start_matches(' '))?;
    digits(number)?.checked_mul(*factor)
}

/// Digits only: no sign, no underscore, no other base.
fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_carry_a_unit() {
        for (text, bytes) in [("10MiB", 10 << 20), ("1 GiB", 1 << 30), ("0B", 0), ("64KiB", 64 << 10)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["10", "", "MiB", "10MB", "-1MiB", "1.5MiB", "10mib", "99999999999GiB", "1_0MiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_carry_a_unit_and_are_above_zero() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("15m", 900_000), ("1 h", 3_600_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["30", "0s", "-1s", "1d", "1m30s", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_plain_digits() {
        assert_eq!((port("443"), count("10")), (Ok(443), Ok(10)));
        for text in ["0", "65536", "-1", "+443", "0x1bb", "443x", "", "4_43", "443.0"] {
            assert!(port(text).is_err(), "{text}");
        }
    }
}
