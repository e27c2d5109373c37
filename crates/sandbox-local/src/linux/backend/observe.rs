//! Events, logs, and why a sandbox does not answer.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_core::Stream;
use sandbox_core::{
    Diagnosis, Error, EventStream, LogOptions, LogStream, Result, SandboxEvent, SandboxEventKind,
    SandboxId, rfc3339,
};
use tokio::sync::mpsc;

use super::{LocalBackend, blocking, failed, gone_or};
use crate::linux::cgroup::Cgroup;
use crate::linux::record::Record;
use crate::linux::state::{Life, SandboxDir};
use crate::linux::sys;

/// How much of a log a diagnosis shows, in bytes.
const TAIL: u64 = 4096;
/// How often a log that is followed is looked at.
const FOLLOWING: Duration = Duration::from_millis(200);
const PIECE: usize = 64 << 10;

impl LocalBackend {
    pub(super) async fn stream_events(&self, id: &SandboxId) -> Result<EventStream> {
        let record = self.find(id).await?;
        let dir = self.shared.state.sandbox(id);
        let (to, from) = mpsc::channel(8);
        for event in past(&record) {
            // There is room for all of them.
            drop(to.try_send(Ok(event)));
        }
        tokio::spawn(async move {
            tokio::select! {
                () = to.closed() => {}
                ended = end_of(&dir) => {
                    let event = ended.map(|()| event(SandboxEventKind::Deleted, SystemTime::now(), "it has ended"));
                    // Nobody listens any more, and nobody needs to be told.
                    drop(to.send(event.map_err(|error| failed("watch the sandbox", error))).await);
                }
            }
        });
        Ok(Box::pin(Received(from)))
    }

    pub(super) async fn stream_log(
        &self,
        id: &SandboxId,
        options: LogOptions,
    ) -> Result<LogStream> {
        self.find(id).await?;
        let dir = self.shared.state.sandbox(id);
        let log = dir.log();
        let open = move || {
            let mut file = File::open(log)?;
            let mut start = Vec::new();
            file.read_to_end(&mut start)?;
            Ok((file, start))
        };
        let (file, start) = blocking("read the log", open)
            .await
            .map_err(|error| gone_or(error, id))?;
        let start = options
            .tail_lines
            .map_or(&start[..], |count| last_lines(&start, count));
        let (to, from) = mpsc::channel(8);
        let start = Bytes::copy_from_slice(start);
        tokio::spawn(async move {
            if !start.is_empty() && to.send(Ok(start)).await.is_err() || !options.follow {
                return;
            }
            tokio::select! {
                () = to.closed() => {}
                () = follow(file, &dir, &to) => {}
            }
        });
        Ok(Box::pin(Received(from)))
    }

    pub(super) async fn explain(&self, id: &SandboxId) -> Result<Diagnosis> {
        let mut diagnosis = Diagnosis::default();
        let record = match self.find(id).await {
            Ok(record) => record,
            Err(Error::NotFound { id }) => {
                let known = self.remembered(&id).ok_or(Error::NotFound { id })?;
                let end = known.expires_at.filter(|end| *end <= SystemTime::now());
                diagnosis.is_final = true;
                diagnosis.summary = match end {
                    Some(end) => format!("its time was over at {}", rfc3339(end)),
                    None => "it has ended: it was deleted, was left alone for too long, or its server died"
                        .to_owned(),
                };
                return Ok(diagnosis);
            }
            Err(error) => return Err(error),
        };
        let dir = self.shared.state.sandbox(id);
        diagnosis.events = past(&record);
        let kills = Cgroup::existing(record.cgroups.clone()).out_of_memory_kills();
        diagnosis.summary = match kills {
            0 => "its server runs".to_owned(),
            1 => {
                "its server runs; one of its processes was killed because memory ran out".to_owned()
            }
            count => format!(
                "its server runs; {count} of its processes were killed because memory ran out"
            ),
        };
        let log = blocking("read the log", move || tail(&dir))
            .await
            .map_err(|error| gone_or(error, id))?;
        diagnosis.log_tail = log;
        Ok(diagnosis)
    }
}

/// The steps that every living sandbox has behind it.
fn past(record: &Record) -> Vec<SandboxEvent> {
    let at = record.info.created_at;
    let isolation = format!("isolation: {}", record.info.isolation.kind);
    let address = record.info.address.clone().unwrap_or_default();
    vec![
        event(SandboxEventKind::Created, at, ""),
        event(SandboxEventKind::Started, at, isolation),
        event(SandboxEventKind::Addressed, at, address),
    ]
}

fn event(kind: SandboxEventKind, at: SystemTime, message: impl Into<String>) -> SandboxEvent {
    SandboxEvent {
        at,
        kind,
        message: message.into(),
    }
}

/// Waits until the supervisor has ended.
async fn end_of(dir: &SandboxDir) -> io::Result<()> {
    let Life::Held(Some(supervisor)) = dir.life()? else {
        return Ok(());
    };
    let Some(pidfd) = supervisor.open()? else {
        return Ok(());
    };
    sys::wait_for_end(pidfd).await
}

/// Sends what is added to a log until its sandbox has ended.
async fn follow(mut file: File, dir: &SandboxDir, to: &mpsc::Sender<Result<Bytes>>) {
    let ended = end_of(dir);
    tokio::pin!(ended);
    let mut last = false;
    loop {
        let mut piece = vec![0; PIECE];
        match file.read(&mut piece) {
            Ok(0) if last => return,
            Ok(0) => {
                tokio::select! {
                    // Once more, for what was written at the end.
                    _ = &mut ended => last = true,
                    () = tokio::time::sleep(FOLLOWING) => {}
                }
            }
            Ok(count) => {
                piece.truncate(count);
                if to.send(Ok(piece.into())).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // The reader is told, if there still is one, and that is all.
                drop(to.send(Err(failed("read the log", error))).await);
                return;
            }
        }
    }
}

fn tail(dir: &SandboxDir) -> io::Result<String> {
    use std::io::{Seek, SeekFrom};
    let mut file = File::open(dir.log())?;
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn last_lines(log: &[u8], count: usize) -> &[u8] {
    let mut starts: VecDeque<usize> = VecDeque::new();
    let mut at = 0;
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        starts.push_back(at);
        at += line.len();
        if starts.len() > count {
            starts.pop_front();
        }
    }
    &log[starts.front().copied().unwrap_or(log.len())..]
}

/// What a task sends.
struct Received<T>(mpsc::Receiver<Result<T>>);

impl<T> Stream for Received<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_cut_out() {
        let log = b"one\ntwo\nthree";
        for (count, expected) in [
            (0, ""),
            (1, "three"),
            (2, "two\nthree"),
            (9, "one\ntwo\nthree"),
        ] {
            assert_eq!(last_lines(log, count), expected.as_bytes());
        }
        assert_eq!(last_lines(b"", 3), b"");
    }
}
