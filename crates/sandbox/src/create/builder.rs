//! The builder for a new sandbox.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{
    ByteSize, Check, Cpu, Env, Error, ExecRequest, Result, SandboxEvent, SandboxId, SandboxSpec,
};

use crate::handle::cache::HandleCache;
use crate::handle::egress::EgressSetup;
use crate::parts::Parts;

/// Describes and creates a sandbox.
///
/// Amounts are text in Kubernetes' notation. [`create`](Self::create) reports invalid ones, so
/// calls can be chained.
///
/// A setting that the backend cannot apply is never ignored: [`create`](Self::create) returns
/// [`Error::Unsupported`](crate::Error::Unsupported).
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
    pub(crate) parts: Arc<Parts>,
    pub(crate) handles: Arc<HandleCache>,
    pub(crate) spec: SandboxSpec,
    pub(crate) personal: Personal,
    pub(crate) egress: EgressSetup,
    pub(crate) on_event: Option<EventHook>,
    pub(crate) create_timeout: Duration,
    /// How long a sandbox waits for room besides.
    pub(crate) room_timeout: Duration,
    mistake: Option<Arc<Error>>,
}

/// Called for each step of a creation.
pub(crate) type EventHook = Arc<dyn Fn(&SandboxEvent) + Send + Sync>;

/// The settings that are applied over SSH once the sandbox is ready.
#[derive(Clone, Default)]
pub(crate) struct Personal {
    pub(crate) env: Env,
    pub(crate) secret_env: Env,
    pub(crate) init: Vec<ExecRequest>,
}

impl Personal {
    /// Whether anything is applied to a sandbox itself.
    pub(crate) fn needs_setup(&self) -> bool {
        !self.env.is_empty() || !self.init.is_empty()
    }
}

impl SandboxBuilder {
    pub(crate) fn new(parts: Arc<Parts>, handles: Arc<HandleCache>) -> Self {
        let create_timeout = parts.defaults.create_timeout;
        Self {
            spec: default_spec(&parts),
            egress: EgressSetup {
                rules: parts.defaults.egress.clone(),
                ..EgressSetup::default()
            },
            parts,
            handles,
            personal: Personal::default(),
            on_event: None,
            create_timeout,
            room_timeout: Duration::ZERO,
            mistake: None,
        }
    }

    /// Sets the id, instead of a generated one.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// let sbx = client.sandbox().id("nightly-tests").create().await?;
    /// assert_eq!(sbx.id().as_str(), "nightly-tests");
    /// # Ok(())
    /// # }
    /// ```
    pub fn id(self, id: impl AsRef<str>) -> Self {
        self.set_parsed(id.as_ref(), |spec, id: SandboxId| spec.id = Some(id))
    }

    /// Sets the container image, such as `python:3.12-slim`. Backends without images, such as local
    /// sandboxes, return [`Error::Unsupported`](crate::Error::Unsupported).
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// let sbx = client.sandbox().image("python:3.12-slim").cpu("500m").memory("512Mi").create().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn image(mut self, image: impl Into<String>) -> Self {
        self.spec.image = Some(image.into());
        self
    }

    /// Limits CPU time, for example to `500m` or `2` processors. A backend that cannot apply the
    /// limit returns [`Error::Unsupported`](crate::Error::Unsupported); local sandboxes need a
    /// writable cgroup for it.
    pub fn cpu(self, cpu: impl AsRef<str>) -> Self {
        self.set_parsed(cpu.as_ref(), |spec, cpu: Cpu| {
            spec.resources.cpu = Some(cpu)
        })
    }

    /// Limits memory, without swap, for example to `512Mi`. A backend that cannot apply the limit
    /// returns [`Error::Unsupported`](crate::Error::Unsupported); local sandboxes need a writable
    /// cgroup for it.
    pub fn memory(self, memory: impl AsRef<str>) -> Self {
        self.set_parsed(memory.as_ref(), |spec, memory: ByteSize| {
            spec.resources.memory = Some(memory)
        })
    }

    /// Limits the bytes that may be written to the sandbox's own disk, for example to `1Gi`. A
    /// backend that cannot apply the limit returns
    /// [`Error::Unsupported`](crate::Error::Unsupported); local sandboxes need namespaces for it,
    /// and keep the disk in memory.
    pub fn disk(self, disk: impl AsRef<str>) -> Self {
        self.set_parsed(disk.as_ref(), |spec, disk: ByteSize| {
            spec.resources.disk = Some(disk)
        })
    }

    /// Limits the number of processes and threads. A backend that cannot apply the limit returns
    /// [`Error::Unsupported`](crate::Error::Unsupported): Kubernetes has no such limit for a Pod.
    pub fn pids(mut self, pids: u32) -> Self {
        self.spec.resources.pids = Some(pids);
        self
    }

    /// Adds a label, to find the sandbox with [`Client::list`](crate::Client::list).
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.spec.labels.insert(key.into(), value.into());
        self
    }

    /// Adds an annotation, to keep a fact with the sandbox: any text, under a key as that of a label. It selects nothing.
    /// All annotations together may have [`MAX_ANNOTATIONS`](crate::MAX_ANNOTATIONS) bytes.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// let sbx = client.sandbox().annotation("example.com/owner", "Ada Lovelace").create().await?;
    /// assert_eq!(sbx.info().annotations["example.com/owner"], "Ada Lovelace");
    /// # Ok(())
    /// # }
    /// ```
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.spec.annotations.insert(key.into(), value.into());
        self
    }

    /// Sets options that only Kubernetes has, such as node selectors, volumes and devices. They are
    /// applied on top of the options for all sandboxes of the client, and replace those of an
    /// earlier call. Other backends return [`Error::Unsupported`](crate::Error::Unsupported).
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// use sandbox::k8s::{PodOptions, PodVolume, VolumeSource};
    ///
    /// let options = PodOptions::new()
    ///     .node_selector("disk", "ssd")
    ///     .tolerate("nvidia.com/gpu")
    ///     .extended_resource("nvidia.com/gpu", "1")
    ///     .volume(PodVolume::new("data", "/data", VolumeSource::PersistentVolumeClaim("dataset".into())));
    /// let sbx = client.sandbox().image("python:3.12-slim").kubernetes(options).create().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "k8s")]
    pub fn kubernetes(mut self, options: sandbox_k8s::options::PodOptions) -> Self {
        let written = options
            .to_value()
            .map(|options| self.spec.backend_options.set("k8s", options));
        self.keep_mistake(written)
    }

    /// Sets options that only the named backend has, as JSON. For `k8s` that is the JSON form of
    /// `PodOptions` of the crate `sandbox-k8s`. Other backends return
    /// [`Error::Unsupported`](crate::Error::Unsupported).
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// # let options = serde_json::Value::Null;
    /// let sbx = client.sandbox().backend_options("k8s", options).create().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn backend_options(
        mut self,
        backend: impl Into<String>,
        options: serde_json::Value,
    ) -> Self {
        self.spec.backend_options.set(backend, options);
        self
    }

    /// Sets an environment variable for every command. It is stored in the sandbox, so that other
    /// processes that connect to it get it too.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let set = self.personal.env.set(name, value);
        self.keep_mistake(set)
    }

    /// Sets an environment variable whose value stays in this program's memory. It is sent over SSH
    /// with every command of this handle, and is never stored.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client, token: String) -> sandbox::Result<()> {
    /// let sbx = client.sandbox().env("MODE", "ci").secret_env("API_TOKEN", token).create().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn secret_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let set = self.personal.secret_env.set(name, value);
        self.keep_mistake(set)
    }

    /// Adds a command to run in the sandbox before `create` returns. If it fails, the creation
    /// fails with [`CreationReason::Setup`](crate::CreationReason::Setup), and the sandbox is
    /// deleted.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// use sandbox::ExecRequest;
    ///
    /// let sbx = client
    ///     .sandbox()
    ///     .init(ExecRequest::from_argv(["mkdir", "-p", "work"]))
    ///     .init(ExecRequest::from_shell("echo ready > work/state"))
    ///     .create()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn init(mut self, command: ExecRequest) -> Self {
        self.personal.init.push(command);
        self
    }

    /// Calls `hook` for each step of the creation, as it happens.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// let report = |event: &sandbox::SandboxEvent| eprintln!("{} {}", event.kind, event.message);
    /// let sbx = client.sandbox().on_event(report).create().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_event(mut self, hook: impl Fn(&SandboxEvent) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(hook));
        self
    }

    /// Checks whether such a sandbox could be created, without creating one. On a cluster it checks
    /// the version, each permission that is needed and the namespace, and creates a Pod with a
    /// server-side dry run.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// for check in client.sandbox().preflight().await? {
    ///     println!("{}: {:?} ({})", check.name, check.verdict, check.detail);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for an invalid setting.
    pub async fn preflight(self) -> Result<Vec<Check>> {
        self.check()?;
        Ok(self.parts.backend.preflight(self.spec).await)
    }

    /// Returns the first mistake of an earlier call.
    pub(crate) fn check(&self) -> Result<()> {
        match self.mistake.as_deref() {
            Some(mistake) => Err(copy_of(mistake)),
            None => Ok(()),
        }
    }

    /// Returns the specification of a builder that nothing was set on.
    pub(crate) fn default_spec(&self) -> SandboxSpec {
        default_spec(&self.parts)
    }

    fn set_parsed<T: std::str::FromStr<Err = Error>>(
        mut self,
        text: &str,
        set: impl FnOnce(&mut SandboxSpec, T),
    ) -> Self {
        let parsed = text.parse().map(|value| set(&mut self.spec, value));
        self.keep_mistake(parsed)
    }

    /// Keeps the first mistake, which `create` reports.
    fn keep_mistake(mut self, result: Result<()>) -> Self {
        if let (Err(mistake), None) = (result, &self.mistake) {
            self.mistake = Some(Arc::new(mistake));
        }
        self
    }
}

impl fmt::Debug for SandboxBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxBuilder")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

fn default_spec(parts: &Parts) -> SandboxSpec {
    let defaults = &parts.defaults;
    let mut spec = SandboxSpec::default();
    spec.image.clone_from(&defaults.image);
    spec.resources = defaults.resources;
    spec.lifetime = defaults.lifetime;
    spec
}

/// Copies a mistake, because a builder can be cloned and an error cannot. All mistakes are of the
/// kind [`Error::Invalid`].
pub(crate) fn copy_of(mistake: &Error) -> Error {
    match mistake {
        Error::Invalid {
            argument,
            value,
            reason,
        } => Error::invalid(argument, value, reason),
        other => Error::invalid("sandbox", "(builder)", other.to_string()),
    }
}
