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
use super::conn::Conn;
use super::state::{ConnectionState, Handler};
use crate::text::escaped;
use crate::transport::{KillSwitch, KillableStream};

/// Time between two attempts to reach a server that does not listen yet.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// How long a server that was reached may go on hanging up: it frees a place among those who have not
/// logged in a moment after it was told so, and a busy machine makes that long.
const CROWDED: Duration = Duration::from_secs(3);

/// Connects, trying again until the deadline while the server cannot be reached. A wrong host
/// key and a refused user key are final. Dropping the future leaves nothing behind.
pub(crate) async fn connect(
    connector: &dyn Connector,
    access: &Access,
    setup: &Setup,
    deadline: Deadline,
    attempts: u32,
) -> Result<Conn> {
    let begun = tokio::time::Instant::now();
    let mut pause = RETRY.0;
    let mut tried = 0;
    let mut earlier = None;
    loop {
        let reached = AtomicBool::new(false);
        let attempt = attempt(connector, access, setup, deadline, &reached);
        let limit = setup.attempt_limit.min(deadline.remaining());
        let Failed { error, astray } = match tokio::time::timeout(limit, attempt).await {
            Ok(Ok(conn)) => return Ok(conn),
            Ok(Err(failed)) => failed,
            // An attempt that the deadline cut short says less than one that failed.
            Err(_elapsed) => match earlier.take_if(|_| limit < setup.attempt_limit) {
                Some(earlier) => return Err(earlier),
                // What is waited for may have nobody to answer yet: that leads nobody astray.
                None => Failed {
                    error: silent(limit),
                    astray: reached.load(Ordering::Relaxed),
                },
            },
        };
        tried += 1;
        let error = error.with_sandbox(&access.id);
        let another_way = astray && connector.report_wrong_server(&access.endpoint);
        let crowded = reached.load(Ordering::Relaxed) && begun.elapsed() < CROWDED;
        let enough =
            (tried >= attempts && !crowded) || connector.should_stop_retrying(&access.endpoint);
        if !(error.is_unreachable() || another_way) || enough || deadline.remaining() <= pause {
            return Err(error);
        }
        tracing::debug!(sandbox.id = %access.id, %error, tried, "not reachable yet");
        earlier = Some(error);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

fn silent(limit: Duration) -> Error {
    let message = format!("its SSH server did not answer within {limit:?}");
    Error::connection(ConnectionStage::Dial, message, None)
}

/// Whether another server answered than the one that is meant.
fn is_about_the_key(error: &Error) -> bool {
    matches!(error, Error::Connection(error) if error.stage == ConnectionStage::HostKey)
}

/// Why an attempt failed.
struct Failed {
    error: Error,
    /// What answered is not the server, whatever the reason.
    astray: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            error,
            astray: false,
        }
    }
}

/// Ends a connection that did not come about.
struct Abandon(Option<KillSwitch>);

impl Drop for Abandon {
    fn drop(&mut self) {
        if let Some(kill_switch) = self.0.take() {
            kill_switch.kill();
        }
    }
}

async fn attempt(
    connector: &dyn Connector,
    access: &Access,
    setup: &Setup,
    deadline: Deadline,
    reached: &AtomicBool,
) -> Result<Conn, Failed> {
    let pin = PublicKey::from_openssh(access.host_key.as_str())
        .map_err(|source| unreadable("host key", source))?;
    let key = PrivateKey::from_openssh(access.client_key.expose())
        .map_err(|source| unreadable("user key", source))?;
    let queue = &setup.queue;
    let _turn = if queue.one_by_one.load(Ordering::Relaxed) {
        Some(queue.turn.lock().await)
    } else {
        None
    };
    let stream = connector.connect(&access.endpoint, deadline).await?;
    reached.store(true, Ordering::Relaxed);
    let kill_switch = KillSwitch::new();
    let mut abandon = Abandon(Some(kill_switch.clone()));
    let state = Arc::new(ConnectionState::new(kill_switch.clone()));
    let stream = KillableStream::new(stream, kill_switch);
    let handler = Handler::new(pin, Arc::clone(&state));
    let mut handle = client::connect_stream(Arc::clone(&setup.config), stream, handler)
        .await
        .map_err(|error| {
            let no_ssh = matches!(error, russh::Error::Version);
            let error = handshake_failed(error, &state, access);
            let astray = no_ssh || is_about_the_key(&error);
            // From now on nobody is turned away because of another of ours.
            queue
                .one_by_one
                .fetch_or(error.is_unreachable(), Ordering::Relaxed);
            Failed { error, astray }
        })?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    match handle.authenticate_publickey(&access.user, key).await {
        Ok(AuthResult::Success) => {}
        // This is also how russh reports that the connection was lost meanwhile.
        Ok(AuthResult::Failure {
            remaining_methods, ..
        }) if remaining_methods.is_empty()
            && (handle.is_closed() || state.kill_switch.is_dead()) =>
        {
            return Err(lost(
                state
                    .end_reason()
                    .unwrap_or("the connection was lost while it was authenticated"),
                None,
            )
            .into());
        }
        Ok(AuthResult::Failure {
            partial_success: true,
            ..
        }) => {
            return Err(Error::connection(
                ConnectionStage::Auth,
                "the server wants more than a key; let it accept public-key authentication alone",
                None,
            )
            .into());
        }
        Ok(AuthResult::Failure { .. }) => {
            return Err(Error::connection(
                ConnectionStage::Auth,
                format!(
                    "the server does not accept this sandbox's key for the user {:?}: it is not the instance that \
                     the key was made for, its authorized keys were changed, or, if the image brings the server, it \
                     has no such user or looks for the keys elsewhere (SANDBOX_SSH_USER, \
                     SANDBOX_SSH_AUTHORIZED_KEYS_FILE)",
                    access.user
                ),
                None,
            )
            .into());
        }
        Err(error) => {
            return Err(lost(
                "the connection was lost while it was authenticated",
                Some(error.into()),
            )
            .into());
        }
    }
    if let Some(version) = protocol::server_version(state.server_id())
        && !protocol::is_compatible(version)
    {
        return Err(another_version(version).into());
    }
    abandon.0 = None;
    Ok(Conn::new(handle, state, access.user.clone(), setup.silence))
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
                 another sandbox answers there now; look up this sandbox again, or delete it and make a new one"
            ),
            None,
        );
    }
    refused(error)
}

/// Why two sides did not come to terms.
pub(super) fn refused(error: russh::Error) -> Error {
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
        russh::Error::Version => (ConnectionStage::Dial, "what answers there is no SSH server"),
        _ => (
            ConnectionStage::Dial,
            "its SSH server ended the connection before it was set up",
        ),
    };
    Error::connection(stage, message, Some(error.into()))
}

/// Asked only once the pinned key has proved whose word it is.
fn another_version(version: &str) -> Error {
    Error::unsupported_because(
        format!("sandbox-sshd {}", escaped(version)),
        "this client",
        format!(
            "it works with version {} and those compatible with it",
            protocol::VERSION
        ),
        "put the server of the client's own version into the image (cargo xtask image builds it), or name that image \
         in SANDBOX_SERVER_IMAGE",
    )
}

fn lost(message: &str, source: Option<BoxError>) -> Error {
    Error::connection(ConnectionStage::Dial, message, source)
}

fn unreadable(what: &str, source: russh::keys::ssh_key::Error) -> Error {
    Error::connection(
        ConnectionStage::Auth,
        format!("its {what} cannot be read"),
        Some(source.into()),
    )
}
