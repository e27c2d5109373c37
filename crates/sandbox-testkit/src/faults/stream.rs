//! One stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use sandbox_core::ByteStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Fault, Now, Plan, Switch, Way};

/// A byte stream with a plan.
pub struct FaultyStream {
    /// `None` once cut.
    inner: Option<Box<dyn ByteStream>>,
    switch: Switch,
}

impl FaultyStream {
    /// Puts a plan over a stream.
    pub fn new(inner: Box<dyn ByteStream>, plan: Plan) -> Self {
        Self {
            inner: Some(inner),
            switch: Switch::new(plan),
        }
    }

    /// To bring faults later.
    pub fn switch(&self) -> Switch {
        self.switch.clone()
    }

    /// The stream that is cut closes its other end, too.
    fn cut<T>(&mut self) -> Poll<io::Result<T>> {
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
        let now = self.switch.state().now(Way::Out, wanted, cx);
        let Some(inner) = &mut self.inner else {
            return self.cut();
        };
        match now {
            Now::Pass(length) => {
                let result = write(Pin::new(inner), cx, length);
                if let Poll::Ready(Ok(length)) = &result {
                    self.switch.state().written += *length as u64;
                }
                result
            }
            Now::Suffer(Fault::Cut | Fault::End) => self.cut(),
            Now::Suffer(Fault::Stall) => Poll::Pending,
            Now::Suffer(Fault::Swallow) => Poll::Ready(Ok(wanted)),
        }
    }
}

impl AsyncRead for FaultyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let now = self.switch.state().now(Way::In, buf.remaining(), cx);
        let Some(inner) = &mut self.inner else {
            return self.cut();
        };
        match now {
            Now::Pass(length) => {
                let mut piece = ReadBuf::new(buf.initialize_unfilled_to(length));
                let result = Pin::new(inner).poll_read(cx, &mut piece);
                let filled = piece.filled().len();
                buf.advance(filled);
                self.switch.state().read += filled as u64;
                result
            }
            Now::Suffer(Fault::Cut) => self.cut(),
            Now::Suffer(Fault::End) => Poll::Ready(Ok(())),
            Now::Suffer(Fault::Stall | Fault::Swallow) => Poll::Pending,
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
            None => self.cut(),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_shutdown(cx),
            None => self.cut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pair(plan: Plan) -> (FaultyStream, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(1 << 20);
        (FaultyStream::new(Box::new(near), plan), far)
    }

    #[tokio::test]
    async fn exactly_so_many_bytes_pass_before_a_cut() {
        let (mut near, mut far) = pair(Plan::good().after(10, Way::Out, Fault::Cut).torn(7));
        let error = near.write_all(&[1; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!((all.len(), near.switch().passed(Way::Out)), (10, 10));
        assert!(near.read(&mut [0; 4]).await.is_err(), "both ways");
    }

    #[tokio::test]
    async fn an_end_leaves_the_other_way_open() {
        let (mut near, mut far) = pair(Plan::good().after(3, Way::In, Fault::End));
        far.write_all(b"abcdef").await.unwrap();
        let mut all = Vec::new();
        near.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"abc");
        near.write_all(b"on").await.unwrap();
        far.read_exact(&mut [0; 2]).await.unwrap();
    }

    #[tokio::test]
    async fn a_stall_waits_until_it_is_healed() {
        let (mut near, mut far) = pair(Plan::good());
        let switch = near.switch();
        switch.fail(Way::In, Fault::Stall);
        far.write_all(b"late").await.unwrap();
        let reading = tokio::spawn(async move {
            let mut all = [0; 4];
            near.read_exact(&mut all).await.unwrap();
            all
        });
        tokio::task::yield_now().await;
        assert!(!reading.is_finished() && switch.passed(Way::In) == 0);
        switch.heal();
        assert_eq!(&reading.await.unwrap(), b"late");
    }

    #[tokio::test]
    async fn what_is_swallowed_arrives_nowhere() {
        let (mut near, mut far) = pair(Plan::good().after(2, Way::Out, Fault::Swallow));
        near.write_all(&[7; 4096]).await.unwrap();
        drop(near);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [7, 7]);
    }

    #[tokio::test]
    async fn torn_bytes_are_the_same_bytes() {
        let (mut near, mut far) = pair(Plan::good().torn(42));
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
