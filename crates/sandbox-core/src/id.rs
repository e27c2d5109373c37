//! Identifiers: of a sandbox, of one instance of it, of a shared pool, of a job inside a sandbox.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The id of a sandbox: a DNS label ([RFC 1123]) of at most 40 bytes that begins with a letter,
/// such as `sbx-k3v9q2xw7d`. On Kubernetes it is also the name of the Pod.
///
/// ```
/// use sandbox_core::SandboxId;
///
/// # fn main() -> sandbox_core::Result<()> {
/// let id: SandboxId = "nightly-tests".parse()?;
/// assert!("Not Valid".parse::<SandboxId>().is_err());
/// # Ok(())
/// # }
/// ```
///
/// [RFC 1123]: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxId(String);

impl SandboxId {
    /// The maximum length in bytes. It leaves room for suffixes within Kubernetes' limit of 63.
    pub const MAX_LEN: usize = 40;

    /// Generates a unique id: `sbx-` and 50 random bits.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] if the operating system provides no randomness.
    pub fn generate() -> Result<Self> {
        let word = random_word(GENERATED_LEN)?;
        Ok(Self(format!("{GENERATED_PREFIX}{word}")))
    }

    /// Returns whether this id has the form of a generated one.
    pub fn is_generated(&self) -> bool {
        generated_word(&self.0).is_some_and(|word| word.len() == GENERATED_LEN)
    }

    /// Returns whether a generated id can begin with this text. `sbx-` alone is not enough, because
    /// every generated id begins with it.
    ///
    /// ```
    /// use sandbox_core::SandboxId;
    ///
    /// assert!(SandboxId::is_generated_prefix("sbx-k3"));
    /// assert!(!SandboxId::is_generated_prefix("sbx-"));
    /// ```
    pub fn is_generated_prefix(text: &str) -> bool {
        generated_word(text).is_some_and(|word| (1..=GENERATED_LEN).contains(&word.len()))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Identifies one instance of a sandbox: the Pod's uid, or a random one of a local sandbox. A
/// sandbox that is deleted and recreated under the same id has another uid. Nothing that was cached
/// for the first instance (connections, keys) is used for the second.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(String);

impl Uid {
    /// Wraps a uid that a backend has assigned.
    pub fn new(uid: impl Into<String>) -> Self {
        Self(uid.into())
    }

    /// Generates a random uid of 100 bits.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] if the operating system provides no randomness.
    pub fn generate() -> Result<Self> {
        Ok(Self(random_word(20)?))
    }

    /// Returns the uid as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a pool that several processes share: a DNS label of at most 40 bytes that begins with a
/// letter, such as `python-ci`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PoolName(String);

impl PoolName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of a background job inside a sandbox, such as `job-4tq8xw`: lower-case letters, digits
/// and dashes, at most 40 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

impl JobId {
    /// Generates an id that is unique within its sandbox: `job-` and 30 random bits.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] if the operating system provides no randomness.
    pub fn generate() -> Result<Self> {
        Ok(Self(format!("job-{}", random_word(6)?)))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! impl_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}
impl_text!(SandboxId);
impl_text!(Uid);
impl_text!(JobId);
impl_text!(PoolName);

macro_rules! impl_parse {
    ($name:ident, $argument:literal) => {
        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                check_label(text).map_err(|reason| Error::invalid($argument, text, reason))?;
                Ok(Self(text.to_owned()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}
impl_parse!(SandboxId, "sandbox id");
impl_parse!(JobId, "job id");
impl_parse!(PoolName, "pool name");

fn check_label(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > SandboxId::MAX_LEN {
        return Err("it must have 1 to 40 characters");
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return Err("only lower-case letters, digits and dashes are allowed");
    }
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) || text.ends_with('-') {
        return Err("it must begin with a letter and end with a letter or digit");
    }
    Ok(())
}

/// The prefix of generated ids.
const GENERATED_PREFIX: &str = "sbx-";
/// The number of random characters after the prefix.
const GENERATED_LEN: usize = 10;
/// Digits and lower-case letters, without those that are easily misread: five bits a character.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Returns the random part of a generated id, or of its beginning.
fn generated_word(text: &str) -> Option<&str> {
    text.strip_prefix(GENERATED_PREFIX)
        .filter(|word| word.bytes().all(|byte| ALPHABET.contains(&byte)))
}

fn random_word(len: usize) -> Result<String> {
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes).map_err(|source| Error::Backend {
        backend: "system",
        operation: "read random bytes",
        message: "the operating system provided no randomness".into(),
        transient: false,
        source: Some(Box::new(source)),
    })?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte & 31)]))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_are_valid_and_differ() {
        let (a, b) = (
            SandboxId::generate().unwrap(),
            SandboxId::generate().unwrap(),
        );
        assert_ne!(a, b);
        assert_eq!(a.as_str().parse::<SandboxId>().unwrap(), a);
        let job = JobId::generate().unwrap();
        assert_eq!(job.as_str().parse::<JobId>().unwrap(), job);
    }

    #[test]
    fn generated_ids_differ_from_chosen_names() {
        for _ in 0..100 {
            let id = SandboxId::generate().unwrap();
            assert!(id.is_generated(), "{id}");
            assert!(SandboxId::is_generated_prefix(&id.as_str()[..5]), "{id}");
        }
        for name in [
            "plum",
            "sbx-production",
            "sbx-prod-eu-1",
            "sbx-k3v9q2xw7",
            "sbx-k3v9q2xw7dd",
        ] {
            assert!(!name.parse::<SandboxId>().unwrap().is_generated(), "{name}");
        }
        for text in [
            "",
            "s",
            "sbx",
            "sbx-",
            "plum",
            "sbx-prod",
            "sbx-K",
            "sbx-k3v9q2xw7dd",
        ] {
            assert!(!SandboxId::is_generated_prefix(text), "{text}");
        }
    }

    #[test]
    fn invalid_ids_are_refused() {
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "../x",
            "a/b",
            "a b",
            "ä",
            "1a",
            "a\0",
            &"a".repeat(41),
        ] {
            let error = bad.parse::<SandboxId>().unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{bad:?}: {error}");
        }
        assert!("a".repeat(40).parse::<SandboxId>().is_ok());
    }
}
