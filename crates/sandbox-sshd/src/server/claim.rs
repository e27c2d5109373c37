//! The request to claim the sandbox, from its variables.

use std::time::Duration;

use russh::keys::PublicKey;
use sandbox_core::protocol::{ClaimRefusal, MAX_CLAIM_KEY};

use crate::lifetime::ClaimedLimits;

/// The variables of a claim (see [`protocol`](sandbox_core::protocol)).
#[derive(Default)]
pub(crate) struct ClaimVariables {
    pub(crate) key: Option<String>,
    pub(crate) attach: Option<String>,
    pub(crate) max: Option<String>,
}

impl ClaimVariables {
    /// Returns the key and the limits of the claim.
    ///
    /// # Errors
    ///
    /// [`ClaimRefusal::Malformed`] unless there is one key, and each time is a number of seconds.
    pub(crate) fn parse(
        &self,
        ttl: Option<&str>,
    ) -> Result<(PublicKey, ClaimedLimits), ClaimRefusal> {
        let key = self.key.as_deref().and_then(parse_key);
        let limits = ClaimedLimits {
            attach_timeout: parse_seconds(self.attach.as_deref())?,
            ttl: parse_seconds(ttl)?,
            max_lifetime: parse_seconds(self.max.as_deref())?,
        };
        Ok((key.ok_or(ClaimRefusal::Malformed)?, limits))
    }
}

/// Parses exactly one key: no options before it, which this server would not enforce, and no comment
/// or further key after it.
fn parse_key(text: &str) -> Option<PublicKey> {
    if text.len() > MAX_CLAIM_KEY || text.contains(|c: char| c.is_control()) {
        return None;
    }
    let mut words = text.split(' ');
    let is_bare = words.by_ref().take(2).all(|word| !word.is_empty()) && words.next().is_none();
    PublicKey::from_openssh(text).ok().filter(|_| is_bare)
}

fn parse_seconds(text: Option<&str>) -> Result<Option<Duration>, ClaimRefusal> {
    text.map(|text| match text.parse() {
        Ok(0) | Err(_) => Err(ClaimRefusal::Malformed),
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
    })
    .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_core::KeyPair;

    fn claim_of(key: &str) -> ClaimVariables {
        ClaimVariables {
            key: Some(key.to_owned()),
            ..ClaimVariables::default()
        }
    }

    #[test]
    fn exactly_one_bare_key_is_accepted() {
        let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let (one, other) = (one.public.as_str(), other.public.as_str());
        assert!(claim_of(one).parse(None).is_ok());
        for text in [
            String::new(),
            "ssh-ed25519".into(),
            "ssh-ed25519 AAAA".into(),
            format!("{one} comment"),
            format!("{one} {other}"),
            format!("{one}\n{other}"),
            format!("{one}\n"),
            format!(" {one}"),
            format!("restrict,command=\"id\" {one}"),
            format!("{one}{}", "A".repeat(MAX_CLAIM_KEY)),
            "A".repeat(1 << 20),
        ] {
            let refused = claim_of(&text).parse(None).err();
            assert_eq!(refused, Some(ClaimRefusal::Malformed), "{text:.80}");
        }
        let none = ClaimVariables::default().parse(None).err();
        assert_eq!(none, Some(ClaimRefusal::Malformed));
    }

    #[test]
    fn each_time_is_a_number_of_seconds() {
        let key = KeyPair::generate().unwrap();
        let claim = ClaimVariables {
            attach: Some("60".into()),
            max: Some(u64::MAX.to_string()),
            ..claim_of(key.public.as_str())
        };
        let (_, limits) = claim.parse(Some("5")).unwrap();
        assert_eq!(limits.attach_timeout, Some(Duration::from_secs(60)));
        assert_eq!(limits.ttl, Some(Duration::from_secs(5)));
        assert_eq!(limits.max_lifetime, Some(Duration::from_secs(u64::MAX)));
        for text in ["", "0", "-1", "1.5", "soon", "99999999999999999999999"] {
            assert!(claim.parse(Some(text)).is_err(), "{text}");
        }
    }
}
