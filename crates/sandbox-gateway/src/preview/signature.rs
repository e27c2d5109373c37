//! Tokens in URLs and cookies, which open one port of one instance of a sandbox until they expire.

use sandbox::Uid;

use crate::sandboxes::tokens::{Tokens, is_same_token};

/// Why a token opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenProblem {
    /// It was not made for this port of this instance, or not at all.
    Invalid,
    /// It was valid until some time ago.
    Expired,
}

/// Returns the token that opens the port until `expires`, in seconds since 1970.
///
/// It is bound to the uid, so that a sandbox which is created later under the same id does not accept it.
pub(super) fn sign(tokens: &Tokens, uid: &Uid, port: u16, expires: u64) -> String {
    let tag = tokens.derive(&[
        "preview",
        uid.as_str(),
        &port.to_string(),
        &expires.to_string(),
    ]);
    format!("{expires}.{tag}")
}

/// Checks a token; returns when it expires.
pub(super) fn check(
    tokens: &Tokens,
    uid: &Uid,
    port: u16,
    token: &str,
    now: u64,
) -> Result<u64, TokenProblem> {
    let (expires, _tag) = token.split_once('.').ok_or(TokenProblem::Invalid)?;
    let expires: u64 = expires.parse().map_err(|_| TokenProblem::Invalid)?;
    // The whole text is compared, so that there is one form of each token.
    if !is_same_token(token, &sign(tokens, uid, port, expires)) {
        return Err(TokenProblem::Invalid);
    }
    if expires <= now {
        return Err(TokenProblem::Expired);
    }
    Ok(expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_one_port_of_one_instance_for_some_time() {
        let tokens = Tokens::new(&[1; 32]);
        let (uid, other) = (Uid::new("u1"), Uid::new("u2"));
        let token = sign(&tokens, &uid, 3000, 100);
        assert_eq!(check(&tokens, &uid, 3000, &token, 99), Ok(100));
        assert_eq!(
            check(&tokens, &uid, 3000, &token, 100),
            Err(TokenProblem::Expired)
        );
        let foreign = [
            check(&tokens, &other, 3000, &token, 99),
            check(&tokens, &uid, 3001, &token, 99),
            check(&Tokens::new(&[2; 32]), &uid, 3000, &token, 99),
        ];
        assert_eq!(foreign, [Err(TokenProblem::Invalid); 3]);
    }

    #[test]
    fn a_token_that_was_changed_is_invalid() {
        let tokens = Tokens::new(&[1; 32]);
        let uid = Uid::new("u1");
        let token = sign(&tokens, &uid, 3000, 100);
        let tag = token.split_once('.').unwrap().1;
        for forged in [
            format!("101.{tag}"),
            format!("0100.{tag}"),
            format!("+100.{tag}"),
            format!("100.{}", tag.to_uppercase()),
            format!("100.{}", &tag[1..]),
            format!("100.{tag}0"),
            "100.".to_owned(),
            "100".to_owned(),
            ".".to_owned(),
            String::new(),
            format!("99999999999999999999999.{tag}"),
            // What is derived for other purposes has another form.
            tokens.traffic(&uid),
            format!("100.{}", tokens.traffic(&uid)),
        ] {
            assert_eq!(
                check(&tokens, &uid, 3000, &forged, 99),
                Err(TokenProblem::Invalid),
                "{forged}"
            );
        }
    }
}
