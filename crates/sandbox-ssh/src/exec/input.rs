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

/// Sends all of it, to its end; `words` are those that the prelude's script says.
pub(super) async fn send(
    prelude: Option<Prelude>,
    words: Option<&Semaphore>,
    stdin: Option<DuplexStream>,
    write: &ChannelWriteHalf<Msg>,
) -> Result<(), russh::Error> {
    if let Some(words) = words {
        word(words).await;
    }
    if let Some(prelude) = prelude {
        let mut left = prelude.into_bytes();
        while !left.is_empty() {
            write.data_bytes(left.split_to(left.len().min(PIECE))).await?;
        }
    }
    if let Some(words) = words {
        word(words).await;
    }
    let Some(mut stdin) = stdin else { return write.eof().await };
    loop {
        let mut piece = BytesMut::with_capacity(PIECE);
        if stdin.read_buf(&mut piece).await? == 0 {
            return write.eof().await;
        }
        write.data_bytes(piece.freeze()).await?;
    }
}
