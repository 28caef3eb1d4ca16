//! Kubernetes quantities, and the requests and limits of the sidecar.

mod annotation;

use std::fmt;

pub use annotation::of_pod;
use serde_json::{Value, json};

/// A Kubernetes quantity (`resource.Quantity`): its text as it was written, and its value for comparing.
#[derive(Clone, Debug)]
pub struct Quantity {
    text: String,
    /// In thousandths; a quantity that is finer is rounded up, as Kubernetes does.
    milli: i128,
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.milli == other.milli
    }
}

impl Quantity {
    /// Reads `100m`, `1.5`, `64Mi`, `2G`, `1e3`.
    ///
    /// # Errors
    /// A text that quotes what is no quantity.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no quantity; write 100m, 0.5, 64Mi or 1Gi");
        let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (numerator, denominator) = factor(suffix).ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        let plain = !digits.is_empty() && digits.len() <= 15 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !plain {
            return Err(wrong());
        }
        let value: i128 = digits.parse().map_err(|_| wrong())?;
        let scale = 10_i128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?) * denominator;
        let milli = (value * numerator * 1000 + scale - 1) / scale;
        Ok(Self { text: text.to_owned(), milli })
    }

    /// The value in thousandths.
    #[must_use]
    pub const fn milli(&self) -> i128 {
        self.milli
    }

    /// The sum, as plain text that Kubernetes reads.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self::of_milli(self.milli + other.milli)
    }
}

impl Quantity {
    /// The difference, at least zero.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self::of_milli((self.milli - other.milli).max(0))
    }

    fn of_milli(milli: i128) -> Self {
        let text = if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") };
        Self { text, milli }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a suffix multiplies with, as a fraction (Kubernetes API reference, `Quantity`).
fn factor(suffix: &str) -> Option<(i128, i128)> {
    let power = |base: i128, exponent: u32| (base.pow(exponent), 1);
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => power(1000, 1),
        "M" => power(1000, 2),
        "G" => power(1000, 3),
        "T" => power(1000, 4),
        "P" => power(1000, 5),
        "E" => power(1000, 6),
        "Ki" => power(1024, 1),
        "Mi" => power(1024, 2),
        "Gi" => power(1024, 3),
        "Ti" => power(1024, 4),
        "Pi" => power(1024, 5),
        "Ei" => power(1024, 6),
        other => {
            let exponent: u32 = other.strip_prefix(['e', 'E'])?.parse().ok().filter(|exponent| *exponent <= 18)?;
            power(10, exponent)
        }
    })
}

/// Requests and limits of CPU and memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources {
    /// `requests.cpu`.
    pub cpu_request: Quantity,
    /// `requests.memory`.
    pub memory_request: Quantity,
    /// `limits.cpu`.
    pub cpu_limit: Quantity,
    /// `limits.memory`.
    pub memory_limit: Quantity,
}

impl Resources {
    /// From texts that are known to be quantities.
    ///
    /// # Panics
    /// When one is none.
    #[must_use]
    pub(crate) fn of(cpu_request: &str, memory_request: &str, cpu_limit: &str, memory_limit: &str) -> Self {
        let read = |text| Quantity::parse(text).expect("a quantity of the program's own");
        Self {
            cpu_request: read(cpu_request),
            memory_request: read(memory_request),
            cpu_limit: read(cpu_limit),
            memory_limit: read(memory_limit),
        }
    }

    /// From what [`Resources::json`] wrote; nothing where an amount is missing or is none.
    #[must_use]
    pub fn read(json: &Value) -> Option<Self> {
        let amount = |kind: &str, name: &str| Quantity::parse(json.get(kind)?.get(name)?.as_str()?).ok();
        Some(Self {
            cpu_request: amount("requests", "cpu")?,
            memory_request: amount("requests", "memory")?,
            cpu_limit: amount("limits", "cpu")?,
            memory_limit: amount("limits", "memory")?,
        })
    }

    /// As a container has them in its `resources`.
    #[must_use]
    pub fn json(&self) -> Value {
        let amounts = |cpu: &Quantity, memory: &Quantity| json!({"cpu": cpu.to_string(), "memory": memory.to_string()});
        json!({
            "limits": amounts(&self.cpu_limit, &self.memory_limit),
            "requests": amounts(&self.cpu_request, &self.memory_request),
        })
    }

    /// The same limits, and requests equal to them.
    #[must_use]
    pub fn guaranteed(self) -> Self {
        Self { cpu_request: self.cpu_limit.clone(), memory_request: self.memory_limit.clone(), ..self }
    }

    /// Each amount with its place: `requests` or `limits`, then `cpu` or `memory`.
    #[must_use]
    pub const fn amounts(&self) -> [(&'static str, &'static str, &Quantity); 4] {
        [
            ("requests", "cpu", &self.cpu_request),
            ("requests", "memory", &self.memory_request),
            ("limits", "cpu", &self.cpu_limit),
            ("limits", "memory", &self.memory_limit),
        ]
    }

    fn amount_mut(&mut self, kind: &str, resource: &str) -> Option<&mut Quantity> {
        match (kind, resource) {
            ("requests", "cpu") => Some(&mut self.cpu_request),
            ("requests", "memory") => Some(&mut self.memory_request),
            ("limits", "cpu") => Some(&mut self.cpu_limit),
            ("limits", "memory") => Some(&mut self.memory_limit),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_what_kubernetes_takes_them_for() {
        for (text, milli) in [
            ("0", 0),
            ("100m", 100),
            ("0.5", 500),
            (".5", 500),
            ("1", 1000),
            ("1.5Gi", 1_610_612_736_000),
            ("64Mi", 67_108_864_000),
            ("1e3", 1_000_000),
            ("2E2", 200_000),
            ("1E", 1_000_000_000_000_000_000_000),
            ("1n", 1),
            ("128974848", 128_974_848_000),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().milli(), milli, "{text}");
        }
        for text in ["", "m", "1 Gi", "1gi", "-1", "+1", "1..2", "0x10", "1e99", "ten", "9999999999999999999"] {
            assert!(Quantity::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sums_are_quantities_again() {
        let sum = |a, b| Quantity::parse(a).unwrap().plus(&Quantity::parse(b).unwrap());
        assert_eq!(sum("1", "500m").to_string(), "1500m");
        assert_eq!(sum("64Mi", "64Mi").to_string(), "134217728");
        assert_eq!(sum("1", "500m"), Quantity::parse("1.5").unwrap());
    }
}
