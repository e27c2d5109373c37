//! The way out of a sandbox that has no network: a proxy in this process, behind a port on the sandbox's loopback
//! interface.

mod authority;
mod connect;
pub(crate) mod proof;
mod proxy;
mod setup;

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sandbox_core::{
    ConnectionStage, DownloadRequest, Env, Error, Result, TransferReason, UploadRequest,
    environment_file,
};
use sandbox_egress::{Ask, Dial, Egress, EgressEvent, HostTransform, NamedUpstream, Resolve};
use tokio::time::Instant;

use super::Sandbox;
use crate::memory::MemoryWriter;
use crate::sync::lock;
use proof::{Unproved, prove};
pub(crate) use proxy::EgressProxy;
pub(crate) use setup::{EgressHook, EgressSetup};

/// What else can be done if nothing keeps a sandbox from its network. The command names its own option for that.
pub(crate) const UNVERIFIED_HINT: &str =
    "or accept that the rules bind only programs that use the proxy, with unverified_egress()";

/// How long a port is asked for that a former server may not have released yet, and the pause in between.
const FORMER_SERVER_PATIENCE: Duration = Duration::from_secs(2);
const FORMER_SERVER_PAUSE: Duration = Duration::from_millis(200);

impl Sandbox {
    /// Serves the sandbox's way out from this process, until the last handle is dropped or [`stop_egress`](Self::stop_egress)
    /// is called. Awaiting it returns once it is served.
    ///
    /// For a sandbox that was created without [`egress`](crate::SandboxBuilder::egress), or by a process that has ended. A
    /// sandbox is offline while no client serves it. New commands get the variables by which programs find the proxy.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// use sandbox::Egress;
    ///
    /// sbx.serve_egress(Egress::packages()).on_event(|event| println!("{event:?}")).await?;
    /// sbx.command("pip").args(["install", "requests"]).output().await?.check()?;
    /// sbx.update_egress(Egress::none())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// * [`Error::Unsupported`](crate::Error::Unsupported) if the sandbox has another way out. On a cluster that is tried,
    ///   for at most 30 seconds, and the Pod gets the label that its policy selects;
    /// * [`Error::Backend`](crate::Error::Backend) on a cluster, if its policies let the sandbox out;
    /// * [`Error::Invalid`](crate::Error::Invalid) for upstreams or transforms that exclude each other, and for rules that exclude
    ///   transforms;
    /// * [`Error::Connection`](crate::Error::Connection), also if another process serves it.
    pub fn serve_egress(&self, rules: Egress) -> ServeEgress {
        ServeEgress {
            sandbox: self.clone(),
            setup: EgressSetup::new(rules),
        }
    }

    /// Replaces all egress rules at once. Connections that the new rules refuse are closed, and others stay open. Upstreams stay,
    /// unless the new rules deny them. The host of a transform needs a rule that allows it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if this handle serves no egress, or if there are transforms and the rules allow
    /// every host.
    pub fn update_egress(&self, rules: Egress) -> Result<()> {
        match &*lock(&self.inner.egress) {
            Some(egress) => egress.proxy().update(rules),
            None => Err(Error::invalid(
                "egress",
                rules.to_string(),
                "this handle does not serve the sandbox's egress; call serve_egress first",
            )),
        }
    }

    /// Returns the egress rules that this handle serves, if it serves any.
    pub fn egress(&self) -> Option<Egress> {
        lock(&self.inner.egress)
            .as_ref()
            .map(|egress| egress.proxy().rules())
    }

    /// Stops serving the sandbox's egress: it is offline from now on. Does nothing if this handle serves none.
    pub fn stop_egress(&self) {
        let stopped = lock(&self.inner.egress).take();
        drop(stopped);
    }

    /// Keeps the sandbox from its network, and proves it.
    async fn isolate(&self) -> Result<()> {
        let info = self.info();
        let isolation = self
            .inner
            .parts
            .backend
            .isolate_network(&info.id, &info.uid)
            .await?;
        match prove(&**self.session(), info.port, &isolation).await {
            Ok(()) => Ok(()),
            Err(Unproved::Failed(error)) => Err(error),
            Err(Unproved::Reaches(message)) => Err(Error::unsupported_because(
                "enforcing egress rules",
                format!("the network of sandbox {}", info.id),
                message,
                UNVERIFIED_HINT,
            )),
        }
    }

    /// Adds the variables to those that the sandbox's server gives every command, as far as they are not there.
    async fn store_variables(&self, env: &Env) -> Result<()> {
        let path = environment_file::PATH;
        let (writer, content) = MemoryWriter::new();
        let mut request = DownloadRequest::new(path);
        request.max_size = Some(environment_file::MAX_BYTES as u64);
        let stored = match self.session().download(request, Box::new(writer)).await {
            Ok(_) => content.take(),
            Err(Error::Transfer(error)) if error.reason == TransferReason::NotFound => Bytes::new(),
            Err(error) => return Err(error),
        };
        let has = |(name, value): (&str, &str)| {
            environment_file::parse(&stored)
                .filter(|(stored, _)| *stored == name.as_bytes())
                .last()
                .is_some_and(|(_, stored)| stored == value.as_bytes())
        };
        let mut missing = Env::default();
        for (name, value) in env.iter().filter(|variable| !has(*variable)) {
            missing.set(name, value)?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        // What follows the last NUL byte is read as lines.
        let mut text = stored.to_vec();
        if !matches!(text.last(), None | Some(b'\n' | b'\0')) {
            text.push(b'\n');
        }
        text.extend_from_slice(&environment_file::encode(&missing)?);
        self.session().create_dir(&".sandbox".into(), true).await?;
        let mut file = UploadRequest::new(path);
        file.mode = Some(0o600);
        self.session()
            .upload(file, Box::new(std::io::Cursor::new(text)))
            .await?;
        Ok(())
    }
}

/// A way out to be served: `.await` serves it. Created by [`Sandbox::serve_egress`].
#[must_use = "nothing is served until it is awaited"]
pub struct ServeEgress {
    sandbox: Sandbox,
    setup: EgressSetup,
}

impl ServeEgress {
    /// Calls `hook` for each decision, in its order. If it is slow, decisions are lost and counted
    /// ([`EgressEvent::lost`]); connections never wait for it.
    pub fn on_event(mut self, hook: impl Fn(&EgressEvent) + Send + Sync + 'static) -> Self {
        self.setup.hook = Some(Arc::new(hook));
        self
    }

    /// Serves an upstream as well: an HTTPS origin that is reached by a name, with a credential that stays in this process. See
    /// [`SandboxBuilder::upstream`](crate::SandboxBuilder::upstream).
    pub fn upstream(mut self, upstream: NamedUpstream) -> Self {
        self.setup.upstreams.push(upstream);
        self
    }

    /// Intercepts one host, so that requests for it get a secret that the sandbox never has. See
    /// [`SandboxBuilder::host_transform`](crate::SandboxBuilder::host_transform).
    pub fn host_transform(mut self, transform: HostTransform) -> Self {
        self.setup.transforms.push(transform);
        self
    }

    /// Serves it even if the sandbox may have another way out, such as a Pod's network. Excludes transforms.
    pub fn unverified(mut self) -> Self {
        self.setup.is_unverified = true;
        self
    }

    /// Resolves names and connects with these, instead of as other programs of this machine do.
    pub fn through(mut self, resolver: Arc<dyn Resolve>, dialer: Arc<dyn Dial>) -> Self {
        self.setup.network = Some((resolver, dialer));
        self
    }

    /// Asks about names that no rule decides about, instead of refusing them.
    pub fn ask(mut self, ask: Arc<dyn Ask>) -> Self {
        self.setup.ask = Some(ask);
        self
    }

    async fn run(self) -> Result<()> {
        let Self { sandbox, mut setup } = self;
        let backend = &sandbox.inner.parts.backend;
        let capabilities = backend.capabilities();
        setup.check_backend(&capabilities, backend.name())?;
        setup.build_proxy()?;
        if setup.needs_isolation(&capabilities) {
            sandbox.isolate().await?;
        } else {
            setup.check_sandbox(sandbox.info())?;
        }
        setup.refused = backend.control_plane().await;
        // The port has one server at a time, and the sandbox's server notices the end of a former one in a moment.
        sandbox.stop_egress();
        let (begun, mut is_first) = (Instant::now(), true);
        let egress = loop {
            let session = Arc::clone(sandbox.session());
            match EgressProxy::start(&setup, sandbox.id(), session).await {
                Ok(egress) => break egress,
                Err(Error::Connection(error))
                    if error.stage == ConnectionStage::Channel
                        && (is_first || begun.elapsed() < FORMER_SERVER_PATIENCE) =>
                {
                    // A try takes seconds if the backend has to be asked whether the sandbox has ended.
                    is_first = false;
                    tokio::time::sleep(FORMER_SERVER_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        };
        egress.store_programs(&**sandbox.session()).await?;
        sandbox.store_variables(egress.variables()).await?;
        *lock(&sandbox.inner.egress_env) = egress.variables().clone();
        *lock(&sandbox.inner.egress) = Some(egress);
        Ok(())
    }
}

impl IntoFuture for ServeEgress {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for ServeEgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeEgress")
            .field("sandbox", self.sandbox.id())
            .field("rules", &self.setup.rules)
            .finish_non_exhaustive()
    }
}
