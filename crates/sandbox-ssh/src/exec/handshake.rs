//! Input that waits for a word of the script before the command, which reads it from a terminal.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;

/// The word, which has a line to itself.
const READY: u8 = 0x06;
/// The terminal takes bytes as they are; and it is as it was.
const WORDS: u8 = 2;

/// Takes the script's words out of the output, and lets the input go on at each.
pub(super) struct Handshake {
    left: u8,
    /// The end of the line after a word.
    in_line: bool,
    /// Has a permit for each word that came.
    came: Arc<Semaphore>,
}

impl Handshake {
    /// With what the input waits on.
    pub(super) fn new() -> (Self, Arc<Semaphore>) {
        let came = Arc::new(Semaphore::new(0));
        (
            Self {
                left: WORDS,
                in_line: false,
                came: Arc::clone(&came),
            },
            came,
        )
    }

    /// Whether output is passed on as it is from now on.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0 && !self.in_line
    }

    /// What is not the script's.
    pub(super) fn strip(&mut self, output: &Bytes) -> Bytes {
        let mut rest = BytesMut::with_capacity(output.len());
        for &byte in output {
            if self.in_line && matches!(byte, b'\r' | b'\n') {
                self.in_line = byte == b'\r';
                continue;
            }
            self.in_line = false;
            if byte == READY && self.left > 0 {
                self.left -= 1;
                self.in_line = true;
                self.came.add_permits(1);
            } else {
                rest.extend_from_slice(&[byte]);
            }
        }
        rest.freeze()
    }
}

/// Waits for the next word. It never comes when the script has failed; whoever waits goes with
/// the command then.
pub(super) async fn word(came: &Semaphore) {
    if let Ok(permit) = came.acquire().await {
        permit.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn words_are_taken_out_wherever_they_are_torn() {
        let said = b"motd\r\n\x06\r\n\x06\r\n\r\nout\x06\r\n";
        for at in 0..said.len() {
            let (mut handshake, came) = Handshake::new();
            let mut rest = Vec::new();
            for piece in [&said[..at], &said[at..]] {
                rest.extend_from_slice(&handshake.strip(&Bytes::copy_from_slice(piece)));
            }
            assert_eq!(rest, b"motd\r\n\r\nout\x06\r\n", "torn at {at}");
            assert!(handshake.is_over());
            word(&came).await;
            word(&came).await;
            assert_eq!(came.available_permits(), 0);
        }
    }
}
