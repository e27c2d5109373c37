//! What a sandbox may reach, and what was decided about it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use sandbox::{EgressEvent, Error, Sandbox, SandboxBuilder};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver};

use crate::builder::EgressRules;
use crate::calls::{Shared, operation, share};
use crate::errors::{checked, raise};
use crate::operation::Operation;
use crate::records::decision_record;
use crate::transforms::TransformOptions;
use crate::untaken::{Turn, Untaken};
use crate::upstreams::UpstreamOptions;
use crate::value::Value;

/// How many decisions wait to be taken. Later ones are lost and counted.
const CAPACITY: usize = 1024;

/// Decisions that were not taken yet.
pub(crate) struct Decisions {
    receiver: tokio::sync::Mutex<Receiver<EgressEvent>>,
    /// Decisions whose callers were cancelled.
    untaken: Arc<Untaken<EgressEvent>>,
}

impl Decisions {
    /// Returns the decisions, and what reports them, which never waits.
    pub(crate) fn channel() -> (Arc<Self>, impl Fn(&EgressEvent) + Send + Sync + 'static) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let lost = AtomicU64::new(0);
        let report = move |event: &EgressEvent| {
            let mut event = event.clone();
            event.lost += lost.swap(0, Ordering::Relaxed);
            if let Err(TrySendError::Full(event)) = sender.try_send(event) {
                lost.fetch_add(event.lost + 1, Ordering::Relaxed);
            }
        };
        let decisions = Self {
            receiver: tokio::sync::Mutex::new(receiver),
            untaken: Untaken::new(),
        };
        (Arc::new(decisions), report)
    }

    fn hand_over(&self, turn: Turn, event: EgressEvent) -> Value {
        self.untaken
            .hand_over(turn, event, |event| decision_record(&event))
    }
}

/// Whether decisions are made about a new sandbox: if it has rules, or if anything gets credentials.
pub(crate) fn has_decisions(builder: &SandboxBuilder, has_credentials: bool) -> bool {
    builder.egress_rules().is_some() || has_credentials
}

/// Has the decisions of a new sandbox kept, if there are any.
pub(crate) fn keep_decisions(
    builder: SandboxBuilder,
    has_credentials: bool,
) -> (SandboxBuilder, Option<Arc<Decisions>>) {
    if !has_decisions(&builder, has_credentials) {
        return (builder, None);
    }
    let (decisions, report) = Decisions::channel();
    (builder.on_egress(report), Some(decisions))
}

/// Where the decisions of one sandbox are, if its handle gets them.
#[derive(Clone, Default)]
pub(crate) struct DecisionSlot(Arc<Mutex<Option<Arc<Decisions>>>>);

impl DecisionSlot {
    pub(crate) fn new(decisions: Option<Arc<Decisions>>) -> Self {
        Self(Arc::new(Mutex::new(decisions)))
    }

    fn get(&self) -> Option<Arc<Decisions>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, decisions: Arc<Decisions>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(decisions);
    }
}

/// The egress of a sandbox.
#[pyclass(frozen, module = "sandbox_sdk._sandbox")]
pub(crate) struct RawEgress {
    sandbox: Shared<Sandbox>,
    slot: DecisionSlot,
}

impl RawEgress {
    pub(crate) fn new(sandbox: &Shared<Sandbox>, slot: &DecisionSlot) -> Self {
        Self {
            sandbox: Arc::clone(sandbox),
            slot: slot.clone(),
        }
    }
}

#[pymethods]
impl RawEgress {
    /// The rules that this handle serves, as text.
    fn rules(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let sandbox = checked(py, self.sandbox.get())?;
        Ok(sandbox.egress().map(|rules| rules.to_string()))
    }

    fn serve(
        &self,
        rules: EgressRules,
        upstreams: Vec<UpstreamOptions>,
        transforms: Vec<TransformOptions>,
        unverified: bool,
    ) -> Operation {
        let slot = self.slot.clone();
        operation(&self.sandbox, move |sandbox| async move {
            let (decisions, report) = Decisions::channel();
            let mut serving = sandbox.serve_egress(rules.into_certain_rules()?);
            for upstream in upstreams {
                serving = serving.upstream(upstream.into_upstream()?);
            }
            for transform in transforms {
                serving = serving.host_transform(transform.into_transform()?);
            }
            if unverified {
                serving = serving.unverified();
            }
            serving.on_event(report).await?;
            slot.set(decisions);
            Ok(Value::None)
        })
    }

    fn update(&self, rules: EgressRules) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            sandbox.update_egress(rules.into_certain_rules()?)?;
            Ok(Value::None)
        })
    }

    /// Leaves the sandbox offline.
    fn stop(&self) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            sandbox.stop_egress();
            Ok(Value::None)
        })
    }

    fn decisions(&self, py: Python<'_>) -> PyResult<RawDecisions> {
        let missing = || {
            let error = Error::invalid(
                "egress",
                "(none)",
                "this handle gets no decisions; create the sandbox with egress=…, or call serve_egress()",
            );
            raise(py, error.into())
        };
        let decisions = self.slot.get().ok_or_else(missing)?;
        Ok(RawDecisions {
            decisions: share(decisions),
        })
    }
}

/// The decisions about a sandbox's egress.
#[pyclass(frozen, module = "sandbox_sdk._sandbox")]
pub(crate) struct RawDecisions {
    decisions: Shared<Arc<Decisions>>,
}

#[pymethods]
impl RawDecisions {
    /// Waits for an item with the next decision; `None` once the egress is served no more.
    fn next(&self) -> Operation {
        operation(&self.decisions, |decisions| async move {
            let turn = decisions.untaken.turn().await?;
            if let Some(event) = decisions.untaken.take() {
                return Ok(decisions.hand_over(turn, event));
            }
            let next = decisions.receiver.lock().await.recv().await;
            Ok(Value::optional(next, |event| {
                decisions.hand_over(turn, event)
            }))
        })
    }

    /// An item with those that wait to be taken; `None` while another call waits for the next one.
    fn pending(&self) -> Operation {
        operation(&self.decisions, |decisions| async move {
            let Some(turn) = decisions.untaken.try_turn() else {
                return Ok(Value::None);
            };
            let mut found = Vec::new();
            while let Some(event) = decisions.untaken.take() {
                found.push(event);
            }
            let mut receiver = decisions.receiver.lock().await;
            while let Ok(event) = receiver.try_recv() {
                found.push(event);
            }
            Ok(decisions.untaken.hand_over_all(turn, found, |events| {
                Value::List(events.iter().map(decision_record).collect())
            }))
        })
    }
}
