//! From an endpoint to an authenticated connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use russh::AlgorithmKind;
use russh::client::{self, AuthResult};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use sandbox_core::{
    Access, BoxError, ConnectionStage, Connector, Deadline, Error, Result, protocol,
};

use super::config::Setup;
use super::conn::Connection;
use super::state::{ConnectionState, Handler};
use crate::text::escape;
use crate::transport::{KillSwitch, KillableStream};

/// The first and the longest pause between two attempts to reach a server.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// How often a server that was reached may hang up because of its MaxStartups: for three seconds or more, with the pauses.
/// It frees the place of an ended connection with a delay, which is long on a busy machine, where attempts are slow, too.
/// The time that an attempt waits for others of this process says nothing about the server.
const MAX_STARTUPS_ATTEMPTS: u32 = 32;

const LOST_DURING_AUTH: &str = "the connection was lost during authentication";

/// Connects, retrying until the deadline while the server cannot be reached. A wrong host key and a
/// refused user key are final. Dropping the future ends the connection.
pub(crate) async fn connect(
    connector: &dyn Connector,
    access: &Access,
    setup: &Setup,
    deadline: Deadline,
    attempts: u32,
) -> Result<Connection> {
    let mut pause = RETRY_PAUSE.0;
    let mut attempted = 0;
    let mut earlier = None;
    loop {
        let reached = AtomicBool::new(false);
        let attempt = try_connect(connector, access, setup, deadline, &reached);
        let limit = setup.attempt_limit.min(deadline.remaining());
        let attempted_in_time = tokio::time::timeout(limit, attempt).await;
        // One that accepts connections and says nothing is not full.
        let has_hung_up = attempted_in_time.is_ok() && reached.load(Ordering::Relaxed);
        let FailedAttempt {
            error,
            wrong_server,
        } = match attempted_in_time {
            Ok(Ok(conn)) => return Ok(conn),
            Ok(Err(failed)) => failed,
            // The error of an earlier attempt has more information than an attempt that the deadline
            // cut short.
            Err(_elapsed) => match earlier.take_if(|_| limit < setup.attempt_limit) {
                Some(earlier) => return Err(earlier),
                None => FailedAttempt {
                    error: no_answer_error(limit),
                    // A peer that accepts a connection and never answers is another server. Without a
                    // connection, the server may just not listen yet.
                    wrong_server: reached.load(Ordering::Relaxed),
                },
            },
        };
        attempted += 1;
        let error = error.with_sandbox(&access.id);
        let has_other_route = wrong_server && connector.report_wrong_server(&access.endpoint);
        let may_be_full = has_hung_up && attempted < MAX_STARTUPS_ATTEMPTS;
        let enough = (attempted >= attempts && !may_be_full)
            || connector.should_stop_retrying(&access.endpoint);
        if !(error.is_unreachable() || has_other_route) || enough || deadline.remaining() <= pause {
            return Err(error);
        }
        tracing::debug!(sandbox.id = %access.id, %error, attempts = attempted, "not reachable yet");
        earlier = Some(error);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE.1);
    }
}

fn no_answer_error(limit: Duration) -> Error {
    let message = format!("its SSH server did not answer within {limit:?}");
    Error::connection(ConnectionStage::Dial, message, None)
}

/// Whether the error shows that another server answered.
fn is_host_key_error(error: &Error) -> bool {
    matches!(error, Error::Connection(error) if error.stage == ConnectionStage::HostKey)
}

struct FailedAttempt {
    error: Error,
    /// The peer is not the sandbox's server.
    wrong_server: bool,
}

impl From<Error> for FailedAttempt {
    fn from(error: Error) -> Self {
        Self {
            error,
            wrong_server: false,
        }
    }
}

/// Closes a connection whose handshake failed or was cancelled.
struct KillOnDrop(Option<KillSwitch>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(kill_switch) = self.0.take() {
            kill_switch.kill();
        }
    }
}

async fn try_connect(
    connector: &dyn Connector,
    access: &Access,
    setup: &Setup,
    deadline: Deadline,
    reached: &AtomicBool,
) -> Result<Connection, FailedAttempt> {
    let pin = PublicKey::from_openssh(access.host_key.as_str())
        .map_err(|source| unreadable_key_error("host key", source))?;
    let key = PrivateKey::from_openssh(access.client_key.expose())
        .map_err(|source| unreadable_key_error("user key", source))?;

    // Open the stream, one at a time if the server limits concurrent handshakes.
    let queue = &setup.queue;
    let _one_at_a_time = if queue.one_by_one.load(Ordering::Relaxed) {
        Some(queue.current.lock().await)
    } else {
        None
    };
    let stream = connector.connect(&access.endpoint, deadline).await?;
    reached.store(true, Ordering::Relaxed);

    // Exchange keys, and check the host key.
    let kill_switch = KillSwitch::new();
    let mut guard = KillOnDrop(Some(kill_switch.clone()));
    let state = Arc::new(ConnectionState::new(kill_switch.clone()));
    let stream = KillableStream::new(stream, kill_switch);
    let handler = Handler::new(pin, Arc::clone(&state));
    let mut handle = client::connect_stream(Arc::clone(&setup.config), stream, handler)
        .await
        .map_err(|error| {
            let no_ssh = matches!(error, russh::Error::Version);
            let error = handshake_failed(error, &state, access);
            let wrong_server = no_ssh || is_host_key_error(&error);
            // From now on, no handshake is refused because of another one.
            queue
                .one_by_one
                .fetch_or(error.is_unreachable(), Ordering::Relaxed);
            FailedAttempt {
                error,
                wrong_server,
            }
        })?;

    authenticate(&mut handle, &state, access, key).await?;

    // The version counts only now that the server has proved its identity.
    if let Some(version) = protocol::server_version(state.server_id())
        && !protocol::is_compatible(version)
    {
        return Err(incompatible_version_error(version).into());
    }
    guard.0 = None;
    Ok(Connection::new(
        handle,
        state,
        access.user.clone(),
        setup.silence,
    ))
}

async fn authenticate(
    handle: &mut client::Handle<Handler>,
    state: &ConnectionState,
    access: &Access,
    key: PrivateKey,
) -> Result<()> {
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    match handle.authenticate_publickey(&access.user, key).await {
        Ok(AuthResult::Success) => Ok(()),
        // russh also reports a connection that was lost meanwhile as a failure.
        Ok(AuthResult::Failure {
            remaining_methods, ..
        }) if remaining_methods.is_empty()
            && (handle.is_closed() || state.kill_switch.is_dead()) =>
        {
            Err(lost_error(
                state.end_reason().unwrap_or(LOST_DURING_AUTH),
                None,
            ))
        }
        Ok(AuthResult::Failure {
            partial_success: true,
            ..
        }) => Err(Error::connection(
            ConnectionStage::Auth,
            "the server requires more than a key; let it accept public-key authentication alone",
            None,
        )),
        Ok(AuthResult::Failure { .. }) => Err(Error::connection(
            ConnectionStage::Auth,
            format!(
                "the server does not accept this sandbox's key for the user {:?}: it is not the instance that \
                     the key was made for, its authorized keys were changed, or, if the image brings the server, it \
                     has no such user or looks for the keys elsewhere (SANDBOX_SSH_USER, \
                     SANDBOX_SSH_AUTHORIZED_KEYS_FILE)",
                access.user
            ),
            None,
        )),
        Err(error) => Err(lost_error(LOST_DURING_AUTH, Some(error.into()))),
    }
}

fn handshake_failed(error: russh::Error, state: &ConnectionState, access: &Access) -> Error {
    if let Some(offered) = state.wrong_key() {
        let pinned = access
            .host_key
            .fingerprint()
            .unwrap_or_else(|_| "unknown".into());
        return Error::connection(
            ConnectionStage::HostKey,
            format!(
                "the server at its address has the host key {offered}, not {pinned}: another machine or \
                 another sandbox answers there now; look up this sandbox again, or delete it and create a new one"
            ),
            None,
        );
    }
    describe_failure(error)
}

/// Describes a failed handshake.
pub(super) fn describe_failure(error: russh::Error) -> Error {
    let (stage, message) = match &error {
        russh::Error::NoCommonAlgo {
            kind: AlgorithmKind::Key,
            ..
        } => (
            ConnectionStage::HostKey,
            "the server has no ed25519 host key; give it one (ssh-keygen -A)",
        ),
        russh::Error::NoCommonAlgo { .. } => (
            ConnectionStage::HostKey,
            "the server offers only outdated algorithms; let it use curve25519 and AES-GCM or ChaCha20-Poly1305",
        ),
        russh::Error::WrongServerSig
        | russh::Error::Signature(_)
        | russh::Error::SshKey(_)
        | russh::Error::UnknownKey => (
            ConnectionStage::HostKey,
            "the server could not prove that it has the pinned host key",
        ),
        russh::Error::Version => (ConnectionStage::Dial, "the peer is not an SSH server"),
        _ => (
            ConnectionStage::Dial,
            "its SSH server ended the connection before it was set up",
        ),
    };
    Error::connection(stage, message, Some(error.into()))
}

fn incompatible_version_error(version: &str) -> Error {
    Error::unsupported_because(
        format!("sandbox-sshd {}", escape(version)),
        "this client",
        format!(
            "it works with version {} and those compatible with it",
            protocol::VERSION
        ),
        "put the server of the client's own version into the image (cargo xtask image builds it), or name that image \
         in SANDBOX_SERVER_IMAGE",
    )
}

fn lost_error(message: &str, source: Option<BoxError>) -> Error {
    Error::connection(ConnectionStage::Dial, message, source)
}

fn unreadable_key_error(what: &str, source: russh::keys::ssh_key::Error) -> Error {
    Error::connection(
        ConnectionStage::Auth,
        format!("its {what} cannot be read"),
        Some(source.into()),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use async_trait::async_trait;
    use sandbox_core::{ByteStream, Endpoint, KeyPair, Uid};

    use super::*;
    use crate::connection::Purpose;
    use crate::options::SshOptions;

    /// Ends every connection at once, and takes that long to accept it.
    #[derive(Debug)]
    struct Full(Duration, AtomicU32);

    #[async_trait]
    impl Connector for Full {
        async fn connect(&self, _: &Endpoint, _: Deadline) -> Result<Box<dyn ByteStream>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(self.0).await;
            Ok(Box::new(tokio::io::duplex(64).0))
        }
    }

    /// A busy machine makes attempts slower, not fewer: the server frees its places as slowly.
    #[tokio::test(start_paused = true)]
    async fn a_full_server_is_tried_as_often_if_it_is_slow() {
        let access = Access {
            id: "sbx-full".parse().unwrap(),
            uid: Uid::generate().unwrap(),
            user: "sandbox".to_owned(),
            host_key: KeyPair::generate().unwrap().public,
            client_key: KeyPair::generate().unwrap().private,
            endpoint: Endpoint::Memory("full".into()),
        };
        let setup = Setup::new(&SshOptions::default(), Purpose::Commands);
        for delay in [0, 1000].map(Duration::from_millis) {
            let server = Full(delay, AtomicU32::new(0));
            let deadline = Deadline::from_now(Duration::from_secs(60));
            let failed = connect(&server, &access, &setup, deadline, 1).await;
            assert!(failed.is_err_and(|error| error.is_unreachable()));
            assert_eq!(server.1.into_inner(), MAX_STARTUPS_ATTEMPTS, "{delay:?}");
        }
    }
}
