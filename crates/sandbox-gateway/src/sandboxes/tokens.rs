//! The tokens of sandboxes: derived from the signing key, so that each replica knows them and none is stored.

use std::fmt;

use ring::hmac;
use sandbox::Uid;
use subtle::ConstantTimeEq;

use crate::hex;

/// The tokens of sandboxes.
///
/// A token is `hex(HMAC-SHA256(signing key, purpose 0 uid))`. It belongs to one instance: a sandbox that is created later
/// under the same id has others.
pub(crate) struct Tokens {
    key: hmac::Key,
}

/// The least length of a signing key in bytes.
pub(crate) const MIN_SIGNING_KEY: usize = 32;

impl Tokens {
    /// Derives tokens from a signing key of at least [`MIN_SIGNING_KEY`] random bytes.
    pub(crate) fn new(signing_key: &[u8]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, signing_key),
        }
    }

    /// The token that allows commands and files: `envdAccessToken`.
    pub(crate) fn envd(&self, uid: &Uid) -> String {
        self.derive(&["envd", uid.as_str()])
    }

    /// The token that allows traffic to the ports of a sandbox that is not public: `trafficAccessToken`.
    pub(crate) fn traffic(&self, uid: &Uid) -> String {
        self.derive(&["traffic", uid.as_str()])
    }

    /// A token for these words, of which the first is its purpose. No two lists of words give the same token, because
    /// words are separated by a byte that none of them may contain.
    pub(crate) fn derive(&self, words: &[&str]) -> String {
        hex::encode(hmac::sign(&self.key, words.join("\0").as_bytes()).as_ref())
    }
}

/// Whether this can be a token at all. What cannot costs no search.
pub(crate) fn is_well_formed(sent: &str) -> bool {
    sent.len() == 64
        && sent
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Compares a token that a caller has sent with the right one, in a time that does not depend on where they differ.
pub(crate) fn is_same_token(sent: &str, right: &str) -> bool {
    sent.as_bytes().ct_eq(right.as_bytes()).into()
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_by_purpose_uid_and_key() {
        let tokens = Tokens::new(&[1; MIN_SIGNING_KEY]);
        let uid = Uid::new("u1");
        let token = tokens.envd(&uid);
        assert_eq!(token.len(), 64);
        assert!(is_well_formed(&token) && !is_well_formed(&token[1..]) && !is_well_formed(""));
        assert_eq!(token, tokens.envd(&uid), "it is derived");
        assert_ne!(token, tokens.traffic(&uid));
        assert_ne!(token, tokens.envd(&Uid::new("u2")));
        assert_ne!(token, Tokens::new(&[2; MIN_SIGNING_KEY]).envd(&uid));
        assert!(is_same_token(&token, &token.clone()));
        assert!(!is_same_token(&token[1..], &token) && !is_same_token("", &token));
    }
}
