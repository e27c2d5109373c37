//! A connector whose streams fail.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sandbox_core::{ByteStream, Connector, Deadline, Endpoint, Result};

use super::{FaultyStream, Plan, Switch};

/// Opens the streams of another connector, and gives the first one the first plan, the second the
/// second, and all later ones the last.
#[derive(Debug)]
pub struct FaultyConnector {
    inner: Arc<dyn Connector>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    plans: Vec<Plan>,
    streams: Vec<Switch>,
}

impl FaultyConnector {
    /// With these plans; without any, all streams are good.
    pub fn new(inner: Arc<dyn Connector>, plans: impl IntoIterator<Item = Plan>) -> Arc<Self> {
        let state = State {
            plans: plans.into_iter().collect(),
            streams: Vec::new(),
        };
        Arc::new(Self {
            inner,
            state: Mutex::new(state),
        })
    }

    /// The streams that were opened, the oldest first.
    pub fn streams(&self) -> Vec<Switch> {
        self.state().streams.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Connector for FaultyConnector {
    async fn connect(
        &self,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> Result<Box<dyn ByteStream>> {
        let stream = self.inner.connect(endpoint, deadline).await?;
        let mut state = self.state();
        let plan = state
            .plans
            .get(state.streams.len())
            .or(state.plans.last())
            .copied()
            .unwrap_or_default();
        let stream = FaultyStream::new(stream, plan);
        state.streams.push(stream.switch());
        Ok(Box::new(stream))
    }

    fn report_wrong_server(&self, endpoint: &Endpoint) -> bool {
        self.inner.report_wrong_server(endpoint)
    }

    fn should_stop_retrying(&self, endpoint: &Endpoint) -> bool {
        self.inner.should_stop_retrying(endpoint)
    }
}
