//! The log of a sandbox's supervisor and server.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

use bytes::Bytes;
use sandbox_core::{LogOptions, LogStream, Result, SandboxId};
use tokio::sync::mpsc;

use super::channel_stream::ChannelStream;
use super::events::wait_for_supervisor;
use super::file_access::{backend_error, lookup_error, run_blocking};
use super::lookup::find;
use crate::linux::state::{SandboxDir, StateDir};

/// How much of a log a diagnosis shows, in bytes.
const TAIL_BYTES: u64 = 4096;
/// How often a followed log is read.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
/// How much of a followed log is read at once, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Streams the log of a running sandbox.
pub(super) async fn stream_log(
    state: &StateDir,
    id: &SandboxId,
    options: LogOptions,
) -> Result<LogStream> {
    find(state, id).await?;
    let dir = state.sandbox(id);
    let log = dir.log();
    let open = move || {
        let mut file = File::open(log)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok((file, content))
    };
    let (file, content) = run_blocking("read the log", open)
        .await
        .map_err(|error| lookup_error(error, id))?;
    let content = options
        .tail_lines
        .map_or(&content[..], |count| last_lines(&content, count));
    let content = Bytes::copy_from_slice(content);
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        if !content.is_empty() && sender.send(Ok(content)).await.is_err() || !options.follow {
            return;
        }
        tokio::select! {
            () = sender.closed() => {}
            () = follow(file, &dir, &sender) => {}
        }
    });
    Ok(Box::pin(ChannelStream(receiver)))
}

/// Reads the end of a log, for a diagnosis.
pub(super) fn read_tail(dir: &SandboxDir) -> io::Result<String> {
    let mut file = File::open(dir.log())?;
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Sends what is appended to a log until the sandbox has ended.
async fn follow(mut file: File, dir: &SandboxDir, sender: &mpsc::Sender<Result<Bytes>>) {
    let ended = wait_for_supervisor(dir);
    tokio::pin!(ended);
    let mut has_ended = false;
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        match file.read(&mut chunk) {
            Ok(0) if has_ended => return,
            Ok(0) => {
                tokio::select! {
                    // The loop reads one more time, for what was written at the end.
                    _ = &mut ended => has_ended = true,
                    () = tokio::time::sleep(FOLLOW_INTERVAL) => {}
                }
            }
            Ok(count) => {
                chunk.truncate(count);
                if sender.send(Ok(chunk.into())).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // The receiver may have been dropped in the meantime.
                drop(sender.send(Err(backend_error("read the log", error))).await);
                return;
            }
        }
    }
}

fn last_lines(log: &[u8], count: usize) -> &[u8] {
    let mut starts: VecDeque<usize> = VecDeque::new();
    let mut offset = 0;
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        starts.push_back(offset);
        offset += line.len();
        if starts.len() > count {
            starts.pop_front();
        }
    }
    &log[starts.front().copied().unwrap_or(log.len())..]
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
