//! Signals, with their names in SSH and their numbers on Linux.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A signal, by its name in [RFC 4254 §6.10] without `SIG`.
///
/// ```
/// # fn main() -> sandbox_core::Result<()> {
/// let signal: sandbox_core::Signal = "SIGTERM".parse()?;
/// assert_eq!((signal.name(), signal.number()), ("TERM", Some(15)));
/// # Ok(())
/// # }
/// ```
///
/// [RFC 4254 §6.10]: https://www.rfc-editor.org/rfc/rfc4254#section-6.10
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[allow(missing_docs, reason = "the names are POSIX's")]
#[non_exhaustive]
pub enum Signal {
    Abrt,
    Alrm,
    Fpe,
    Hup,
    Ill,
    Int,
    Kill,
    Pipe,
    Quit,
    Segv,
    Term,
    Usr1,
    Usr2,
    /// A signal that the RFC does not list: letters and digits, as named by the server.
    Other(String),
}

/// The signals of the RFC, with their names and their numbers on Linux.
const RFC_SIGNALS: [(Signal, &str, u8); 13] = [
    (Signal::Abrt, "ABRT", 6),
    (Signal::Alrm, "ALRM", 14),
    (Signal::Fpe, "FPE", 8),
    (Signal::Hup, "HUP", 1),
    (Signal::Ill, "ILL", 4),
    (Signal::Int, "INT", 2),
    (Signal::Kill, "KILL", 9),
    (Signal::Pipe, "PIPE", 13),
    (Signal::Quit, "QUIT", 3),
    (Signal::Segv, "SEGV", 11),
    (Signal::Term, "TERM", 15),
    (Signal::Usr1, "USR1", 10),
    (Signal::Usr2, "USR2", 12),
];

/// Linux signals beyond the RFC's list that a server may report as the end of a command.
const OTHER_SIGNALS: [(&str, u8); 8] = [
    ("TRAP", 5),
    ("BUS", 7),
    ("STKFLT", 16),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("SYS", 31),
];

impl Signal {
    /// Returns the name without `SIG`.
    pub fn name(&self) -> &str {
        match self {
            Self::Other(name) => name,
            listed => RFC_SIGNALS
                .iter()
                .find(|(signal, ..)| signal == listed)
                .map_or("", |(_, name, _)| name),
        }
    }

    /// Returns the number on Linux, if known.
    pub fn number(&self) -> Option<u8> {
        match self {
            Self::Other(name) => OTHER_SIGNALS
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, number)| *number),
            listed => RFC_SIGNALS
                .iter()
                .find(|(signal, ..)| signal == listed)
                .map(|(.., number)| *number),
        }
    }

    /// Returns the signal with this number on Linux.
    pub fn from_number(number: u8) -> Self {
        let listed = RFC_SIGNALS
            .iter()
            .find(|(.., n)| *n == number)
            .map(|(signal, ..)| signal.clone());
        let find_other = || {
            OTHER_SIGNALS
                .iter()
                .find(|(_, n)| *n == number)
                .map(|(name, _)| Self::Other((*name).to_owned()))
        };
        listed
            .or_else(find_other)
            .unwrap_or_else(|| Self::Other(number.to_string()))
    }
}

/// Parses a name with or without `SIG`, in upper or lower case.
impl FromStr for Signal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if name.is_empty() || name.len() > 16 || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Error::invalid(
                "signal",
                text,
                "use a name such as TERM or SIGKILL",
            ));
        }
        let listed = RFC_SIGNALS
            .iter()
            .find(|(_, listed, _)| *listed == name)
            .map(|(signal, ..)| signal.clone());
        Ok(listed.unwrap_or_else(|| Self::Other(name.to_owned())))
    }
}

impl TryFrom<String> for Signal {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> Self {
        signal.name().to_owned()
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for (signal, name, number) in &RFC_SIGNALS {
            assert_eq!(name.parse::<Signal>().unwrap(), *signal);
            assert_eq!(format!("sig{name}").parse::<Signal>().unwrap(), *signal);
            assert_eq!(Signal::from_number(*number), *signal);
        }
        assert_eq!(Signal::from_number(31), Signal::Other("SYS".into()));
        assert_eq!(Signal::Other("SYS".into()).number(), Some(31));
    }

    #[test]
    fn invalid_names_are_refused() {
        for bad in ["", "SIG", "KILL\x1b[", "A B", "ABCDEFGHIJKLMNOPQ"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad:?}");
        }
    }
}
