//! Asks sandbox-sshd to run a command as another user.

use sandbox_core::guest::{Refusal, RefusalCode};
use sandbox_core::{Error, Result, protocol};

use super::request::{check_sent, is_accepted};
use crate::channel::OpenChannel;
use crate::text::escape;

/// The longest name that is sent: more than useradd(8) accepts.
const MAX_NAME: usize = 256;

/// Checks what no server could run a command as.
///
/// # Errors
///
/// [`Error::Invalid`] for a name that is empty, too long, or has characters that no list of users can have.
pub(super) fn check_user(user: &str) -> Result<()> {
    let is_valid = (1..=MAX_NAME).contains(&user.len())
        && !user.contains(|c: char| c == ':' || c.is_control());
    if is_valid {
        return Ok(());
    }
    Err(Error::invalid(
        "user",
        escape(user),
        format!("use the name or the number of a user, of at most {MAX_NAME} bytes"),
    ))
}

/// Requests that the channel's command runs as `user`, and waits for the reply.
///
/// # Errors
///
/// * [`Error::Refused`] with [`RefusalCode::UnknownUser`];
/// * [`Error::Unsupported`] if the server cannot run commands as another user;
/// * [`Error::Connection`].
pub(super) async fn request_user(channel: &mut OpenChannel, user: &str) -> Result<()> {
    if ask(channel, protocol::RUN_AS, user).await? {
        return Ok(());
    }
    // A server that does not know these variables accepts neither.
    if ask(channel, protocol::UNKNOWN_USER, user).await? {
        let message = format!("there is no user {user:?} in the sandbox");
        return Err(Error::Refused(Box::new(Refusal::new(
            RefusalCode::UnknownUser,
            message,
        ))));
    }
    Err(Error::unsupported_because(
        format!("running commands as {user:?}"),
        format!("the server ({})", channel.conn().server()),
        "it is not root, may not change its user, or is older than this client",
        "create the sandbox from an image whose user is root, or run the command as the sandbox's own user",
    ))
}

async fn ask(channel: &mut OpenChannel, variable: &'static str, user: &str) -> Result<bool> {
    let result = channel.write.set_env(true, variable, user).await;
    check_sent(channel, result)?;
    is_accepted(channel).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_list_can_have_are_invalid() {
        for user in ["root", "1000", "a user", "www-data"] {
            check_user(user).unwrap();
        }
        for user in ["", "a:b", "a\nb", "a\0b", &"x".repeat(MAX_NAME + 1)] {
            assert!(
                matches!(check_user(user), Err(Error::Invalid { .. })),
                "{user:?}"
            );
        }
    }
}
