//! Amounts in Kubernetes' notation: `500m` processors, `512Mi` bytes.
//!
//! See [Kubernetes: resource units](https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#resource-units-in-kubernetes).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// CPU time, in thousandths of a processor: `500m`, `0.5`, `2`.
///
/// ```
/// # fn main() -> sandbox_core::Result<()> {
/// let cpu: sandbox_core::Cpu = "0.5".parse()?;
/// assert_eq!((cpu.as_millis(), cpu.to_string().as_str()), (500, "500m"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cpu {
    millis: u64,
}

impl Cpu {
    /// Creates an amount from thousandths of a processor.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// Returns the amount in thousandths of a processor.
    pub const fn as_millis(self) -> u64 {
        self.millis
    }
}

impl FromStr for Cpu {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let millis = match text.strip_suffix('m') {
            Some(digits) => digits.parse().ok(),
            None => parse_scaled(text, 1000),
        };
        match millis {
            Some(millis) if millis > 0 => Ok(Self { millis }),
            _ => Err(Error::invalid(
                "amount of processors",
                text,
                "use a number such as 2, 0.5 or 500m, above zero",
            )),
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis.is_multiple_of(1000) {
            write!(f, "{}", self.millis / 1000)
        } else {
            write!(f, "{}m", self.millis)
        }
    }
}

/// An amount of memory or disk, in bytes: `512Mi`, `2Gi`, `1G`, `65536`.
///
/// ```
/// # fn main() -> sandbox_core::Result<()> {
/// let size: sandbox_core::ByteSize = "512Mi".parse()?;
/// assert_eq!(size.as_bytes(), 512 << 20);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize {
    bytes: u64,
}

/// The binary suffixes come first, because `Display` uses only these.
const SUFFIXES: [(&str, u64); 8] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
];

impl ByteSize {
    /// Creates an amount from bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self { bytes }
    }

    /// Creates an amount from mebibytes (2^20 bytes).
    pub const fn from_mib(mib: u64) -> Self {
        Self { bytes: mib << 20 }
    }

    /// Returns the amount in bytes.
    pub const fn as_bytes(self) -> u64 {
        self.bytes
    }
}

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = SUFFIXES
            .iter()
            .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
            .map_or_else(
                || text.parse().ok(),
                |(number, unit)| parse_scaled(number, unit),
            );
        match bytes {
            Some(bytes) if bytes > 0 => Ok(Self { bytes }),
            _ => Err(Error::invalid(
                "amount of bytes",
                text,
                "use a number such as 65536, 512Mi, 2Gi or 1G, above zero",
            )),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = SUFFIXES[..4]
            .iter()
            .rev()
            .find(|(_, unit)| self.bytes > 0 && self.bytes.is_multiple_of(*unit));
        match binary {
            Some((suffix, unit)) => write!(f, "{}{suffix}", self.bytes / unit),
            None => write!(f, "{}", self.bytes),
        }
    }
}

macro_rules! impl_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(amount: $name) -> Self {
                amount.to_string()
            }
        }
    };
}
impl_text!(Cpu);
impl_text!(ByteSize);

/// Parses a decimal number of at most three places and multiplies it by a unit, without rounding.
fn parse_scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty()
        || fraction.len() > 3
        || !is_digits(whole)
        || !is_digits(fraction)
        || number.ends_with('.')
    {
        return None;
    }
    let thousandths: u64 = if fraction.is_empty() {
        0
    } else {
        format!("{fraction:0<3}").parse().ok()?
    };
    let whole: u64 = whole.parse().ok()?;
    whole
        .checked_mul(unit)?
        .checked_add(u64::try_from(u128::from(thousandths) * u128::from(unit) / 1000).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_notation_is_read_and_written() {
        for (text, millis, shown) in [
            ("500m", 500, "500m"),
            ("2", 2000, "2"),
            ("0.25", 250, "250m"),
            ("1.5", 1500, "1500m"),
        ] {
            let cpu: Cpu = text.parse().unwrap();
            assert_eq!((cpu.as_millis(), cpu.to_string().as_str()), (millis, shown));
        }
        for (text, bytes, shown) in [
            ("65536", 65536, "64Ki"),
            ("512Mi", 512 << 20, "512Mi"),
            ("1.5Gi", 3 << 29, "1536Mi"),
            ("1G", 1_000_000_000, "1000000000"),
            ("2k", 2000, "2000"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.as_bytes(), size.to_string().as_str()), (bytes, shown));
        }
    }

    #[test]
    fn invalid_amounts_are_refused() {
        for bad in [
            "",
            "0",
            "-1",
            "1.2345",
            "1.",
            ".5",
            "m",
            "1e3",
            "x",
            " 1",
            "99999999999999999999",
            "1 Gi",
        ] {
            assert!(bad.parse::<Cpu>().is_err(), "{bad:?}");
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?}");
        }
        assert!("99999999999Ti".parse::<ByteSize>().is_err());
    }
}
