//! Names that no rule decides about.

use std::fmt::Debug;

use async_trait::async_trait;

/// What is done about a name that no rule decides about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// This connection is allowed. The next one is asked about again.
    Once,
    /// The name is allowed on this port, for as long as the proxy lives.
    Always,
    /// It is refused on this port, for as long as the proxy lives.
    Never,
}

/// Decides about names that no rule decides about: a person at a terminal, for example.
///
/// Only a rule that is missing can be made up for. What a rule denies, addresses without a name, and names whose addresses
/// are not of the public internet are refused without a question.
#[async_trait]
pub trait Ask: Debug + Send + Sync + 'static {
    /// Decides about a name and a port. The name is in normal form, of lower-case letters, digits, `-`, `_` and `.`, and comes
    /// from the sandbox. The proxy asks one question at a time, and drops the future when the sandbox no longer waits or
    /// after [`Limits::ask`](crate::Limits::ask).
    async fn ask(&self, host: &str, port: u16) -> Answer;
}
