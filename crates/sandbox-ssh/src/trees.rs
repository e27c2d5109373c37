//! Channels over which directory trees are copied. Only sandbox-sshd has them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use sandbox_core::protocol::TREE_SUBSYSTEM;
use sandbox_core::{Direction, Error, Result, TreeChannel};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::task::TaskTracker;

use crate::channel::{ChannelPool, Subsystem, SubsystemChannels, SubsystemStream};
use crate::sftp::SftpTimeouts;

/// The most trees that are copied at once, each on a connection of its own.
pub(crate) const MAX_TREES: usize = 4;
/// How long the server may take to end a copy that was dropped.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);

static SUBSYSTEM: Subsystem = Subsystem {
    name: TREE_SUBSYSTEM,
    purpose: "a channel to copy a tree",
    unsupported: unsupported_error,
};

/// Opens the channels over which trees are copied.
pub(crate) struct TreeChannels {
    channels: SubsystemChannels,
    /// How long the server may take to answer during a copy.
    timeout: Duration,
    /// Tasks that wait for the end of dropped copies.
    cleanups: TaskTracker,
}

impl TreeChannels {
    pub(crate) fn new(channels: ChannelPool, timeouts: SftpTimeouts) -> Self {
        let cleanups = TaskTracker::new();
        // A closed tracker still accepts tasks; only a closed one can be waited for.
        cleanups.close();
        let (checkout, reply) = (timeouts.checkout, timeouts.channel);
        Self {
            channels: SubsystemChannels::new(channels, &SUBSYSTEM, checkout, reply),
            timeout: timeouts.request,
            cleanups,
        }
    }

    pub(crate) fn pool(&self) -> &ChannelPool {
        self.channels.pool()
    }

    /// Waits until the server has removed what dropped copies left.
    pub(crate) async fn settle(&self) {
        self.cleanups.wait().await;
    }

    /// Opens a channel. Dropping the future closes it.
    pub(crate) async fn open(&self, direction: Direction) -> Result<TreeChannel> {
        if self.pool().is_exhausted() {
            return Err(unsupported_error("too many are open"));
        }
        let mut stream = self.channels.open().await?;
        // If it is refused, the caller copies file by file, and must know before anything was read.
        stream.wait_started().await?;
        let stream = TreeStream {
            io: Some(stream),
            is_upload: direction == Direction::Upload,
            cleanups: self.cleanups.clone(),
        };
        Ok(TreeChannel::new(stream, self.timeout))
    }
}

/// The stream of a channel. If an upload is dropped, the server removes its incomplete file, which
/// [`TreeChannels::settle`] waits for.
struct TreeStream {
    /// `None` only while it is dropped.
    io: Option<SubsystemStream>,
    is_upload: bool,
    cleanups: TaskTracker,
}

impl TreeStream {
    fn io(&mut self) -> io::Result<Pin<&mut SubsystemStream>> {
        let io = self.io.as_mut().map(Pin::new);
        io.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncRead for TreeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for TreeStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }
}

impl Drop for TreeStream {
    fn drop(&mut self) {
        let Some(mut io) = self.io.take().filter(|_| self.is_upload) else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        // After the end of its input the server ends the copy, and then its output.
        let ending = async move {
            let ended = async {
                io.shutdown().await?;
                let mut rest = [0; 1024];
                while io.read(&mut rest).await? > 0 {}
                Ok::<_, io::Error>(())
            };
            match tokio::time::timeout(CLEANUP_TIMEOUT, ended).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "copy of a tree cut off"),
                Err(_elapsed) => tracing::debug!("copy of a tree not ended in time"),
            }
        };
        self.cleanups.spawn_on(ending, &runtime);
    }
}

/// The error after which a tree is copied file by file.
pub(crate) fn unsupported_error(why: &str) -> Error {
    Error::unsupported_because(
        "copying a tree as one stream",
        "the server",
        why,
        "copy its files one by one",
    )
}
