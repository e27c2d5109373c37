//! The proxy behind the port of a sandbox.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbox_core::{Env, PortListener, Result, SandboxId, Session};
use sandbox_egress::{EgressEvents, Proxy};
use tokio::task::{AbortHandle, JoinSet};

use super::setup::{EgressHook, EgressSetup};
use super::{authority, connect};
use crate::sync::lock;

/// Decisions that wait for the hook. More are lost, and counted.
const EVENT_CAPACITY: usize = 4096;
/// The first and the longest pause before the port is served again after its connection was lost.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));

/// A proxy that serves the port of a sandbox. Dropping it leaves the sandbox offline.
pub(crate) struct EgressProxy {
    proxy: Proxy,
    port: u16,
    /// By which programs find it.
    variables: Env,
    hook: SharedHook,
    tasks: Vec<AbortHandle>,
}

/// What is called for each decision, which another may replace.
type SharedHook = Arc<Mutex<Option<EgressHook>>>;

impl EgressProxy {
    /// Listens inside the sandbox, and serves what comes.
    ///
    /// # Errors
    ///
    /// As [`Session::listen`], and [`Error::Invalid`](sandbox_core::Error::Invalid) if the user named a variable of an upstream or
    /// a transform like one that is reserved.
    pub(crate) async fn start(
        setup: &EgressSetup,
        id: &SandboxId,
        session: Arc<dyn Session>,
    ) -> Result<Self> {
        let mut builder = setup.build_proxy()?;
        let listener = session.listen(None).await?;
        let port = listener.port();
        builder = builder.sandbox(id.as_str());
        if let Some(ask) = &setup.ask {
            builder = builder.ask(Arc::clone(ask));
        }
        let hook: SharedHook = Arc::new(Mutex::new(setup.hook.clone()));
        let (builder, events) = builder.events(EVENT_CAPACITY);
        let mut tasks = vec![tokio::spawn(call_hook(events, Arc::clone(&hook))).abort_handle()];
        let proxy = builder.build();
        let variables = list_variables(&proxy, port, &*session).await?;
        let rules = proxy.rules();
        tracing::debug!(sandbox.id = %id, port, %rules, "egress served");
        let serving = serve(proxy.clone(), listener, session, id.clone());
        tasks.push(tokio::spawn(serving).abort_handle());
        Ok(Self {
            proxy,
            port,
            variables,
            hook,
            tasks,
        })
    }

    /// Has this called for each decision from now on, in place of what was called before.
    pub(crate) fn replace_hook(&self, hook: EgressHook) {
        lock(&self.hook).replace(hook);
    }

    pub(super) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Writes what programs inside need: the one that connects for those that know no proxies, and the authority that they are
    /// to trust.
    ///
    /// # Errors
    ///
    /// Those of an upload.
    pub(crate) async fn store_programs(&self, session: &dyn Session) -> Result<()> {
        connect::store(session, self.port).await?;
        match self.proxy.authority() {
            Some(certificate) => authority::store(session, certificate).await,
            None => Ok(()),
        }
    }

    /// The variables by which programs find the proxy, the upstreams, and the authority of hosts with a transform.
    pub(crate) fn variables(&self) -> &Env {
        &self.variables
    }
}

impl Drop for EgressProxy {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn list_variables(proxy: &Proxy, port: u16, session: &dyn Session) -> Result<Env> {
    let mut env = variables(port)?;
    for (name, value) in proxy.upstream_variables(port) {
        env.set(name, value)?;
    }
    if proxy.authority().is_some() {
        env.extend(&authority::variables(session).await?);
    }
    for (name, value) in proxy.placeholder_variables() {
        env.set(name, value)?;
    }
    Ok(env)
}

/// The variables by which programs find a proxy on this port. Both cases are in use: curl reads only `http_proxy`, others
/// prefer capitals.
///
/// `ALL_PROXY` names HTTP, although the port serves SOCKS as well: clients such as Python's httpx fail at once if it
/// names SOCKS and an optional package is missing.
fn variables(port: u16) -> Result<Env> {
    let mut env = Env::default();
    let proxy = format!("http://127.0.0.1:{port}");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        env.set(name, &proxy)?;
        env.set(name.to_ascii_lowercase(), &proxy)?;
    }
    for name in ["NO_PROXY", "no_proxy"] {
        env.set(name, "localhost,127.0.0.1,::1")?;
    }
    // https://nodejs.org/api/cli.html#node_use_env_proxy1
    env.set("NODE_USE_ENV_PROXY", "1")?;
    // https://docs.oracle.com/en/java/javase/21/core/java-networking.html
    let java = format!(
        "-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort={port} -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort={port} \
         -Dhttp.nonProxyHosts=localhost|127.*|[::1]"
    );
    env.set("JAVA_TOOL_OPTIONS", java)?;
    env.set("GIT_SSH_COMMAND", connect::GIT_SSH_COMMAND)?;
    Ok(env)
}

/// Serves the port until the task is aborted. If the connection to the sandbox is lost, the port is served again as soon as
/// there is another one.
async fn serve(proxy: Proxy, listener: PortListener, session: Arc<dyn Session>, id: SandboxId) {
    let port = listener.port();
    let mut next = Some(listener);
    let mut pause = RETRY_PAUSE.0;
    loop {
        if let Some(listener) = next.take() {
            pause = RETRY_PAUSE.0;
            serve_connections(&proxy, listener).await;
            tracing::debug!(sandbox.id = %id, port, "connection for egress lost; the sandbox is offline");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE.1);
        match session.listen(Some(port)).await {
            Ok(listener) => next = Some(listener),
            Err(error) => tracing::debug!(sandbox.id = %id, %error, "egress not served yet"),
        }
    }
}

/// Serves connections until the listener has ended.
async fn serve_connections(proxy: &Proxy, mut listener: PortListener) {
    // Dropping the set closes every connection.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok(Some(stream)) => {
                let proxy = proxy.clone();
                connections.spawn(async move { proxy.serve(stream).await });
            }
            Ok(None) => return,
            Err(error) => tracing::debug!(%error, "connection from inside not accepted"),
        }
    }
}

async fn call_hook(mut events: EgressEvents, hook: SharedHook) {
    while let Some(event) = events.next().await {
        // It is called without the lock, because it may take its time.
        let hook = lock(&hook).clone();
        if let Some(hook) = hook {
            hook(&event);
        }
    }
}
