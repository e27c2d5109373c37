//! Probes a server's host key without logging in.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use sandbox_core::{ByteStream, ConnectionStage, Deadline, Error, HostKeyProbe, PublicKey, Result};

use super::config::{Purpose, russh_config};
use super::handshake::describe_failure;
use crate::options::SshOptions;
use crate::transport::{KillSwitch, KillableStream};

/// Probes the host keys of image sshds. It begins a connection, takes the key with which the server
/// has signed the key exchange, and ends the connection.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SshHostKeyProbe;

impl SshHostKeyProbe {
    /// Creates a probe. It has no settings.
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl HostKeyProbe for SshHostKeyProbe {
    async fn host_key(&self, stream: Box<dyn ByteStream>, deadline: Deadline) -> Result<PublicKey> {
        let kill_switch = KillSwitch::new();
        // russh's task must end even if this future is dropped.
        let _end = KillOnDrop(kill_switch.clone());
        let offered = Arc::new(OnceLock::new());
        let handler = KeyRecorder {
            offered: Arc::clone(&offered),
        };
        let config = russh_config(&SshOptions::default(), Purpose::Commands);
        let exchange =
            client::connect_stream(config, KillableStream::new(stream, kill_switch), handler);
        let outcome = match tokio::time::timeout(deadline.remaining(), exchange).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => return Err(deadline.error("learn the host key")),
        };
        match (offered.get(), outcome) {
            (Some(key), _) => key.parse(),
            (None, Err(error)) => Err(describe_failure(error)),
            (None, Ok(_)) => Err(Error::connection(
                ConnectionStage::HostKey,
                "the server sent no host key",
                None,
            )),
        }
    }
}

struct KillOnDrop(KillSwitch);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill();
    }
}

struct KeyRecorder {
    offered: Arc<OnceLock<String>>,
}

impl client::Handler for KeyRecorder {
    type Error = russh::Error;

    /// russh has verified the signature. The refusal ends the connection before anything else is sent.
    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        if let PublicKeyOrCertificate::PublicKey { key, .. } = offered {
            // Only the first key is recorded.
            drop(self.offered.set(key.to_openssh()?));
        }
        Ok(false)
    }
}
