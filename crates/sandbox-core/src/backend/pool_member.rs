//! What a sandbox is to a pool that several processes share.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, PoolName, Result};

/// A hash of everything that the sandboxes of a pool have in common: 16 hexadecimal digits. A changed
/// specification has another key, so the sandboxes that wait with the former one are recognised.
///
/// ```
/// use sandbox_core::PoolKey;
///
/// # fn main() -> sandbox_core::Result<()> {
/// let key: PoolKey = "0123456789abcdef".parse()?;
/// assert!("0123".parse::<PoolKey>().is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PoolKey(String);

impl PoolKey {
    /// The length in characters.
    pub const LEN: usize = 16;

    /// Takes the key from the beginning of a digest.
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        let bytes = &digest[..Self::LEN / 2];
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PoolKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == Self::LEN && text.bytes().all(is_hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(
                "key of a pool",
                text,
                "it has 16 hexadecimal digits in lower case",
            ))
        }
    }
}

impl TryFrom<String> for PoolKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<PoolKey> for String {
    fn from(key: PoolKey) -> Self {
        key.0
    }
}

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The pool that a sandbox was created for, and whether it still waits there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolMember {
    /// The pool.
    pub name: PoolName,
    /// The key of the specification that it was created from.
    pub key: PoolKey,
    /// Its state in the pool.
    pub state: PoolMemberState,
}

/// The state of a sandbox in its pool. It only moves forwards, and nothing that has been taken waits again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolMemberState {
    /// It starts, or is being set up. Nobody can claim it yet.
    Filling,
    /// It is ready and can be claimed.
    Waiting,
    /// A client has claimed it, and it no longer belongs to the pool.
    Taken,
    /// The pool no longer needs it, and is deleting it.
    Draining,
}

impl PoolMemberState {
    /// Every state, in order.
    pub const ALL: [Self; 4] = [Self::Filling, Self::Waiting, Self::Taken, Self::Draining];

    /// Returns the name of the state: `filling`, `waiting`, `taken` or `draining`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Waiting => "waiting",
            Self::Taken => "taken",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for PoolMemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_beginning_of_a_digest() {
        let mut digest = [0; 32];
        (digest[0], digest[7], digest[8]) = (0x0a, 0xff, 0x11);
        let key = PoolKey::from_digest(&digest);
        assert_eq!(key.as_str(), "0a000000000000ff");
        assert_eq!(key.as_str().parse::<PoolKey>().unwrap(), key);
        for bad in [
            "",
            "0a",
            "0A000000000000ff",
            "0a000000000000fg",
            "0a000000000000ff0",
        ] {
            assert!(bad.parse::<PoolKey>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_state_is_named_as_it_is_serialised() {
        for state in PoolMemberState::ALL {
            let json = serde_json::to_value(state).unwrap();
            assert_eq!(json, state.as_str());
        }
    }
}
