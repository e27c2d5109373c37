//! Takes a sandbox from a pool.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sandbox_core::{Assignment, Error, ExecRequest, OnExpiry, Result, metrics};
use sandbox_egress::EgressEvent;
use tracing::Instrument;

use super::builder::OnEmpty;
use super::shared::Shared;
use super::waiting::HandOverError;
use crate::create::builder::{Personal, copy_of};
use crate::handle::Sandbox;
use crate::handle::egress::EgressHook;

/// How many waiting sandboxes a take tries if they turn out to have ended.
const MAX_ATTEMPTS: usize = 5;

/// A sandbox to be taken from a pool: `.await` takes it. Nothing happens before.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(pool: sandbox::Pool, token: String) -> sandbox::Result<()> {
/// let sbx = pool
///     .take()
///     .label("job", "42")
///     .env("MODE", "ci")
///     .secret_env("API_TOKEN", token)
///     .ttl(Duration::from_secs(600))
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// * [`Error::PoolEmpty`](crate::Error::PoolEmpty), if none waits and the pool was started so, and
///   if it was closed;
/// * [`Error::Creation`](crate::Error::Creation) if the sandbox cannot be set up as requested; it
///   is deleted;
/// * [`Error::Backend`](crate::Error::Backend) if labels, annotations or a ttl cannot be written;
/// * what [`SandboxBuilder::create`](crate::SandboxBuilder::create) returns, if it had to create a
///   sandbox.
///
/// A future that is dropped deletes the sandbox that it was setting up.
#[must_use = "nothing is taken until it is awaited"]
pub struct Take {
    shared: Arc<Shared>,
    request: TakeRequest,
    mistake: Option<Error>,
}

/// What a taken sandbox gets.
pub(super) struct TakeRequest {
    pub(super) assignment: Assignment,
    pub(super) personal: Personal,
    /// Called for each decision about its egress, in place of the pool's.
    pub(super) egress_hook: Option<EgressHook>,
}

impl Take {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let mut assignment = Assignment::default();
        assignment.ttl = shared.settings.ttl;
        let on_expiry = shared.settings.on_expiry;
        assignment.on_expiry = (on_expiry != OnExpiry::End).then_some(on_expiry);
        Self {
            request: TakeRequest {
                assignment,
                personal: Personal::default(),
                egress_hook: None,
            },
            shared,
            mistake: None,
        }
    }

    /// Adds a label, as [`SandboxBuilder::label`](crate::SandboxBuilder::label).
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.request
            .assignment
            .labels
            .insert(key.into(), value.into());
        self
    }

    /// Adds an annotation, as [`SandboxBuilder::annotation`](crate::SandboxBuilder::annotation).
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.request
            .assignment
            .annotations
            .insert(key.into(), value.into());
        self
    }

    /// Sets an environment variable for every command, as
    /// [`SandboxBuilder::env`](crate::SandboxBuilder::env). It is added to those of the pool.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let set = self.request.personal.env.set(name, value);
        self.keep_mistake(set)
    }

    /// Sets an environment variable whose value stays in this program's memory, as
    /// [`SandboxBuilder::secret_env`](crate::SandboxBuilder::secret_env).
    pub fn secret_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let set = self.request.personal.secret_env.set(name, value);
        self.keep_mistake(set)
    }

    /// Adds a command to run before the sandbox is handed out, as
    /// [`SandboxBuilder::init`](crate::SandboxBuilder::init).
    pub fn init(mut self, command: ExecRequest) -> Self {
        self.request.personal.init.push(command);
        self
    }

    /// Ends the sandbox this long after the take, which ends with the initial commands, except with an image's own SSH
    /// server. The default is the `ttl` of the pool's sandboxes.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.request.assignment.ttl = Some(ttl);
        self
    }

    /// Sets what happens at the end of the `ttl`, as
    /// [`SandboxBuilder::on_expiry`](crate::SandboxBuilder::on_expiry). The default is that of the pool's sandboxes.
    pub fn on_expiry(mut self, on_expiry: OnExpiry) -> Self {
        self.request.assignment.on_expiry = Some(on_expiry);
        self
    }

    /// Calls `hook` for each decision about the sandbox's egress from now on, in place of what the pool's sandboxes have
    /// ([`SandboxBuilder::on_egress`](crate::SandboxBuilder::on_egress)). Has no effect on sandboxes without egress rules, upstreams
    /// and transforms.
    pub fn on_egress(mut self, hook: impl Fn(&EgressEvent) + Send + Sync + 'static) -> Self {
        self.request.egress_hook = Some(Arc::new(hook));
        self
    }

    fn keep_mistake(mut self, result: Result<()>) -> Self {
        self.mistake = self.mistake.or(result.err());
        self
    }

    async fn run(self) -> Result<Sandbox> {
        if let Some(mistake) = &self.mistake {
            return Err(copy_of(mistake));
        }
        self.check()?;
        let Self {
            shared, request, ..
        } = self;
        let backend = shared.template.parts.backend.name();
        let measured = metrics::start_pool_take(backend);
        let span = tracing::debug_span!(
            "sandbox.take",
            sandbox.backend = backend,
            sandbox.id = tracing::field::Empty,
        );
        let taken = take(&shared, request).instrument(span.clone()).await;
        if let Ok(sandbox) = &taken {
            span.record("sandbox.id", tracing::field::display(sandbox.id()));
        }
        measured.finish(&taken);
        taken
    }

    /// Checks labels, annotations and ttl as for a new sandbox.
    fn check(&self) -> Result<()> {
        let mut spec = self.shared.template.spec.clone();
        spec.labels.extend(self.request.assignment.labels.clone());
        spec.annotations
            .extend(self.request.assignment.annotations.clone());
        spec.lifetime.ttl = self.request.assignment.ttl;
        spec.validate()
    }
}

impl IntoFuture for Take {
    type Output = Result<Sandbox>;
    type IntoFuture = BoxFuture<'static, Result<Sandbox>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

async fn take(shared: &Arc<Shared>, request: TakeRequest) -> Result<Sandbox> {
    for _ in 0..MAX_ATTEMPTS {
        let Some(waiting) = shared.take_waiting() else {
            break;
        };
        match waiting.hand_over(&request, &shared.template).await {
            Ok(sandbox) => {
                shared.count_take(true);
                return Ok(sandbox);
            }
            Err(HandOverError::Failed(error)) => {
                shared.count_take(true);
                return Err(error);
            }
            Err(HandOverError::Ended(error)) => {
                tracing::info!(%error, "a waiting sandbox has ended; taking the next");
            }
        }
    }
    if shared.is_closed() {
        return Err(closed());
    }
    shared.count_take(false);
    match shared.settings.on_empty {
        OnEmpty::Create => create(shared, request).await,
        OnEmpty::Wait(limit) => wait(shared, &request, limit).await,
        OnEmpty::Fail => Err(empty(shared, "none is ready")),
    }
}

/// Creates a sandbox, as without the pool.
async fn create(shared: &Shared, request: TakeRequest) -> Result<Sandbox> {
    let mut builder = shared.template.clone();
    builder.spec.labels.extend(request.assignment.labels);
    builder
        .spec
        .annotations
        .extend(request.assignment.annotations);
    builder.spec.lifetime.ttl = request.assignment.ttl;
    builder.spec.lifetime.on_expiry = request.assignment.on_expiry.unwrap_or_default();
    let personal = &mut builder.personal;
    personal.env.extend(&request.personal.env);
    personal.secret_env.extend(&request.personal.secret_env);
    personal.init.extend(request.personal.init);
    builder.egress.hook = request.egress_hook.or(builder.egress.hook);
    builder.create().await
}

/// Waits for the next sandbox.
async fn wait(shared: &Arc<Shared>, request: &TakeRequest, limit: Duration) -> Result<Sandbox> {
    let waited = tokio::time::timeout(limit, async {
        loop {
            let next = shared.request().ok_or_else(closed)?;
            let waiting = next.await.map_err(|_closed| closed())?;
            match waiting.hand_over(request, &shared.template).await {
                Ok(sandbox) => return Ok(sandbox),
                Err(HandOverError::Failed(error)) => return Err(error),
                Err(HandOverError::Ended(error)) => {
                    tracing::info!(%error, "a new sandbox has ended; waiting for the next");
                }
            }
        }
    });
    match waited.await {
        Ok(taken) => taken,
        Err(_elapsed) => Err(empty(shared, &format!("none became ready in {limit:?}"))),
    }
}

fn empty(shared: &Shared, what: &str) -> Error {
    let problem = shared.status().problem;
    let message = match &problem {
        Some(problem) => format!("{what}, because creations fail: {}", problem.message),
        None => format!("{what}; raise the pool's size, or let it create one"),
    };
    Error::PoolEmpty {
        message,
        reason: problem.and_then(|problem| problem.reason),
    }
}

fn closed() -> Error {
    Error::PoolEmpty {
        message: "the pool was closed".to_owned(),
        reason: None,
    }
}

impl fmt::Debug for Take {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Take")
            .field("assignment", &self.request.assignment)
            .finish_non_exhaustive()
    }
}
