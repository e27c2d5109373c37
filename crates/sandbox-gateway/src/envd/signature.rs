//! Signed URLs: `/files` without headers, for browsers and curl.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

use super::query::FilesQuery;

/// What a URL is signed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// The signature of a URL, as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Signature<'a> {
    operation: Operation,
    query: &'a FilesQuery,
    sent: &'a [u8],
}

impl<'a> Signature<'a> {
    /// Returns the signature of a request; `None` if it has none.
    pub(super) fn of(operation: Operation, query: &'a FilesQuery) -> Option<Self> {
        let sent = query.signature.as_deref().filter(|sent| !sent.is_empty())?;
        Some(Self {
            operation,
            query,
            sent,
        })
    }

    /// Whether it can be valid for any token. What is not costs no comparison.
    pub(super) fn is_well_formed(&self) -> bool {
        self.sent.len() == PREFIX.len() + ENCODED_LENGTH && self.sent.starts_with(PREFIX.as_bytes())
    }

    /// Whether it was made with this token. The comparison takes as long for a wrong one.
    pub(super) fn is_made_with(&self, token: &str) -> bool {
        sign(self.operation, self.query, token)
            .as_bytes()
            .ct_eq(self.sent)
            .into()
    }

    /// Whether it has expired. An expiry that is no number has.
    pub(super) fn is_expired(&self, now: SystemTime) -> bool {
        let Some(expiration) = &self.query.signature_expiration else {
            return false;
        };
        let seconds = std::str::from_utf8(expiration)
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        seconds.is_none_or(|seconds| seconds < now)
    }
}

const PREFIX: &str = "v1_";
/// The length of 32 bytes in base64 without padding.
const ENCODED_LENGTH: usize = 43;

/// Signs a request: `"v1_" + base64(sha256(path:operation:user:token[:expiration]))`, all as in the query.
fn sign(operation: Operation, query: &FilesQuery, token: &str) -> String {
    let mut parts: Vec<&[u8]> = vec![
        query.path.as_deref().unwrap_or_default(),
        operation.name().as_bytes(),
        query.username.as_deref().unwrap_or_default(),
        token.as_bytes(),
    ];
    parts.extend(query.signature_expiration.as_deref());
    let hash = digest(&SHA256, &parts.join(&b":"[..]));
    format!("{PREFIX}{}", STANDARD_NO_PAD.encode(hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn query(text: &str) -> FilesQuery {
        FilesQuery::parse(text)
    }

    #[test]
    fn signatures_are_those_of_the_sdk() {
        // As `get_signature` of PyPI e2b 2.63.0 returns them.
        let cases = [
            (Operation::Read, "path=%2Fa.txt", SIGNED_READ),
            (
                Operation::Write,
                "path=a+b.txt&username=root&signature_expiration=1700000000",
                SIGNED_WRITE,
            ),
        ];
        for (operation, text, expected) in cases {
            assert_eq!(sign(operation, &query(text), "token"), expected, "{text}");
        }
    }

    const SIGNED_READ: &str = "v1_Hyqywm+sIOm8xmClystWihiNB2aAzZQwN641sxS0txo";
    const SIGNED_WRITE: &str = "v1_8zQKdyBIpDcT6Ik+P1IUYorPNqZpVSPlRiTiFF+Sbxc";

    #[test]
    fn each_part_is_bound() {
        let base = "path=a&username=u&signature_expiration=9";
        let signed = sign(Operation::Read, &query(base), "t");
        let with = |text: &str| query(&format!("{text}&signature={}", signed.replace('+', "%2B")));
        let check = |operation, query: &FilesQuery, token| {
            Signature::of(operation, query).unwrap().is_made_with(token)
        };
        assert!(check(Operation::Read, &with(base), "t"));
        assert!(!check(Operation::Write, &with(base), "t"));
        assert!(!check(Operation::Read, &with(base), "other"));
        for text in [
            "path=b&username=u&signature_expiration=9",
            "path=a&username=v&signature_expiration=9",
            "path=a&username=u&signature_expiration=10",
            "path=a&username=u",
            "path=a&signature_expiration=9",
        ] {
            assert!(!check(Operation::Read, &with(text), "t"), "{text}");
        }
    }

    #[test]
    fn only_what_can_be_a_signature_is_compared() {
        let good = sign(Operation::Read, &query("path=a"), "t");
        let well_formed = |sent: &str| {
            let query = query(&format!("path=a&signature={}", sent.replace('+', "%2B")));
            Signature::of(Operation::Read, &query).map(|signature| signature.is_well_formed())
        };
        assert_eq!(well_formed(&good), Some(true));
        assert_eq!(well_formed(""), None);
        assert_eq!(well_formed("v1_x"), Some(false));
        assert_eq!(well_formed(&format!("{good}=")), Some(false));
        assert_eq!(well_formed(&good.replace("v1_", "v2_")), Some(false));
    }

    #[test]
    fn signatures_expire_after_their_second() {
        let now = UNIX_EPOCH + Duration::from_secs(100);
        for (text, expected) in [
            ("signature=s", false),
            ("signature=s&signature_expiration=99", true),
            ("signature=s&signature_expiration=100", false),
            ("signature=s&signature_expiration=-1", true),
            ("signature=s&signature_expiration=", true),
            (
                "signature=s&signature_expiration=99999999999999999999",
                true,
            ),
        ] {
            let query = query(text);
            let signature = Signature::of(Operation::Read, &query).unwrap();
            assert_eq!(signature.is_expired(now), expected, "{text}");
        }
    }
}
