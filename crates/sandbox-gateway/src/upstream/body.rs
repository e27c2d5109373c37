//! The body of a request, watched so that a slow upload is not taken for a silent server.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

/// When something was last sent.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Mutex<Instant>>);

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Activity {
    fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Awaits `answer`, unless nothing is sent for this long before it is there: then `None`.
    pub(super) async fn limit<T>(
        &self,
        answer: impl Future<Output = T>,
        silence: Duration,
    ) -> Option<T> {
        tokio::pin!(answer);
        loop {
            let deadline = self.last() + silence;
            match tokio::time::timeout_at(deadline, answer.as_mut()).await {
                Ok(answer) => return Some(answer),
                Err(_elapsed) if self.last() + silence <= Instant::now() => return None,
                // Something was sent meanwhile.
                Err(_elapsed) => {}
            }
        }
    }
}

/// A body that records when its data is taken.
#[derive(Debug)]
pub(super) struct WatchedBody {
    body: Body,
    activity: Activity,
}

impl WatchedBody {
    pub(super) fn new(body: Body, activity: Activity) -> Self {
        Self { body, activity }
    }
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.activity.touch();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_silence_ends_the_wait() {
        let activity = Activity::default();
        let never = std::future::pending::<()>();
        assert_eq!(activity.limit(never, Duration::from_secs(5)).await, None);
        let activity = Activity::default();
        let sending = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(4)).await;
                activity.touch();
            }
            "answer"
        };
        assert_eq!(
            activity.limit(sending, Duration::from_secs(5)).await,
            Some("answer")
        );
    }
}
