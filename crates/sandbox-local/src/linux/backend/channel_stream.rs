//! A stream of what a task sends through a channel.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use sandbox_core::Result;
use tokio::sync::mpsc;

/// Yields what a task sends, until the task ends.
pub(super) struct ChannelStream<T>(pub(super) mpsc::Receiver<Result<T>>);

impl<T> Stream for ChannelStream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
