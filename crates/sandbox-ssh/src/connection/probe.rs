//! An SSH server's host key, asked for without logging in.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use sandbox_core::{ByteStream, ConnectionStage, Deadline, Error, HostKeyProbe, PublicKey, Result};

use super::config::{Purpose, config};
use super::handshake::refused;
use crate::options::SshOptions;
use crate::transport::{KillSwitch, KillableStream};

/// Learns the host keys of servers that have their own. It begins a connection, takes the key
/// that the server has signed the exchange with, and goes no further.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SshHostKeyProbe;

impl SshHostKeyProbe {
    /// One that needs no settings: what is spoken is fixed.
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl HostKeyProbe for SshHostKeyProbe {
    async fn host_key(&self, stream: Box<dyn ByteStream>, deadline: Deadline) -> Result<PublicKey> {
        let kill_switch = KillSwitch::new();
        // Also when this future is dropped: russh's task has nothing else to end by.
        let _end = Ended(kill_switch.clone());
        let offered = Arc::new(OnceLock::new());
        let learner = Learner {
            offered: Arc::clone(&offered),
        };
        let config = config(&SshOptions::default(), Purpose::Commands);
        let exchange =
            client::connect_stream(config, KillableStream::new(stream, kill_switch), learner);
        let outcome = match tokio::time::timeout(deadline.remaining(), exchange).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => return Err(deadline.error("learn the host key")),
        };
        match (offered.get(), outcome) {
            (Some(key), _) => key.parse(),
            (None, Err(error)) => Err(refused(error)),
            (None, Ok(_)) => Err(Error::connection(
                ConnectionStage::HostKey,
                "the server showed no host key",
                None,
            )),
        }
    }
}

struct Ended(KillSwitch);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill();
    }
}

struct Learner {
    offered: Arc<OnceLock<String>>,
}

impl client::Handler for Learner {
    type Error = russh::Error;

    /// The signature was verified by russh. A refusal ends the connection before anything else
    /// is said.
    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        if let PublicKeyOrCertificate::PublicKey { key, .. } = offered {
            // It is asked once.
            drop(self.offered.set(key.to_openssh()?));
        }
        Ok(false)
    }
}
