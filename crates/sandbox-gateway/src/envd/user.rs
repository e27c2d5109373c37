//! The user that a request is to act as.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use sandbox::{GuestFiles, Sandbox};

use super::failure::Failure;
use crate::connect::Code;

/// Returns the user that a call names, as the name of `Authorization: Basic`; `None` if it names none.
///
/// # Errors
///
/// If the header is malformed.
pub(super) fn requested_user(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let malformed = || {
        Failure::new(
            Code::Unauthenticated,
            "the header Authorization is malformed",
        )
    };
    let (scheme, credentials) = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .ok_or_else(malformed)?;
    // Proxies of the caller may use another scheme for themselves.
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let decoded = STANDARD
        .decode(credentials.trim())
        .ok()
        .and_then(|decoded| String::from_utf8(decoded).ok())
        .ok_or_else(malformed)?;
    let user = decoded.split(':').next().unwrap_or_default();
    Ok(Some(user.to_owned()).filter(|user| !user.is_empty()))
}

/// The files of a sandbox, for this user; `None` is that of the sandbox's server.
pub(super) fn files_of<'a>(sandbox: &'a Sandbox, user: Option<&'a str>) -> GuestFiles<'a> {
    let files = sandbox.guest_files();
    match user {
        Some(user) => files.as_user(user),
        None => files,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(value: &str) -> Result<Option<String>, Failure> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        requested_user(&headers)
    }

    #[test]
    fn the_user_is_the_name_of_basic_authorization() {
        assert_eq!(requested_user(&HeaderMap::new()).unwrap(), None);
        let cases = [
            ("Basic dXNlcjo=", Some("user")),
            ("basic cm9vdDp4Onk=", Some("root")),
            ("Basic Og==", None),
            ("Bearer abc", None),
        ];
        for (value, expected) in cases {
            assert_eq!(user(value).unwrap().as_deref(), expected, "{value}");
        }
        for malformed in ["Basic", "Basic !", "Basic /w=="] {
            assert!(user(malformed).is_err(), "{malformed}");
        }
    }
}
