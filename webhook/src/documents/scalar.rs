//! What an unquoted word of YAML means to Kubernetes: the table of go-yaml v2 (`resolve.go`), which sigs.k8s.io/yaml
//! reads with. YAML 1.1's base 60 is not in it, and a date is a text.

use serde_json::{Number, Value};

/// The value of an unquoted scalar; an error says why it has none.
pub(super) fn resolve(text: &str) -> Result<Value, String> {
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => true.into(),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => false.into(),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => return Err(format!("{text} has no form in JSON; quote it if a text is meant")),
        _ => number(text).map_or_else(|| text.into(), Value::Number),
    };
    Ok(value)
}

/// The key that a value stands for: a text, a whole number or a truth value.
pub(super) fn key(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

fn number(text: &str) -> Option<Number> {
    match text.as_bytes().first()? {
        b'.' => float(text),
        b'0'..=b'9' | b'+' | b'-' => {
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain))
        }
        _ => None,
    }
}

/// `strconv.ParseInt` and `ParseUint` with base 0: a prefix says the base, a mere zero means octal.
fn integer(text: &str) -> Option<Number> {
    let (signed, negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, true, &text[1..]),
        b'+' => (true, false, &text[1..]),
        _ => (false, false, text),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let value = u64::from_str_radix(digits, base).ok()?;
    match i64::try_from(value) {
        Ok(value) => Some(if negative { -value } else { value }.into()),
        Err(_) if negative && value == i64::MIN.unsigned_abs() => Some(i64::MIN.into()),
        Err(_) => (!signed).then(|| value.into()),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`; one without a fraction becomes a whole number, as on its way
/// through Go's JSON.
fn float(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(m, e)| (m, Some(e)));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let has_digits = !whole.is_empty() || fraction.is_some_and(|fraction| !fraction.is_empty());
    let exponent = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['-', '+']).unwrap_or(text);
        !text.is_empty() && digits(text)
    });
    if !(has_digits && digits(whole) && fraction.is_none_or(digits) && exponent) {
        return None;
    }
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    whole_number(value).or_else(|| Number::from_f64(value))
}

fn whole_number(value: f64) -> Option<Number> {
    // Up to here every whole f64 is written without an exponent and read back the same.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() != 0.0 || value.abs() > EXACT {
        return None;
    }
    format!("{value:.0}").parse::<i64>().ok().map(Number::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_mean_what_they_mean_to_kubernetes() {
        for (text, expected) in [
            ("y", json!(true)),
            ("Off", json!(false)),
            ("yEs", json!("yEs")),
            ("~", json!(null)),
            ("012", json!(10)),
            ("09", json!(9)),
            ("0o7", json!(7)),
            ("0x1F", json!(31)),
            ("-0b11", json!(-3)),
            ("0b2", json!("0b2")),
            ("1_000", json!(1000)),
            ("+1", json!(1)),
            ("1e3", json!(1000)),
            ("1.0", json!(1)),
            ("1.", json!(1)),
            (".5", json!(0.5)),
            ("-.5", json!(-0.5)),
            (".", json!(".")),
            ("-", json!("-")),
            ("1e", json!("1e")),
            ("1e999", json!("1e999")),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("99999999999999999999", json!(1e20)),
            ("1:30", json!("1:30")),
            ("2001-01-01", json!("2001-01-01")),
            ("1.2.3", json!("1.2.3")),
            ("0x", json!("0x")),
            ("+-1", json!("+-1")),
        ] {
            assert_eq!(resolve(text), Ok(expected), "{text:?}");
        }
        assert!(resolve(".inf").is_err());
    }

    #[test]
    fn keys_are_texts_whole_numbers_and_truth_values() {
        assert_eq!(key(json!("a")), Some("a".to_owned()));
        assert_eq!(key(json!(true)), Some("true".to_owned()));
        assert_eq!(key(json!(10)), Some("10".to_owned()));
        assert_eq!(key(json!(0.5)), None);
        assert_eq!(key(json!(null)), None);
    }
}
