//! What a new sandbox may reach.

use std::sync::Arc;

use sandbox_egress::{Ask, Dial, Egress, EgressEvent, HostTransform, NamedUpstream, Resolve};

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

    /// Intercepts one host, so that requests for it get a secret that the sandbox never has: for programs that have the address of
    /// their service built in, and so cannot use an [`upstream`](Self::upstream). Can be repeated, for other hosts. A rule that allows
    /// the host and its port is added to those of [`egress`](Self::egress).
    ///
    /// The proxy in this process ends TLS for this host alone, with a certificate of an authority that is made for this sandbox. Its
    /// certificate is put into the sandbox, and commands find it by `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `NODE_EXTRA_CA_CERTS` and
    /// similar variables. Programs that bring their own authorities or pin certificates do not work.
    ///
    /// Rules that allow every host exclude it ([`Egress::internet`], [`Egress::open`], `*`), and so does
    /// [`unverified_egress`](Self::unverified_egress): whatever runs in the sandbox could send what the secret gives to any host.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// use sandbox::HostTransform;
    ///
    /// let key = std::env::var("STRIPE_KEY").unwrap_or_default();
    /// let stripe = HostTransform::new("api.stripe.com")?.placeholder("STRIPE_KEY", key)?;
    /// let sbx = client.sandbox().host_transform(stripe).create().await?;
    /// // What is in the variable inside is worth nothing elsewhere.
    /// sbx.shell("curl -s -u $STRIPE_KEY: https://api.stripe.com/v1/charges").output().await?.check()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn host_transform(mut self, transform: HostTransform) -> Self {
        self.egress.transforms.push(transform);
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
