//! Clients.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::prelude::*;
use sandbox::{Client, ListFilter, Result, SandboxId, Settings, SweepOptions};

use crate::builder::{CreateOptions, report_events};
use crate::calls::{Shared, nothing, object, operation, reporting_operation, share};
use crate::egress::{has_decisions, keep_decisions};
use crate::errors::checked;
use crate::leftovers::LEFTOVERS;
use crate::operation::Operation;
use crate::pools::{ClaimOptions, PoolOptions, RawPool};
use crate::records::info_record;
use crate::sandbox_object::{RawSandbox, new_sandbox};
use crate::value::Value;

/// How long the end of a client waits for what is still to be removed.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// The settings that a client is created from, a dictionary with all of these keys. `None` leaves one to the environment.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct ClientOptions {
    env_file: Option<PathBuf>,
    backend: Option<String>,
    image: Option<String>,
    namespace: Option<String>,
    context: Option<String>,
    kubeconfig: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    isolation: Option<String>,
    /// The command of the same wheel, which local sandboxes start from unless a setting names another.
    command: Option<PathBuf>,
    /// The servers of the same wheel, which are uploaded into Pods unless a setting names others.
    servers: Option<PathBuf>,
}

impl ClientOptions {
    fn into_settings(self) -> Result<Settings> {
        let mut settings = match &self.env_file {
            Some(file) => Settings::from_dotenv(file)?,
            None => Settings::from_env()?,
        };
        if let Some(backend) = &self.backend {
            settings.backend = backend.parse()?;
        }
        settings.image = self.image.or(settings.image);
        let kubernetes = &mut settings.kubernetes;
        kubernetes.namespace = self.namespace.or(kubernetes.namespace.take());
        kubernetes.context = self.context.or(kubernetes.context.take());
        kubernetes.kubeconfig = self.kubeconfig.or(kubernetes.kubeconfig.take());
        kubernetes.server_path = kubernetes.server_path.take().or(self.servers);
        let local = &mut settings.local;
        local.state_dir = self.state_dir.or(local.state_dir.take());
        if let Some(isolation) = self.isolation {
            local.isolation = isolation;
        }
        local.server = local.server.take().or(self.command);
        Ok(settings)
    }
}

/// Opens a client.
#[pyfunction]
pub(crate) fn open_client(options: ClientOptions) -> Operation {
    let open = async move {
        let settings = options.into_settings()?;
        let client = Client::from_settings(&settings).await?;
        object(RawClient {
            client: share(client),
        })
    };
    Operation::new(open, None)
}

/// A client.
#[pyclass(frozen, module = "sandbox_sdk._sandbox")]
pub(crate) struct RawClient {
    client: Shared<Client>,
}

#[pymethods]
impl RawClient {
    fn create(&self, options: CreateOptions, on_event: Option<Py<PyAny>>) -> Operation {
        reporting_operation(&self.client, on_event, |client, reports| async move {
            let has_credentials = options.has_credentials();
            let builder = report_events(options.into_builder(&client)?, reports);
            let (builder, decisions) = keep_decisions(builder, has_credentials);
            new_sandbox(builder.create().await?, decisions)
        })
    }

    /// Claims a sandbox from a pool that processes share.
    fn claim(
        &self,
        pool: String,
        options: CreateOptions,
        claim: ClaimOptions,
        on_event: Option<Py<PyAny>>,
    ) -> Operation {
        reporting_operation(&self.client, on_event, |client, reports| async move {
            let has_credentials = options.has_credentials();
            let builder = report_events(options.into_builder(&client)?, reports);
            let (builder, decisions) = keep_decisions(builder, has_credentials);
            let claimed = claim.apply(builder.from_pool(pool))?.create().await?;
            new_sandbox(claimed, decisions)
        })
    }

    fn connect(&self, id: String) -> Operation {
        operation(&self.client, |client| async move {
            let id: SandboxId = id.parse()?;
            object(RawSandbox::new(client.connect(&id).await?, None))
        })
    }

    fn list(&self, labels: BTreeMap<String, String>) -> Operation {
        operation(&self.client, |client| async move {
            let found = client.list(ListFilter::from_labels(labels)).await?;
            Ok(Value::List(found.iter().map(info_record).collect()))
        })
    }

    /// By id, as in the original SDK.
    fn info(&self, id: String) -> Operation {
        operation(&self.client, |client| async move {
            let id: SandboxId = id.parse()?;
            Ok(info_record(&client.get_sandbox_info(&id).await?))
        })
    }

    /// By id, as in the original SDK.
    fn delete(&self, id: String) -> Operation {
        operation(&self.client, |client| async move {
            let id: SandboxId = id.parse()?;
            nothing(client.delete_sandbox(&id).await)
        })
    }

    fn pool(&self, options: CreateOptions, pool: PoolOptions) -> Operation {
        operation(&self.client, |client| async move {
            let has_credentials = options.has_credentials();
            let sandboxes = options.into_builder(&client)?;
            let has_decisions = has_decisions(&sandboxes, has_credentials);
            let pool = pool.apply(client.pool(sandboxes))?.start()?;
            object(RawPool::new(pool, has_decisions))
        })
    }

    fn sweep(&self, dry_run: bool) -> Operation {
        operation(&self.client, move |client| async move {
            let options = if dry_run {
                SweepOptions::dry_run()
            } else {
                SweepOptions::default()
            };
            let report = client.sweep(options).await?;
            let removed = report.removed.into_iter();
            let failed = report.failed.into_iter();
            let pair = |id: SandboxId, text: String| {
                Value::Tuple(vec![Value::text(id.as_str()), Value::Text(text)])
            };
            Ok(Value::Tuple(vec![
                Value::List(removed.map(|swept| pair(swept.id, swept.reason)).collect()),
                Value::List(
                    failed
                        .map(|failure| pair(failure.id, failure.error))
                        .collect(),
                ),
            ]))
        })
    }

    fn preflight(&self, options: CreateOptions) -> Operation {
        operation(&self.client, |client| async move {
            let checks = options.into_builder(&client)?.preflight().await?;
            let records = checks.into_iter().map(|check| {
                Value::Tuple(vec![
                    Value::text(check.name),
                    Value::text(format!("{:?}", check.verdict).to_lowercase()),
                    Value::text(check.detail),
                ])
            });
            Ok(Value::List(records.collect()))
        })
    }

    /// Waits, at most ten seconds, until what interrupted calls have left is removed. Returns whether it is.
    fn settle(&self) -> Operation {
        operation(&self.client, |client| async move {
            let settling = async {
                // The client knows what calls have left only once they are dropped.
                LEFTOVERS.wait_until_none().await;
                client.settle().await;
            };
            let settled = tokio::time::timeout(SETTLE_LIMIT, settling).await;
            Ok(Value::Bool(settled.is_ok()))
        })
    }

    /// The backend's name, and where it is.
    fn place(&self, py: Python<'_>) -> PyResult<(&'static str, Option<String>)> {
        let client = checked(py, self.client.get())?;
        Ok((client.backend_name(), client.location().map(str::to_owned)))
    }
}
