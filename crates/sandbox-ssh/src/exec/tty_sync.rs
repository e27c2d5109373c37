//! Holds back the input of a command in a terminal until the script before the command is ready
//! for it. See [`EnvScript`](super::env_script::EnvScript).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;

/// The mark that the script prints, alone on a line.
const MARK: u8 = 0x06;
/// The first mark: the terminal passes bytes unchanged. The second: it is restored.
const MARKS: u8 = 2;

/// Removes the script's marks from the output, and releases a part of the input at each.
pub(super) struct TtySync {
    left: u8,
    /// Removing the line ending after a mark.
    in_line_ending: bool,
    /// Gets a permit for each mark that was received.
    received: Arc<Semaphore>,
}

impl TtySync {
    /// The second value is for [`wait_for_mark`].
    pub(super) fn new() -> (Self, Arc<Semaphore>) {
        let received = Arc::new(Semaphore::new(0));
        let sync = Self {
            left: MARKS,
            in_line_ending: false,
            received: Arc::clone(&received),
        };
        (sync, received)
    }

    /// Whether all marks were received, so that output is forwarded unchanged from now on.
    pub(super) fn is_complete(&self) -> bool {
        self.left == 0 && !self.in_line_ending
    }

    /// The output without the script's marks.
    pub(super) fn strip_marks(&mut self, output: &Bytes) -> Bytes {
        let mut rest = BytesMut::with_capacity(output.len());
        for &byte in output {
            if self.in_line_ending && matches!(byte, b'\r' | b'\n') {
                self.in_line_ending = byte == b'\r';
                continue;
            }
            self.in_line_ending = false;
            if byte == MARK && self.left > 0 {
                self.left -= 1;
                self.in_line_ending = true;
                self.received.add_permits(1);
            } else {
                rest.extend_from_slice(&[byte]);
            }
        }
        rest.freeze()
    }
}

/// Waits for the next mark. If the script has failed, the mark never arrives; the waiting task ends
/// with the command then.
pub(super) async fn wait_for_mark(received: &Semaphore) {
    if let Ok(permit) = received.acquire().await {
        permit.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn marks_are_removed_wherever_the_output_is_split() {
        let output = b"motd\r\n\x06\r\n\x06\r\n\r\nout\x06\r\n";
        for at in 0..output.len() {
            let (mut sync, received) = TtySync::new();
            let mut rest = Vec::new();
            for piece in [&output[..at], &output[at..]] {
                rest.extend_from_slice(&sync.strip_marks(&Bytes::copy_from_slice(piece)));
            }
            assert_eq!(rest, b"motd\r\n\r\nout\x06\r\n", "split at {at}");
            assert!(sync.is_complete());
            wait_for_mark(&received).await;
            wait_for_mark(&received).await;
            assert_eq!(received.available_permits(), 0);
        }
    }
}
