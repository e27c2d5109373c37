//! A faulty stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use sandbox_core::ByteStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::plan::{Direction, FaultPlan, StreamFault};
use super::switch::{Decision, FaultSwitch};

/// A byte stream with faults.
pub struct FaultyStream {
    /// `None` after a reset.
    inner: Option<Box<dyn ByteStream>>,
    switch: FaultSwitch,
}

impl FaultyStream {
    /// Adds the faults of a plan to a stream.
    pub fn new(inner: Box<dyn ByteStream>, plan: FaultPlan) -> Self {
        Self {
            inner: Some(inner),
            switch: FaultSwitch::new(plan),
        }
    }

    /// Returns the switch that changes the faults.
    pub fn switch(&self) -> FaultSwitch {
        self.switch.clone()
    }

    /// Closes the inner stream and fails.
    fn reset<T>(&mut self) -> Poll<io::Result<T>> {
        drop(self.inner.take());
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }

    fn write(
        &mut self,
        cx: &mut Context<'_>,
        wanted: usize,
        write: impl FnOnce(
            Pin<&mut Box<dyn ByteStream>>,
            &mut Context<'_>,
            usize,
        ) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let decision = self.switch.lock().decide(Direction::Write, wanted, cx);
        let Some(inner) = &mut self.inner else {
            return self.reset();
        };
        match decision {
            Decision::Pass(length) => {
                let result = write(Pin::new(inner), cx, length);
                if let Poll::Ready(Ok(length)) = &result {
                    self.switch.lock().add_written(*length);
                }
                result
            }
            Decision::Fail(StreamFault::Reset | StreamFault::Eof) => self.reset(),
            Decision::Fail(StreamFault::Stall) => Poll::Pending,
            Decision::Fail(StreamFault::Discard) => Poll::Ready(Ok(wanted)),
        }
    }
}

impl AsyncRead for FaultyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let decision = self
            .switch
            .lock()
            .decide(Direction::Read, buf.remaining(), cx);
        let Some(inner) = &mut self.inner else {
            return self.reset();
        };
        match decision {
            Decision::Pass(length) => {
                let mut chunk = ReadBuf::new(buf.initialize_unfilled_to(length));
                let result = Pin::new(inner).poll_read(cx, &mut chunk);
                let filled = chunk.filled().len();
                buf.advance(filled);
                self.switch.lock().add_read(filled);
                result
            }
            Decision::Fail(StreamFault::Reset) => self.reset(),
            Decision::Fail(StreamFault::Eof) => Poll::Ready(Ok(())),
            Decision::Fail(StreamFault::Stall | StreamFault::Discard) => Poll::Pending,
        }
    }
}

impl AsyncWrite for FaultyStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.write(cx, buf.len(), |inner, cx, length| {
            inner.poll_write(cx, &buf[..length])
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_flush(cx),
            None => self.reset(),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_shutdown(cx),
            None => self.reset(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pair(plan: FaultPlan) -> (FaultyStream, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(1 << 20);
        (FaultyStream::new(Box::new(near), plan), far)
    }

    #[tokio::test]
    async fn exactly_the_planned_bytes_pass_before_a_reset() {
        let (mut near, mut far) = pair(
            FaultPlan::new()
                .fail_after(10, Direction::Write, StreamFault::Reset)
                .with_short_transfers(7),
        );
        let error = near.write_all(&[1; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(
            (all.len(), near.switch().byte_count(Direction::Write)),
            (10, 10)
        );
        assert!(
            near.read(&mut [0; 4]).await.is_err(),
            "both directions are closed"
        );
    }

    #[tokio::test]
    async fn an_eof_leaves_the_other_direction_open() {
        let (mut near, mut far) =
            pair(FaultPlan::new().fail_after(3, Direction::Read, StreamFault::Eof));
        far.write_all(b"abcdef").await.unwrap();
        let mut all = Vec::new();
        near.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"abc");
        near.write_all(b"on").await.unwrap();
        far.read_exact(&mut [0; 2]).await.unwrap();
    }

    #[tokio::test]
    async fn a_stall_lasts_until_the_faults_are_cleared() {
        let (mut near, mut far) = pair(FaultPlan::new());
        let switch = near.switch();
        switch.fail(Direction::Read, StreamFault::Stall);
        far.write_all(b"late").await.unwrap();
        let reading = tokio::spawn(async move {
            let mut all = [0; 4];
            near.read_exact(&mut all).await.unwrap();
            all
        });
        tokio::task::yield_now().await;
        assert!(!reading.is_finished() && switch.byte_count(Direction::Read) == 0);
        switch.clear_faults();
        assert_eq!(&reading.await.unwrap(), b"late");
    }

    #[tokio::test]
    async fn discarded_data_does_not_arrive() {
        let (mut near, mut far) =
            pair(FaultPlan::new().fail_after(2, Direction::Write, StreamFault::Discard));
        near.write_all(&[7; 4096]).await.unwrap();
        drop(near);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [7, 7]);
    }

    #[tokio::test]
    async fn short_transfers_change_no_bytes() {
        let (mut near, mut far) = pair(FaultPlan::new().with_short_transfers(42));
        let data: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        near.write_all(&data).await.unwrap();
        let mut all = vec![0; data.len()];
        far.read_exact(&mut all).await.unwrap();
        far.write_all(&data).await.unwrap();
        let mut back = vec![0; data.len()];
        near.read_exact(&mut back).await.unwrap();
        assert!(all == data && back == data);
    }
}
