//! Whether a connection still brings anything while somebody waits for an answer on it.
//!
//! A peer that has vanished without a word, or hangs, would otherwise be noticed only by the
//! keepalive. What else runs over the connection is lost with it: nothing came for it either.

use super::Conn;

impl Conn {
    /// Gives the connection up when it brings nothing at all for a while, although it is asked
    /// then. Ends when the connection does. Only for while an answer is waited for: a connection
    /// that is not read, for its reader is slow, brings nothing either.
    pub(crate) async fn watch(&self) {
        let mut before = self.life().heard();
        loop {
            tokio::select! {
                biased;
                () = self.life().ended() => return,
                () = tokio::time::sleep(self.silence) => {}
            }
            if self.life().heard() == before {
                // Whatever comes is an answer; that to this question is among it.
                self.ping(self.silence).await;
                if self.life().heard() == before {
                    self.give_up();
                    return;
                }
            }
            before = self.life().heard();
        }
    }

    /// Waits for an answer, watching the connection; `None` when that has ended.
    pub(crate) async fn watched<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            answer = answer => Some(answer),
            () = self.watch() => None,
        }
    }

    fn give_up(&self) {
        let silence = self.silence * 2;
        tracing::warn!(ssh.server = %self.server(), ?silence, "a connection brings nothing although it is asked; it is given up");
        self.facts
            .ended_because(format!("the server answered nothing for {silence:?}"));
        self.life().kill();
    }
}
