//! A connector with faulty streams.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sandbox_core::{ByteStream, Connector, Deadline, Endpoint, Result};

use super::plan::FaultPlan;
use super::stream::FaultyStream;
use super::switch::FaultSwitch;

/// Opens the streams of another connector. The first stream has the first plan, the second the second,
/// and all later ones the last.
#[derive(Debug)]
pub struct FaultyConnector {
    inner: Arc<dyn Connector>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    plans: Vec<FaultPlan>,
    switches: Vec<FaultSwitch>,
}

impl FaultyConnector {
    /// Creates a connector with these plans. Without any, the streams have no faults.
    pub fn new(inner: Arc<dyn Connector>, plans: impl IntoIterator<Item = FaultPlan>) -> Arc<Self> {
        let state = State {
            plans: plans.into_iter().collect(),
            switches: Vec::new(),
        };
        Arc::new(Self {
            inner,
            state: Mutex::new(state),
        })
    }

    /// Returns the switches of the streams that were opened, the oldest first.
    pub fn switches(&self) -> Vec<FaultSwitch> {
        self.lock().switches.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
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
        let mut state = self.lock();
        let plan = state
            .plans
            .get(state.switches.len())
            .or(state.plans.last())
            .copied()
            .unwrap_or_default();
        let stream = FaultyStream::new(stream, plan);
        state.switches.push(stream.switch());
        Ok(Box::new(stream))
    }

    fn report_wrong_server(&self, endpoint: &Endpoint) -> bool {
        self.inner.report_wrong_server(endpoint)
    }

    fn should_stop_retrying(&self, endpoint: &Endpoint) -> bool {
        self.inner.should_stop_retrying(endpoint)
    }
}
