//! The user that a request is to act as.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use sandbox::{FilePath, Sandbox};

use super::failure::Failure;
use crate::connect::Code;

/// How much of the sandbox's list of users is looked at.
const MAX_USERS: u64 = 1 << 20;

/// Returns the user that a call names, as the name of `Authorization: Basic`; `None` for the sandbox's own.
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

/// Checks that files can be accessed as this user, which only the user of the sandbox's server can be: others would find
/// files that they do not own.
///
/// # Errors
///
/// If there is no such user, or it is another one.
pub(super) async fn check_file_user(
    sandbox: &Sandbox,
    user: Option<&str>,
) -> Result<(), FileUserError> {
    let Some(user) = user else {
        return Ok(());
    };
    let own = own_user(sandbox).await?;
    if own.as_deref() == Some(user) {
        return Ok(());
    }
    if !has_user(sandbox, user).await? {
        return Err(invalid_user(user).into());
    }
    let own = own.unwrap_or_else(|| "its own user".to_owned());
    let message = format!("files in this sandbox are accessed as {own:?}, not as {user:?}");
    Err(Failure::new(Code::Unimplemented, message).into())
}

/// Why files cannot be accessed as a user.
#[derive(Debug)]
pub(super) enum FileUserError {
    /// Because of the user.
    User(Failure),
    /// Because the sandbox does not answer.
    Sandbox(sandbox::Error),
}

impl From<Failure> for FileUserError {
    fn from(failure: Failure) -> Self {
        Self::User(failure)
    }
}

impl From<sandbox::Error> for FileUserError {
    fn from(error: sandbox::Error) -> Self {
        Self::Sandbox(error)
    }
}

/// The error for a user that does not exist.
pub(super) fn invalid_user(user: &str) -> Failure {
    Failure::new(Code::Unauthenticated, format!("invalid username: '{user}'"))
}

/// The user that the sandbox's server runs as.
async fn own_user(sandbox: &Sandbox) -> sandbox::Result<Option<String>> {
    let mut environment = sandbox.environment().await?;
    let mut take = |name: &str| {
        let value = environment.remove(&FilePath::from(name))?;
        value.to_str().map(str::to_owned)
    };
    Ok(take("USER").or_else(|| take("LOGNAME")))
}

async fn has_user(sandbox: &Sandbox, user: &str) -> sandbox::Result<bool> {
    let files = sandbox.guest_files();
    let mut reader = files.read("/etc/passwd", 0, Some(MAX_USERS)).await?;
    let mut users = Vec::new();
    while let Some(part) = reader.next().await? {
        users.extend_from_slice(&part);
    }
    Ok(is_listed(&users, user))
}

fn is_listed(users: &[u8], user: &str) -> bool {
    users
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b':').next())
        .any(|name| !name.is_empty() && name == user.as_bytes())
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

    #[test]
    fn only_whole_names_are_users() {
        let users = b"root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n";
        assert!(is_listed(users, "user") && is_listed(users, "root"));
        assert!(!is_listed(users, "use") && !is_listed(users, "x") && !is_listed(users, ""));
    }
}
