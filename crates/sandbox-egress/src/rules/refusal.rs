//! Why something is refused.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// Why the rules refuse a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The rule that denies it, if one does.
    pub(crate) rule: Option<Arc<str>>,
    /// The whole reason, for the client.
    pub(crate) reason: String,
    /// The reason for the sandbox, which learns nothing about the client's network: not which addresses names there have.
    pub(crate) public_reason: Cow<'static, str>,
    /// Whether one more rule would allow it.
    pub(crate) is_allowable: bool,
}

impl Refusal {
    pub(super) fn denied(rule: Arc<str>) -> Self {
        Self {
            reason: format!("the rule \"{rule}\" denies it"),
            rule: Some(rule),
            public_reason: "a rule denies it".into(),
            is_allowable: false,
        }
    }

    pub(super) fn not_allowed(preset: &str) -> Self {
        Self {
            rule: None,
            reason: format!("no rule allows it (preset {preset})"),
            public_reason: "no rule allows it".into(),
            is_allowable: true,
        }
    }

    pub(super) fn special(address: IpAddr, kind: &str) -> Self {
        Self {
            rule: None,
            reason: format!("{address} is {kind}, and no rule allows its network"),
            public_reason: "it has no address that is allowed".into(),
            is_allowable: false,
        }
    }

    /// No answer has allowed what no rule decides about.
    pub(crate) fn not_agreed(reason: &'static str, rule: Option<Arc<str>>) -> Self {
        Self {
            rule,
            reason: reason.to_owned(),
            public_reason: "no rule allows it, and neither did who was asked".into(),
            is_allowable: true,
        }
    }

    /// Something that no rule can allow.
    pub(crate) fn malformed(
        reason: impl Into<String>,
        public_reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            rule: None,
            reason: reason.into(),
            public_reason: public_reason.into(),
            is_allowable: false,
        }
    }
}
