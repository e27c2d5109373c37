//! How connections are set up: algorithms, windows, time limits.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use russh::keys::Algorithm;
use russh::{Preferred, SshId, cipher, client, compression, kex};
use sandbox_core::protocol;

use crate::options::SshOptions;

/// The largest packet that russh takes.
const MAX_PACKET: u32 = 65_535;

/// The most data that a server may send in one message of a connection on which a port inside is served.
pub(super) const LISTENING_PACKET: u32 = 32 << 10;

/// The purpose of a connection, which decides how much may be in flight on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Commands,
    Files,
    /// Serving a port inside.
    Listening,
}

impl Purpose {
    /// The name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Files => "files",
            Self::Listening => "listening",
        }
    }
}

/// How connections to one server are set up.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(super) config: Arc<client::Config>,
    pub(crate) attempt_limit: Duration,
    pub(super) silence: Duration,
    pub(super) queue: Arc<HandshakeQueue>,
}

/// Serialises the handshakes with one sandbox once its server has hung up on one, because it may
/// limit the connections that are not logged in yet (OpenSSH's MaxStartups).
#[derive(Default)]
pub(super) struct HandshakeQueue {
    pub(super) one_by_one: AtomicBool,
    pub(super) current: tokio::sync::Mutex<()>,
}

impl Setup {
    pub(crate) fn new(options: &SshOptions, purpose: Purpose) -> Self {
        Self {
            config: russh_config(options, purpose),
            attempt_limit: options.connect_timeout,
            silence: options.silence_timeout,
            queue: Arc::default(),
        }
    }

    /// For connections of another purpose to the same server.
    pub(crate) fn with_purpose(&self, options: &SshOptions, purpose: Purpose) -> Self {
        Self {
            config: russh_config(options, purpose),
            ..self.clone()
        }
    }
}

/// The configuration of russh for connections of this purpose.
pub(super) fn russh_config(options: &SshOptions, purpose: Purpose) -> Arc<client::Config> {
    let (window_size, maximum_packet_size) = match purpose {
        Purpose::Commands => (2 << 20, MAX_PACKET),
        // The window limits the bytes in flight, which matters for long round trips.
        Purpose::Files => (8 << 20, MAX_PACKET),
        // What is in memory is bounded elsewhere (`incoming_queue`): the window only limits an upload over a long round trip.
        Purpose::Listening => (512 << 10, LISTENING_PACKET),
    };
    // How many packets of a channel wait to be read: at most 8 MiB, and 16 MiB.
    let channel_buffer_size = match purpose {
        Purpose::Commands => 128,
        Purpose::Files => 256,
        // It is not used.
        Purpose::Listening => 1,
    };
    Arc::new(client::Config {
        client_id: SshId::Standard(Cow::Owned(format!(
            "{}{}",
            protocol::CLIENT_ID,
            env!("CARGO_PKG_VERSION")
        ))),
        window_size,
        maximum_packet_size,
        channel_buffer_size,
        preferred: preferred_algorithms(),
        keepalive_interval: Some(options.keepalive_interval),
        keepalive_max: options.keepalive_max,
        // russh's own limit also fires if a slow reader blocked the connection.
        inactivity_timeout: None,
        nodelay: true,
        ..client::Config::default()
    })
}

fn preferred_algorithms() -> Preferred {
    Preferred {
        kex: Cow::Borrowed(&[
            kex::CURVE25519,
            kex::CURVE25519_PRE_RFC_8731,
            kex::MLKEM768X25519_SHA256,
            kex::EXTENSION_SUPPORT_AS_CLIENT,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        ]),
        key: Cow::Borrowed(&[Algorithm::Ed25519]),
        host_key_certificates: Cow::Borrowed(&[]),
        // The first two need half the time of the third where the processor has AES.
        cipher: Cow::Borrowed(&[
            cipher::AES_256_GCM,
            cipher::AES_128_GCM,
            cipher::CHACHA20_POLY1305,
        ]),
        compression: Cow::Borrowed(&[compression::NONE]),
        ..Preferred::DEFAULT
    }
}
