//! The session of one sandbox, and the pools of connections under it.

mod operations;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use sandbox_core::{Access, Connector, Deadline, Result};

use crate::channel::ChannelPool;
use crate::connection::Purpose;
use crate::exec::Timeouts;
use crate::guest::{self, GuestChannels, OPERATIONS_PER_CONNECTION};
use crate::listen::Listening;
use crate::options::SshOptions;
use crate::pool::{Bounds, Dialer, PoolStatus, SlotPool};
use crate::sftp::{self, SftpPool, SftpTimeouts};
use crate::trees::{MAX_TREES, TreeChannels};

/// A session on the pools of one instance.
pub(crate) struct SshSession(pub(crate) Arc<Instance>);

impl std::fmt::Debug for SshSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshSession")
            .field("status", &self.0.status())
            .finish_non_exhaustive()
    }
}

/// All connections to one instance of a sandbox.
pub(crate) struct Instance {
    dialer: Dialer,
    /// Shared by commands whose output is read as it arrives.
    commands: ChannelPool,
    /// One connection for each stream that is read at its caller's pace.
    streams: ChannelPool,
    max_streams: usize,
    files: SftpPool,
    trees: TreeChannels,
    guest: GuestChannels,
    /// Dials connections that serve ports inside.
    listening: Dialer,
    listeners: Mutex<Vec<Weak<Listening>>>,
    timeouts: Timeouts,
}

impl Instance {
    pub(crate) fn new(
        connector: Arc<dyn Connector>,
        access: Arc<Access>,
        options: &SshOptions,
    ) -> Result<Self> {
        let dialer = Dialer::new(connector, access, options, Purpose::Commands);
        let bounds = Bounds {
            channels_per_connection: options.channels_per_connection,
            connections: options.connections,
            max_connections: options.max_connections,
            handshakes: 1,
        };
        let commands = SlotPool::new(dialer.clone(), bounds, None)?;
        let streams = SlotPool::new(
            dialer.clone(),
            Bounds {
                channels_per_connection: 1,
                connections: options.max_streams,
                max_connections: options.max_streams,
                handshakes: 4,
            },
            Some(&commands),
        )?;
        let file_connections = SlotPool::new(
            dialer.with_purpose(options, Purpose::Files),
            Bounds {
                channels_per_connection: 1,
                connections: sftp::MAX_SESSIONS,
                max_connections: sftp::MAX_SESSIONS,
                handshakes: sftp::MAX_SESSIONS,
            },
            None,
        )?;
        let tree_connections = SlotPool::new(
            dialer.with_purpose(options, Purpose::Files),
            Bounds {
                channels_per_connection: 1,
                connections: MAX_TREES,
                max_connections: MAX_TREES,
                handshakes: MAX_TREES,
            },
            None,
        )?;
        let guest_connections = SlotPool::new(
            dialer.clone(),
            Bounds {
                channels_per_connection: OPERATIONS_PER_CONNECTION,
                connections: 1,
                max_connections: guest::MAX_CONNECTIONS,
                handshakes: 4,
            },
            Some(&commands),
        )?;
        let file_timeouts = SftpTimeouts {
            checkout: options.checkout_timeout,
            channel: options.channel_timeout,
            request: options.file_timeout,
        };
        let files = SftpPool::new(ChannelPool::new(file_connections, None), file_timeouts);
        let trees = TreeChannels::new(ChannelPool::new(tree_connections, None), file_timeouts);
        let timeouts = Timeouts {
            checkout: options.checkout_timeout,
            channel: options.channel_timeout,
        };
        Ok(Self {
            listening: dialer.with_purpose(options, Purpose::Listening),
            listeners: Mutex::default(),
            dialer,
            commands: ChannelPool::new(commands, options.prewarm_latency),
            streams: ChannelPool::new(streams, None),
            max_streams: options.max_streams,
            files,
            trees,
            guest: GuestChannels::new(
                ChannelPool::new(guest_connections, options.prewarm_latency),
                timeouts,
            ),
            timeouts,
        })
    }

    /// Makes sure that there is a connection for commands.
    pub(crate) async fn ensure(&self, deadline: Deadline) -> Result<()> {
        self.commands.ensure(deadline).await
    }

    /// Uses another endpoint and key from now on.
    pub(crate) fn set_access(&self, access: &Arc<Access>) {
        self.dialer.set_access(access);
    }

    /// Closes idle, old and dead connections.
    pub(crate) fn reap(&self, options: &SshOptions) {
        self.files.reap(options.idle_timeout);
        for pool in self.pools() {
            pool.reap(options);
        }
    }

    /// Waits until all dropped transfers are cleaned up.
    pub(crate) async fn settle(&self) {
        self.files.settle().await;
        self.trees.settle().await;
    }

    /// Ends every connection.
    pub(crate) fn close(&self) {
        self.files.close();
        self.commands.close();
        self.streams.close();
        self.trees.pool().close();
        self.guest.pool().close();
        for listener in self.listeners().drain(..) {
            if let Some(listening) = listener.upgrade() {
                listening.end();
            }
        }
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Listening>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_connections(&self) -> bool {
        self.pools()
            .iter()
            .any(|pool| pool.status().connections > 0)
    }

    /// The status of the pools for commands, streams and files.
    pub(crate) fn status(&self) -> [PoolStatus; 3] {
        let [commands, mut streams, mut files, trees, guest] =
            self.pools().map(ChannelPool::status);
        streams.connections += guest.connections;
        streams.busy += guest.busy;
        streams.handshakes += guest.handshakes;
        files.connections += trees.connections;
        files.busy += trees.busy;
        files.handshakes += trees.handshakes;
        [commands, streams, files]
    }

    fn pools(&self) -> [&ChannelPool; 5] {
        [
            &self.commands,
            &self.streams,
            self.files.channels(),
            self.trees.pool(),
            self.guest.pool(),
        ]
    }
}
