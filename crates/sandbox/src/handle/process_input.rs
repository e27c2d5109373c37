//! Writing to the input of a shared process.

use std::fmt;

use sandbox_core::guest::{Done, GuestRequest, InputTarget, ProcessRequest, ProcessSelector};
use sandbox_core::{Error, GuestChannel, GuestFrame, Result};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::diagnosing::Diagnoser;

/// How much of a reader is sent at once.
const READ_SIZE: usize = 64 << 10;

/// The input of a shared process, which several clients can write to. Created by
/// [`SharedProcesses::input`](crate::SharedProcesses::input).
///
/// Dropping it writes what has arrived, and does not close the input of the process.
pub struct ProcessInput {
    channel: GuestChannel,
    diagnoser: Diagnoser,
}

impl ProcessInput {
    pub(super) async fn open(
        mut channel: GuestChannel,
        process: ProcessSelector,
        target: InputTarget,
        diagnoser: Diagnoser,
    ) -> Result<Self> {
        let request = GuestRequest::Process(ProcessRequest::Input { process, target });
        let sent = channel.request(&request).await;
        let mut input = Self { channel, diagnoser };
        input.check(sent).await?;
        Ok(input)
    }

    /// Sends data, which the process may not have read when this returns. Dropping the future may send a part.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the process has ended or its input is closed, which may be noticed only by a later
    /// write or by [`finish`](Self::finish). [`Error::Connection`] if the connection is lost.
    pub async fn write(&mut self, data: &[u8]) -> Result<()> {
        let sent = self.channel.send_content(data).await;
        self.check(sent).await
    }

    /// Sends what the reader returns, until its end.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), and [`Error::Invalid`] if the reader fails.
    pub async fn write_from(&mut self, mut reader: impl AsyncRead + Unpin) -> Result<()> {
        let mut buffer = Vec::with_capacity(READ_SIZE);
        loop {
            let read = reader.read_buf(&mut buffer).await;
            let read = read.map_err(|error| {
                Error::invalid(
                    "input",
                    "(not shown)",
                    format!("the reader has failed: {error}"),
                )
            })?;
            if read == 0 {
                return Ok(());
            }
            self.write(&buffer).await?;
            buffer.clear();
        }
    }

    /// Waits until all that was sent is written to the input of the process, however long that takes. The
    /// input stays open.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub async fn finish(mut self) -> Result<()> {
        let sent = self.channel.finish_content().await;
        self.check(sent).await?;
        let done = self.channel.reply_whenever::<Done>().await;
        self.diagnoser.diagnose_result(done).await.map(drop)
    }

    /// If nothing more can be sent, returns why the server has refused it.
    async fn check(&mut self, sent: Result<()>) -> Result<()> {
        let Err(error) = sent else { return Ok(()) };
        let error = match self.channel.next().await {
            Ok(Some(GuestFrame::Refused(refusal))) => Error::Refused(Box::new(refusal)),
            _ => error,
        };
        Err(self.diagnoser.diagnose(error).await)
    }
}

impl fmt::Debug for ProcessInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessInput").finish_non_exhaustive()
    }
}
