//! The SSH parameters of the server: algorithms, window sizes, keepalives.

use std::borrow::Cow;
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve, PrivateKey};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex};
use sandbox_core::protocol;

/// Delay before a rejected key is answered. It is short, because public keys are not secret, so
/// the time of an answer reveals nothing, and a client with many keys in its agent waits for each.
const REJECTION_DELAY: Duration = Duration::from_millis(50);
/// How many keys a client may offer before its connection is closed.
const MAX_AUTH_ATTEMPTS: usize = 20;
/// Window of a channel in bytes (RFC 4254 §5.2).
pub(super) const WINDOW: u32 = 2 << 20;
/// Window of a channel that receives a tree: its client limits what is on its way itself, to less.
pub(super) const BULK_WINDOW: u32 = 8 << 20;
/// The largest packet that OpenSSH sends and accepts.
const MAX_PACKET: u32 = 32 << 10;
/// Interval of keepalive requests to an idle client, which keep NAT and proxies from closing the
/// connection.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The configuration for russh: an ed25519 host key, public keys only, no old algorithms. The
/// order of the algorithms decides if the client has no preference.
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
        auth_rejection_time: REJECTION_DELAY,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        window_size: WINDOW,
        maximum_packet_size: MAX_PACKET,
        max_auth_attempts: MAX_AUTH_ATTEMPTS,
        // Idle clients may stay. `connection` enforces the login grace, the kernel detects dead
        // TCP peers, and a client that is suspended for a while does not answer keepalives.
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
