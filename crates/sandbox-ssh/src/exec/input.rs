//! What a command gets as its input: first what its environment is made of, then its own.

use bytes::BytesMut;
use russh::ChannelWriteHalf;
use russh::client::Msg;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::sync::Semaphore;

use super::handshake::word;
use super::prelude::Prelude;

/// Sent in one piece.
const PIECE: usize = 32 << 10;

/// How the end of the input is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// The channel's own, RFC 4254 §5.3.
    OfChannel,
    /// Typed, for terminals of servers that are not ours: OpenSSH's closes its side of the
    /// terminal at the channel's end, after which nobody reads an end of file from it, and no new
    /// size reaches it.
    Typed,
}

/// What a terminal takes for the end of its input (VEOF).
const END_OF_TRANSMISSION: &[u8] = &[4];

impl End {
    pub(super) async fn send(self, write: &ChannelWriteHalf<Msg>) -> Result<(), russh::Error> {
        match self {
            Self::OfChannel => write.eof().await,
            Self::Typed => write.data_bytes(END_OF_TRANSMISSION).await,
        }
    }
}

/// Sends all of it, to its end; `words` are those that the prelude's script says.
pub(super) async fn send(
    prelude: Option<Prelude>,
    words: Option<&Semaphore>,
    stdin: Option<DuplexStream>,
    end: End,
    write: &ChannelWriteHalf<Msg>,
) -> Result<(), russh::Error> {
    if let Some(words) = words {
        word(words).await;
    }
    if let Some(prelude) = prelude {
        let mut left = prelude.into_bytes();
        while !left.is_empty() {
            write
                .data_bytes(left.split_to(left.len().min(PIECE)))
                .await?;
        }
    }
    if let Some(words) = words {
        word(words).await;
    }
    let Some(mut stdin) = stdin else {
        return end.send(write).await;
    };
    loop {
        let mut piece = BytesMut::with_capacity(PIECE);
        if stdin.read_buf(&mut piece).await? == 0 {
            return end.send(write).await;
        }
        write.data_bytes(piece.freeze()).await?;
    }
}
