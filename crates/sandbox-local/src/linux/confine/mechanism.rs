//! The mechanisms that confine a process.

use crate::options::IsolationLevel;

/// The mechanism that an isolation level leads to on this system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Namespaces,
    Landlock,
    None,
}

impl Mechanism {
    /// Returns the mechanism that is tried first for a level.
    pub(crate) fn first_for_level(level: IsolationLevel) -> Self {
        match level {
            IsolationLevel::Auto | IsolationLevel::Namespaces => Self::Namespaces,
            IsolationLevel::Landlock => Self::Landlock,
            IsolationLevel::None => Self::None,
        }
    }

    /// Returns the name of the mechanism.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::None => "none",
        }
    }
}
