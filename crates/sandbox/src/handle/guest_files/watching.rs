//! Events of directories, as inotify(7) reports them.

use std::fmt;

use futures_util::stream::{self, BoxStream, StreamExt};
use sandbox_core::guest::{Done, FileEvent, FileRequest, FrameKind, WatchOptions};
use sandbox_core::{Error, FilePath, GuestChannel, GuestFrame, ListBudget, Result};

use super::GuestFiles;
use super::replies::{
    check_event, cut_off, entry_size, invalid_reply, next_listed, next_message, parse,
};

/// The events of a directory. Created by [`GuestFiles::watch`]. Dropping it ends the watch.
#[must_use = "events that are not taken are lost once there are too many"]
pub struct FileEvents {
    channel: GuestChannel,
}

impl GuestFiles<'_> {
    /// Watches a directory. What happens after this returns is reported, in the order in which it happened, also by
    /// this handle's own operations. [`Files::watch`](crate::Files::watch) works with other servers, by
    /// polling.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// use sandbox::WatchOptions;
    ///
    /// let mut options = WatchOptions::new("results");
    /// options.recursive = true;
    /// let mut events = sbx.guest_files().watch(options).await?;
    /// while let Some(event) = events.next().await? {
    ///     println!("{:?} {}", event.kind, event.name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`GuestFiles`]. The code is [`NotADirectory`](crate::RefusalCode::NotADirectory) for a file,
    /// [`LimitReached`](crate::RefusalCode::LimitReached) if the sandbox or its node watches too much already, and
    /// [`Unsupported`](crate::RefusalCode::Unsupported) for a network file system, unless that is allowed.
    pub async fn watch(&self, options: WatchOptions) -> Result<FileEvents> {
        let mut channel = self.open(FileRequest::Watch(options)).await?;
        // In a large tree it takes a while until every directory is watched.
        let Done { .. } = self.diagnose(next_message(&mut channel).await).await?;
        Ok(FileEvents { channel })
    }

    /// Watches a directory, and keeps the events in the sandbox until [`take_events`](Self::take_events) takes
    /// them. Returns the id of the watcher, which belongs to no client: any may take its events. It ends five
    /// minutes after they were last taken.
    ///
    /// # Errors
    ///
    /// As [`watch`](Self::watch).
    pub async fn create_watcher(&self, options: WatchOptions) -> Result<String> {
        let mut channel = self.open(FileRequest::CreateWatcher(options)).await?;
        self.diagnose(next_message(&mut channel).await).await
    }

    /// Takes the events of a watcher. All that happened before this call are among them.
    ///
    /// # Errors
    ///
    /// See [`GuestFiles`]; the code is [`NotFound`](crate::RefusalCode::NotFound) if there is no such
    /// watcher any more.
    pub async fn take_events(&self, watcher: &str) -> Result<Vec<FileEvent>> {
        let watcher = watcher.to_owned();
        let request = FileRequest::TakeEvents { watcher };
        let mut channel = self.open(request).await?;
        let budget = ListBudget::default();
        let mut events = Vec::new();
        while let Some(event) = self.diagnose(next_listed(&mut channel).await).await? {
            check_event(&event)?;
            let entry = event.entry.as_deref().map_or(0, entry_size);
            if !budget.take(1, event.name.len() as u64 + entry) {
                return Err(ListBudget::exceeded_error(FilePath::from("(events)")));
            }
            events.push(event);
        }
        Ok(events)
    }

    /// Ends a watcher.
    ///
    /// # Errors
    ///
    /// As [`take_events`](Self::take_events).
    pub async fn remove_watcher(&self, watcher: &str) -> Result<()> {
        let watcher = watcher.to_owned();
        let Done { .. } = self.call(FileRequest::RemoveWatcher { watcher }).await?;
        Ok(())
    }
}

impl FileEvents {
    /// Waits for the next event; `None` after the directory itself was removed or moved. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] and [`Error::Connection`]. The watch has ended then.
    pub async fn next(&mut self) -> Result<Option<FileEvent>> {
        match self.channel.next().await? {
            Some(GuestFrame::Frame(frame)) if frame.kind == FrameKind::Message => {
                let event = parse(&frame.payload)?;
                check_event(&event)?;
                Ok(Some(event))
            }
            Some(GuestFrame::Frame(frame)) if frame.kind == FrameKind::ContentEnd => Ok(None),
            Some(GuestFrame::Refused(refusal)) => Err(Error::Refused(Box::new(refusal))),
            Some(_) => Err(invalid_reply()),
            None => Err(cut_off()),
        }
    }

    /// Returns the events as a stream, which ends after an error.
    pub fn into_stream(self) -> BoxStream<'static, Result<FileEvent>> {
        stream::unfold(Some(self), |events| async {
            let mut events = events?;
            match events.next().await {
                Ok(event) => Some((Ok(event?), Some(events))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }
}

impl fmt::Debug for FileEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileEvents").finish_non_exhaustive()
    }
}
