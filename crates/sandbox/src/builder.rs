//! Describing a new sandbox.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{
    ByteSize, Check, Cpu, Env, Error, ExecRequest, Result, SandboxEvent, SandboxId, SandboxSpec,
};

use crate::{Client, Sandbox, create};

/// Describes a new sandbox, and creates it.
///
/// Amounts are given as text in Kubernetes' notation. A wrong one is reported by
/// [`create`](Self::create), so that calls can be chained.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
/// let sbx = client
///     .sandbox()
///     .memory("512Mi")
///     .label("team", "ml")
///     .env("MODE", "ci")
///     .ttl(Duration::from_secs(1800))
///     .create()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `create` is called"]
#[derive(Clone)]
pub struct SandboxBuilder {
    pub(crate) client: Client,
    pub(crate) spec: SandboxSpec,
    pub(crate) personal: Personal,
    pub(crate) on_event: Option<EventHook>,
    pub(crate) create_timeout: Duration,
    mistake: Option<Arc<Error>>,
}

/// Told of each step of a creation, as it happens.
pub(crate) type EventHook = Arc<dyn Fn(&SandboxEvent) + Send + Sync>;

/// What goes in over SSH, once the sandbox answers.
#[derive(Clone, Default)]
pub(crate) struct Personal {
    pub(crate) env: Env,
    pub(crate) secret_env: Env,
    pub(crate) init: Vec<ExecRequest>,
}

impl SandboxBuilder {
    pub(crate) fn new(client: Client) -> Self {
        let defaults = &client.parts.defaults;
        let mut spec = SandboxSpec::default();
        spec.image.clone_from(&defaults.image);
        spec.resources = defaults.resources;
        spec.lifetime = defaults.lifetime;
        let create_timeout = defaults.create_timeout;
        Self { client, spec, personal: Personal::default(), on_event: None, create_timeout, mistake: None }
    }

    /// Its id, in place of a generated one.
    pub fn id(self, id: impl AsRef<str>) -> Self {
        self.parsed(id.as_ref(), |spec, id: SandboxId| spec.id = Some(id))
    }

    /// The container image, such as `python:3.12-slim`.
    pub fn image(mut self, image: impl Into<String>) -> Self {
        self.spec.image = Some(image.into());
        self
    }

    /// Processor time: `500m`, `2`.
    pub fn cpu(self, cpu: impl AsRef<str>) -> Self {
        self.parsed(cpu.as_ref(), |spec, cpu: Cpu| spec.resources.cpu = Some(cpu))
    }

    /// Memory, without swap: `512Mi`.
    pub fn memory(self, memory: impl AsRef<str>) -> Self {
        self.parsed(memory.as_ref(), |spec, memory: ByteSize| spec.resources.memory = Some(memory))
    }

    /// Bytes that may be written to its own disk: `1Gi`.
    pub fn disk(self, disk: impl AsRef<str>) -> Self {
        self.parsed(disk.as_ref(), |spec, disk: ByteSize| spec.resources.disk = Some(disk))
    }

    /// Processes and threads.
    pub fn pids(mut self, pids: u32) -> Self {
        self.spec.resources.pids = Some(pids);
        self
    }

    /// A label to find it by.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.spec.labels.insert(key.into(), value.into());
        self
    }

    /// What only a cluster can do, such as node selectors, volumes and devices. It comes over
    /// what holds for all sandboxes of the client, and in place of what an earlier call said.
    /// Every other backend refuses it.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// use sandbox::k8s::{PodOptions, VolumeAt, VolumeSource};
    ///
    /// let options = PodOptions::new()
    ///     .node_selector("disk", "ssd")
    ///     .tolerate("nvidia.com/gpu")
    ///     .extended_resource("nvidia.com/gpu", "1")
    ///     .volume(VolumeAt::new("data", "/data", VolumeSource::PersistentVolumeClaim("dataset".into())));
    /// let sbx = client.sandbox().image("python:3.12-slim").kubernetes(options).create().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "k8s")]
    pub fn kubernetes(mut self, options: sandbox_k8s::options::PodOptions) -> Self {
        let written = options.to_value().map(|options| self.spec.backend_options.set("k8s", options));
        self.note(written)
    }

    /// What only the backend of this name can do, in its own text form: for `k8s`, that of
    /// `PodOptions` of the crate `sandbox-k8s`. Every other backend refuses it.
    pub fn backend_options(mut self, backend: impl Into<String>, options: serde_json::Value) -> Self {
        self.spec.backend_options.set(backend, options);
        self
    }

    /// An environment variable for every command.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let set = self.personal.env.set(name, value);
        self.note(set)
    }

    /// An environment variable whose value stays in this program's memory and goes with every
    /// command of this handle over SSH; it is stored nowhere.
    pub fn secret_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let set = self.personal.secret_env.set(name, value);
        self.note(set)
    }

    /// A command to run in it before it is handed out; one that fails fails the creation.
    pub fn init(mut self, command: ExecRequest) -> Self {
        self.personal.init.push(command);
        self
    }

    /// Ends it so long after its creation; [`Sandbox::extend`] puts that off.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.spec.lifetime.ttl = Some(ttl);
        self
    }

    /// Ends it so long after its creation, without appeal.
    pub fn max_lifetime(mut self, max: Duration) -> Self {
        self.spec.lifetime.max_lifetime = max;
        self
    }

    /// Ends it when nothing was asked of it for so long.
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.spec.lifetime.idle_timeout = Some(idle);
        self
    }

    /// Lets it outlive this program, until it is deleted or its lifetime ends.
    pub fn detached(mut self) -> Self {
        self.spec.lifetime.attach_timeout = None;
        self
    }

    /// How long the creation may take, until SSH answers; 5 minutes unless set.
    pub fn create_timeout(mut self, timeout: Duration) -> Self {
        self.create_timeout = timeout;
        self
    }

    /// Told of each step of the creation, as it happens.
    pub fn on_event(mut self, hook: impl Fn(&SandboxEvent) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(hook));
        self
    }

    /// Creates it: provisions it, connects to it, sets it up. Returns when a command can be
    /// run. When it fails, runs out of time or is dropped half-way, nothing is left of it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid), [`Error::AlreadyExists`](crate::Error::AlreadyExists), [`Error::Unsupported`](crate::Error::Unsupported) before anything
    /// was made, then [`Error::Creation`](crate::Error::Creation) with the step that failed, the backend's words, the
    /// latest events and the last lines of the log.
    pub async fn create(self) -> Result<Sandbox> {
        match self.mistake.clone() {
            Some(mistake) => Err(rebuilt(&mistake)),
            None => create::create(self).await,
        }
    }

    /// Looks whether such a sandbox could be made, and what could be better, without making one: on a
    /// cluster its version, each right that is needed, the namespace, and a Pod as a dry run.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for a mistake in the description.
    pub async fn preflight(self) -> Result<Vec<Check>> {
        match &self.mistake {
            Some(mistake) => Err(rebuilt(mistake)),
            None => Ok(self.client.parts.backend.preflight(self.spec).await),
        }
    }

    fn parsed<T: std::str::FromStr<Err = Error>>(
        mut self,
        text: &str,
        set: impl FnOnce(&mut SandboxSpec, T),
    ) -> Self {
        let parsed = text.parse().map(|value| set(&mut self.spec, value));
        self.note(parsed)
    }

    /// Keeps the first mistake for `create` to report.
    fn note(mut self, result: Result<()>) -> Self {
        if let (Err(mistake), None) = (result, &self.mistake) {
            self.mistake = Some(Arc::new(mistake));
        }
        self
    }
}

impl fmt::Debug for SandboxBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxBuilder").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// A builder can be cloned and an error cannot: mistakes are of one kind, which can be made
/// again.
fn rebuilt(mistake: &Error) -> Error {
    match mistake {
        Error::Invalid { what, value, why } => Error::invalid(what, value, why),
        other => Error::invalid("sandbox", "(builder)", other.to_string()),
    }
}
