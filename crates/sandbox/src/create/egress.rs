//! What a new sandbox may reach.

use std::sync::Arc;

use sandbox_egress::{Ask, Dial, Egress, EgressEvent, NamedUpstream, Resolve};

use super::builder::SandboxBuilder;

impl SandboxBuilder {
    /// Lets the sandbox, which has no network, reach what these rules allow: through a proxy in this process that its
    /// commands find by the usual variables (`HTTPS_PROXY` and others). It is offline when the last handle is dropped or
    /// this process ends, also if it is detached: [`Sandbox::serve_egress`](crate::Sandbox::serve_egress) serves it again.
    ///
    /// Local sandboxes need namespaces for it. On a cluster, a NetworkPolicy keeps the Pod from its network; that the
    /// cluster's network plugin enforces it is proved from inside before anything else runs there, which takes about a
    /// second, and at most half a minute. Otherwise the creation fails with
    /// [`CreationReason::NotEnforced`](crate::CreationReason::NotEnforced), or with
    /// [`Error::Unsupported`](crate::Error::Unsupported), unless [`unverified_egress`](Self::unverified_egress) accepts
    /// that.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// use sandbox::Egress;
    ///
    /// let sbx = client.sandbox().egress(Egress::packages().allow("api.example.com:443")?).create().await?;
    /// sbx.command("pip").args(["install", "requests"]).output().await?.check()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn egress(mut self, rules: Egress) -> Self {
        self.egress.rules = Some(rules);
        self
    }

    /// Returns the rules that the sandbox will be created with: those of [`egress`](Self::egress), or the client's default.
    pub fn egress_rules(&self) -> Option<&Egress> {
        self.egress.rules.as_ref()
    }

    /// Lets programs in the sandbox reach an HTTPS origin with a credential that never enters the sandbox: they ask for
    /// `http://127.0.0.1:PORT/NAME/…`, and the proxy in this process adds the credential. They find it by the usual variables, such
    /// as `OPENAI_BASE_URL`; can be repeated. Without [`egress`](Self::egress), nothing else is reached.
    ///
    /// The credential is in no variable, file or process of the sandbox. Whatever runs there can *use* it, for anything that the
    /// origin permits below the upstream's address, as long as this process serves it. It is shown in no log, event, error or
    /// `Debug`, and is removed from the headers of responses, but not from their content.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// use sandbox::{NamedUpstream, UpstreamKind};
    ///
    /// let key = std::env::var("OPENAI_API_KEY").unwrap_or_default();
    /// let openai = NamedUpstream::from_kind(UpstreamKind::OpenAi)?.secret(key)?;
    /// let sbx = client.sandbox().upstream(openai).create().await?;
    /// sbx.command("python3").args(["agent.py"]).output().await?.check()?; // openai.OpenAI() works as it is
    /// # Ok(())
    /// # }
    /// ```
    pub fn upstream(mut self, upstream: NamedUpstream) -> Self {
        self.egress.upstreams.push(upstream);
        self
    }

    /// Accepts that the egress rules are not enforced: programs that do not use the proxy may reach whatever the sandbox's
    /// own network does. Has no effect without [`egress`](Self::egress).
    pub fn unverified_egress(mut self) -> Self {
        self.egress.is_unverified = true;
        self
    }

    /// Resolves names and connects with these for the sandbox's [`egress`](Self::egress), instead of as other programs of this
    /// machine do: with another DNS server, or through another proxy. Has no effect without rules.
    pub fn egress_through(mut self, resolver: Arc<dyn Resolve>, dialer: Arc<dyn Dial>) -> Self {
        self.egress.network = Some((resolver, dialer));
        self
    }

    /// Asks about names that no rule of the sandbox's [`egress`](Self::egress) decides about, instead of refusing them. Has no
    /// effect without rules.
    pub fn ask_about_egress(mut self, ask: Arc<dyn Ask>) -> Self {
        self.egress.ask = Some(ask);
        self
    }

    /// Calls `hook` for each decision about the sandbox's [`egress`](Self::egress). If it is slow, decisions are lost and counted
    /// ([`EgressEvent::lost`](crate::EgressEvent::lost)); connections never wait for it.
    pub fn on_egress(mut self, hook: impl Fn(&EgressEvent) + Send + Sync + 'static) -> Self {
        self.egress.hook = Some(Arc::new(hook));
        self
    }
}
