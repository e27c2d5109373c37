//! One connection from its first byte to its last.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve, PrivateKey};
use russh::server::{Config, run_stream};
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex};
use sandbox_core::protocol;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::handler::Connection;
use crate::server::Shared;
use crate::transport::{Gate, Transport};

/// How long a rejected key waits for its answer. Keys are public, so time tells nothing about
/// them, and a client with a full agent should not wait for each.
const REJECTION: Duration = Duration::from_millis(50);
/// Keys that a client may try before it is cut off.
const ATTEMPTS: usize = 20;
/// What a client may send on a channel before it must wait for more window.
const WINDOW: u32 = 2 << 20;
/// The largest packet that OpenSSH sends and takes.
const PACKET: u32 = 32 << 10;
/// How often an idle client is asked, which keeps what lies between from forgetting it.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// ed25519 host key, public keys only, no old algorithms. The order is that of preference
/// where a client has none.
pub(crate) fn ssh_config(host_key: PrivateKey) -> Config {
    let ecdsa = [
        EcdsaCurve::NistP256,
        EcdsaCurve::NistP384,
        EcdsaCurve::NistP521,
    ];
    let keys =
        std::iter::once(Algorithm::Ed25519).chain(ecdsa.map(|curve| Algorithm::Ecdsa { curve }));
    Config {
        server_id: SshId::Standard(Cow::Owned(format!(
            "{}{}",
            protocol::SERVER_ID,
            env!("CARGO_PKG_VERSION")
        ))),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: REJECTION,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        max_auth_attempts: ATTEMPTS,
        // Idle clients may stay. The grace for logins is ours; dead TCP peers are found by the
        // kernel; and a count of unanswered keepalives would end a connection whose reading
        // is paused.
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 0,
        nodelay: true,
        preferred: Preferred {
            kex: Cow::Borrowed(&[
                kex::MLKEM768X25519_SHA256,
                kex::CURVE25519,
                kex::CURVE25519_PRE_RFC_8731,
                kex::EXTENSION_SUPPORT_AS_CLIENT,
                kex::EXTENSION_SUPPORT_AS_SERVER,
                kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
                kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
            ]),
            key: keys.collect(),
            cipher: Cow::Borrowed(&[
                cipher::AES_256_GCM,
                cipher::AES_128_GCM,
                cipher::CHACHA20_POLY1305,
                cipher::AES_256_CTR,
            ]),
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::DEFAULT
        },
        ..Config::default()
    }
}

/// Serves a stream until either side ends it, the server stops, or the login takes too long.
pub(crate) async fn serve<S>(shared: Arc<Shared>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let kill = shared.stop.child_token();
    // russh runs the session in a task of its own, which must not outlive this one.
    let _kill_when_dropped = kill.clone().drop_guard();
    let gate = Arc::new(Gate::default());
    let authenticated = Arc::new(AtomicBool::new(false));
    let pending = shared.pending_login(kill.clone());
    let transport = Transport::new(stream, Arc::clone(&gate), kill.clone());
    let handler = Connection::new(
        Arc::clone(&shared),
        gate,
        Arc::clone(&authenticated),
        pending,
    );
    let session = async {
        // Before the session has a task, nothing else listens to the switch for writing.
        let running = tokio::select! {
            running = run_stream(Arc::clone(&shared.ssh), transport, handler) => running?,
            () = kill.cancelled() => return Ok(()),
        };
        running.await
    };
    tokio::pin!(session);
    let ended = tokio::select! {
        ended = &mut session => ended,
        () = tokio::time::sleep(shared.config.login_grace) => {
            if !authenticated.load(Ordering::Relaxed) {
                tracing::debug!("a connection did not authenticate in time");
                kill.cancel();
            }
            session.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}
