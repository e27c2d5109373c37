//! A connection to the API server whose errors are written for users.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connect, Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::{BoxError, Service, ServiceBuilder};

/// A connection that reports its loss in plain words. rustls describes an end of the stream without
/// TLS's own end for programmers, with a link to its manual.
struct PlainErrors<S>(S);

/// Wraps a connector, whose connections then report their loss in plain words.
pub(super) fn with_plain_errors<S, T>(connector: S) -> impl Connect + Clone + Send + Sync + 'static
where
    S: Service<Uri, Response = T> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Unpin + Send,
    T: Send + 'static,
    TokioIo<T>: AsyncRead + AsyncWrite + Connection + Unpin + Send,
{
    let wrap = |stream| TokioIo::new(PlainErrors(TokioIo::new(stream)));
    ServiceBuilder::new()
        .map_response(wrap as fn(T) -> _)
        .service(connector)
}

fn describe(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return io::Error::new(error.kind(), "the connection to the API server was cut off");
    }
    error
}

impl<S: AsyncRead + Unpin> AsyncRead for PlainErrors<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0)
            .poll_read(context, buffer)
            .map_err(describe)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PlainErrors<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0)
            .poll_write(context, bytes)
            .map_err(describe)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0)
            .poll_write_vectored(context, parts)
            .map_err(describe)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context).map_err(describe)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0)
            .poll_shutdown(context)
            .map_err(describe)
    }
}

impl<S: Connection> Connection for PlainErrors<S> {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    /// A stream that ends as rustls reports it.
    struct CutOff;

    impl AsyncRead for CutOff {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let message = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/latest";
            Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, message)))
        }
    }

    #[tokio::test]
    async fn a_lost_connection_is_described_for_users() {
        let error = PlainErrors(CutOff).read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(
            error.to_string(),
            "the connection to the API server was cut off"
        );
    }
}
