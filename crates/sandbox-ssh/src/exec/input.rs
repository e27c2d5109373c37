//! The input of a command: the variables for its script, then the caller's input.

use bytes::BytesMut;
use russh::ChannelWriteHalf;
use russh::client::Msg;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::sync::Semaphore;

use super::env_script::EnvScript;
use super::tty_sync::wait_for_mark;

/// The most bytes that are sent at once.
const MAX_CHUNK: usize = 32 << 10;

/// What a terminal takes for the end of its input (VEOF).
const END_OF_TRANSMISSION: &[u8] = &[4];

/// How the end of the input is marked.
#[derive(Debug, Clone, Copy)]
pub(super) enum EndMark {
    /// By the channel's end of file, RFC 4254 §5.3.
    Eof,
    /// By a typed character, in a terminal of a server other than sandbox-sshd. At the channel's
    /// end of file, OpenSSH closes its side of the terminal: no process then reads an end of file
    /// from it, and no new size reaches it.
    Typed,
}

impl EndMark {
    pub(super) async fn send(self, write: &ChannelWriteHalf<Msg>) -> Result<(), russh::Error> {
        match self {
            Self::Eof => write.eof().await,
            Self::Typed => write.data_bytes(END_OF_TRANSMISSION).await,
        }
    }
}

/// Sends the whole input and its end; `marks` are those that the script prints.
pub(super) async fn send(
    env_script: Option<EnvScript>,
    marks: Option<&Semaphore>,
    stdin: Option<DuplexStream>,
    end: EndMark,
    write: &ChannelWriteHalf<Msg>,
) -> Result<(), russh::Error> {
    if let Some(marks) = marks {
        wait_for_mark(marks).await;
    }
    if let Some(script) = env_script {
        let mut left = script.into_input();
        while !left.is_empty() {
            let chunk = left.split_to(left.len().min(MAX_CHUNK));
            write.data_bytes(chunk).await?;
        }
    }
    if let Some(marks) = marks {
        wait_for_mark(marks).await;
    }
    let Some(mut stdin) = stdin else {
        return end.send(write).await;
    };
    loop {
        let mut chunk = BytesMut::with_capacity(MAX_CHUNK);
        if stdin.read_buf(&mut chunk).await? == 0 {
            return end.send(write).await;
        }
        write.data_bytes(chunk.freeze()).await?;
    }
}
