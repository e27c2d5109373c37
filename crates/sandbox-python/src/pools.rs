//! Pools of waiting sandboxes.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::prelude::*;
use sandbox::{FromPool, OnEmpty, Pool, PoolBuilder, Result, Take};

use crate::builder::InitCommand;
use crate::calls::{Shared, nothing, operation, share};
use crate::core::arguments::{duration, optional_duration};
use crate::egress::Decisions;
use crate::errors::checked;
use crate::operation::Operation;
use crate::records::pool_record;
use crate::sandbox_object::new_sandbox;
use crate::value::Value;

/// The options of a pool, a dictionary with all of these keys.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct PoolOptions {
    size: usize,
    max_size: Option<usize>,
    max_age: Option<f64>,
    concurrency: Option<usize>,
    on_empty: OnEmptyOption,
}

/// What happens if no sandbox waits: `create`, `fail`, or the seconds to wait for one.
#[derive(FromPyObject)]
pub(crate) enum OnEmptyOption {
    Seconds(f64),
    Word(String),
}

impl OnEmptyOption {
    fn into_choice(self) -> Result<OnEmpty> {
        match self {
            Self::Seconds(seconds) => Ok(OnEmpty::Wait(duration("on_empty", seconds)?)),
            Self::Word(word) => match word.as_str() {
                "create" => Ok(OnEmpty::Create),
                "fail" => Ok(OnEmpty::Fail),
                _ => Err(sandbox::Error::invalid(
                    "on_empty",
                    word,
                    "use \"create\", \"fail\", or the seconds to wait for one",
                )),
            },
        }
    }
}

impl PoolOptions {
    pub(crate) fn apply(self, mut builder: PoolBuilder) -> Result<PoolBuilder> {
        builder = builder
            .sizes(self.size..=self.max_size.unwrap_or(self.size))
            .on_empty(self.on_empty.into_choice()?);
        if let Some(max_age) = optional_duration("max_age", self.max_age)? {
            builder = builder.max_age(max_age);
        }
        if let Some(concurrency) = self.concurrency {
            builder = builder.concurrency(concurrency);
        }
        Ok(builder)
    }
}

/// The options of a claim from a shared pool that those of its sandboxes do not have.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct ClaimOptions {
    on_empty: Option<OnEmptyOption>,
}

impl ClaimOptions {
    pub(crate) fn apply(self, mut claim: FromPool) -> Result<FromPool> {
        if let Some(on_empty) = self.on_empty {
            claim = claim.on_empty(on_empty.into_choice()?);
        }
        Ok(claim)
    }
}

/// What a taken sandbox gets, a dictionary with all of these keys.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct TakeOptions {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    secret_env: BTreeMap<String, String>,
    init: Vec<InitCommand>,
    ttl: Option<f64>,
    on_expiry: Option<String>,
}

impl TakeOptions {
    fn apply(self, mut take: Take) -> Result<Take> {
        for (key, value) in self.labels {
            take = take.label(key, value);
        }
        for (key, value) in self.annotations {
            take = take.annotation(key, value);
        }
        for (name, value) in self.env {
            take = take.env(name, value);
        }
        for (name, value) in self.secret_env {
            take = take.secret_env(name, value);
        }
        for command in self.init {
            take = take.init(command.into_request());
        }
        if let Some(ttl) = optional_duration("ttl", self.ttl)? {
            take = take.ttl(ttl);
        }
        if let Some(on_expiry) = &self.on_expiry {
            take = take.on_expiry(on_expiry.parse()?);
        }
        Ok(take)
    }
}

/// A pool of this process.
#[pyclass(frozen, module = "sandbox_sdk._sandbox")]
pub(crate) struct RawPool {
    pool: Shared<Arc<Pool>>,
    /// Whether decisions are made about the egress of its sandboxes.
    has_decisions: bool,
}

impl RawPool {
    pub(crate) fn new(pool: Pool, has_decisions: bool) -> Self {
        Self {
            pool: share(Arc::new(pool)),
            has_decisions,
        }
    }
}

#[pymethods]
impl RawPool {
    fn take(&self, options: TakeOptions) -> Operation {
        let has_decisions = self.has_decisions;
        operation(&self.pool, move |pool| async move {
            let take = options.apply(pool.take())?;
            if !has_decisions {
                return new_sandbox(take.await?, None);
            }
            let (decisions, report) = Decisions::channel();
            new_sandbox(take.on_egress(report).await?, Some(decisions))
        })
    }

    /// Waits until the pool is full.
    fn filled(&self) -> Operation {
        operation(&self.pool, |pool| async move {
            pool.filled().await;
            Ok(Value::None)
        })
    }

    fn status(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        pool_record(&checked(py, self.pool.get())?.status()).into_python(py)
    }

    /// Deletes what waits.
    fn close(&self) -> Operation {
        operation(
            &self.pool,
            |pool| async move { nothing(pool.close().await) },
        )
    }
}
