//! The content of one file, out of the sandbox and into it.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{self, BoxStream, StreamExt};
use sandbox_core::guest::{FileEntry, FrameKind, Written};
use sandbox_core::{Error, GuestChannel, GuestFrame, Result};

use super::replies::{cut_off, invalid_reply, parse};

/// Extended attributes (xattr(7)) that a file gets when it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttributeChange {
    /// Those to set, by their names without the prefix `user.`.
    pub set: BTreeMap<String, String>,
    /// All others whose names, without `user.`, begin with this are removed; empty removes none.
    pub replaced_prefix: String,
}

/// The content of a file that is being read. Created by [`GuestFiles::read`](super::GuestFiles::read).
/// Dropping it ends the reading.
#[must_use = "the content is read only as far as it is taken"]
pub struct GuestReader {
    channel: GuestChannel,
    entry: FileEntry,
    /// How much more was requested, if that is limited.
    left: Option<u64>,
    is_ended: bool,
}

impl GuestReader {
    pub(super) async fn from_channel(
        mut channel: GuestChannel,
        length: Option<u64>,
    ) -> Result<Self> {
        let entry = channel.reply().await?;
        Ok(Self {
            channel,
            entry,
            left: length,
            is_ended: false,
        })
    }

    /// The file when it was opened: with its size, which its content need not have. Of a symbolic link, the
    /// file that it leads to.
    pub fn entry(&self) -> &FileEntry {
        &self.entry
    }

    /// Waits for the next part, of at most 1 MiB; `None` at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the file cannot be read further, and [`Error::Connection`].
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.is_ended {
            return Ok(None);
        }
        match self.channel.next().await? {
            Some(GuestFrame::Frame(frame)) if frame.kind == FrameKind::Content => {
                if let Some(left) = &mut self.left {
                    let more = frame.payload.len() as u64;
                    *left = left.checked_sub(more).ok_or_else(invalid_reply)?;
                }
                Ok(Some(frame.payload))
            }
            Some(GuestFrame::Frame(frame)) if frame.kind == FrameKind::ContentEnd => {
                self.is_ended = true;
                Ok(None)
            }
            Some(GuestFrame::Refused(refusal)) => Err(Error::Refused(Box::new(refusal))),
            Some(_) => Err(invalid_reply()),
            None => Err(cut_off()),
        }
    }

    /// Returns the rest as a stream, which ends after an error.
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes>> {
        stream::unfold(Some(self), |reader| async {
            let mut reader = reader?;
            match reader.next().await {
                Ok(part) => Some((Ok(part?), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }
}

impl fmt::Debug for GuestReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestReader")
            .field("entry", &self.entry)
            .finish_non_exhaustive()
    }
}

/// A file that is being written in place. Created by [`GuestFiles::writer`](super::GuestFiles::writer).
/// Dropping it before [`finish`](Self::finish) leaves what has arrived.
#[must_use = "the file is complete only after `finish`"]
pub struct GuestWriter {
    channel: GuestChannel,
}

impl GuestWriter {
    pub(super) fn new(channel: GuestChannel) -> Self {
        Self { channel }
    }

    /// Sends more content, as fast as the sandbox's server takes it. If the future is dropped, an unknown part
    /// of it was sent; the writer must be dropped then, too.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the file cannot be written: its code is
    /// [`NoSpace`](crate::RefusalCode::NoSpace) if the disk is full. [`Error::Connection`].
    pub async fn write(&mut self, content: &[u8]) -> Result<()> {
        // A server that refuses does not read the rest.
        if let Err(error) = self.channel.send_content(content).await {
            return Err(self.find_refusal().await.unwrap_or(error));
        }
        match self.channel.next().now_or_never() {
            None => Ok(()),
            Some(Ok(Some(GuestFrame::Refused(refusal)))) => Err(Error::Refused(Box::new(refusal))),
            Some(Ok(Some(_))) => Err(invalid_reply()),
            Some(Ok(None)) => Err(cut_off()),
            Some(Err(error)) => Err(error),
        }
    }

    /// Says that the content is complete, and waits until it is written. It is not synchronised to the disk.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub async fn finish(mut self) -> Result<Written> {
        if let Err(error) = self.channel.finish_content().await {
            return Err(self.find_refusal().await.unwrap_or(error));
        }
        match self.channel.next().await? {
            Some(GuestFrame::Frame(frame)) if frame.kind == FrameKind::Message => {
                parse(&frame.payload)
            }
            Some(GuestFrame::Refused(refusal)) => Err(Error::Refused(Box::new(refusal))),
            Some(_) => Err(invalid_reply()),
            None => Err(cut_off()),
        }
    }

    /// The refusal after which the server has closed the channel, if that is why.
    async fn find_refusal(&mut self) -> Option<Error> {
        match self.channel.next().await {
            Ok(Some(GuestFrame::Refused(refusal))) => Some(Error::Refused(Box::new(refusal))),
            Ok(_) | Err(_) => None,
        }
    }
}

impl fmt::Debug for GuestWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestWriter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::BytesMut;
    use sandbox_core::guest::{Refusal, RefusalCode, put_frame};
    use tokio::io::AsyncWriteExt;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    /// A channel to a server that sends these frames and closes it.
    async fn channel_to(frames: &[(FrameKind, &[u8])]) -> GuestChannel {
        let (client, mut server) = tokio::io::duplex(1 << 20);
        let mut sent = BytesMut::new();
        for (kind, payload) in frames {
            put_frame(&mut sent, *kind, payload).unwrap();
        }
        server.write_all(&sent).await.unwrap();
        GuestChannel::new(client, TIMEOUT)
    }

    fn refusal(code: RefusalCode) -> Vec<u8> {
        serde_json::to_vec(&Refusal::new(code, "m")).unwrap()
    }

    fn entry() -> Vec<u8> {
        serde_json::to_vec(&FileEntry::default()).unwrap()
    }

    #[tokio::test]
    async fn content_is_whole_or_an_error() {
        use FrameKind::{Content, ContentEnd, Message, Refusal};
        let entry = entry();
        let no_more = refusal(RefusalCode::PermissionDenied);
        for (rest, is_whole) in [
            (&[(Content, &b"ab"[..]), (ContentEnd, b"")][..], true),
            (&[(ContentEnd, b"")], true),
            (&[(Content, b"ab")], false),
            (&[(Content, b"ab"), (Refusal, &no_more)], false),
            (&[(Content, b"abc"), (ContentEnd, b"")], false),
            (&[(Message, b"{}")], false),
        ] {
            let frames = [&[(Message, &entry[..])], rest].concat();
            let channel = channel_to(&frames).await;
            let reader = GuestReader::from_channel(channel, Some(2)).await.unwrap();
            let parts: Vec<_> = reader.into_stream().collect().await;
            assert_eq!(parts.iter().all(Result::is_ok), is_whole, "{rest:?}");
        }
    }

    #[tokio::test]
    async fn a_refusal_ends_the_writing_of_more() {
        let refusal = refusal(RefusalCode::NoSpace);
        let frames = [(FrameKind::Refusal, &refusal[..])];
        let mut writer = GuestWriter::new(channel_to(&frames).await);
        let error = writer.write(b"x").await.unwrap_err();
        assert!(
            matches!(&error, Error::Refused(refusal) if refusal.code == RefusalCode::NoSpace),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_write_without_a_reply_is_an_error() {
        let writer = GuestWriter::new(channel_to(&[]).await);
        assert!(matches!(writer.finish().await, Err(Error::Connection(_))));
    }
}
