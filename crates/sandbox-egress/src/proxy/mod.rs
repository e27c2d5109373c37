//! The proxy: one connection of a sandbox at a time, each checked.

mod asking;
mod check;
mod denial;
mod flow;
mod hello;
mod http;
mod open;
mod relay;
mod rewound;
mod secured;
mod slots;
mod socks;
mod tunnel;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{Error, Result};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::event::Observer;
use crate::intercept::Interception;
use crate::upstream::{ServedUpstream, list_variables, serve_all};
use crate::{
    Ask, Dial, DirectDialer, Egress, EgressEvents, HostTransform, Limits, NamedUpstream, Resolve,
    SystemResolver, Upstream,
};
use asking::Asking;
use rewound::{ClientStream, Rewound};
use slots::Slots;

/// Carries the connections of one sandbox to where its rules allow. It speaks HTTP/1.1 and SOCKS 5, and tells them apart by
/// the first byte. Clones share everything.
///
/// | from the sandbox | what is checked |
/// |---|---|
/// | `CONNECT host:443`, SOCKS 5 with a name and port 443 | the rules; that a TLS ClientHello follows, whose server name is that name |
/// | the same for port 80 | the rules; that each request is for that name (its `Host`) |
/// | the same for another port | the rules; if TLS follows, its server name |
/// | an absolute-form request | the rules, for each request anew; that `Host` agrees |
/// | an address instead of a name | that a rule allows its network |
/// | any of these to the host of a [`HostTransform`] | the rules; that TLS follows, whose server name is that host; that each request is for it |
/// | a request for `/NAME/…` | that there is such a [`NamedUpstream`], and that the path is below its address |
///
/// ```no_run
/// use sandbox_egress::{Egress, Proxy};
///
/// # async fn example() -> std::io::Result<()> {
/// let proxy = Proxy::new(Egress::packages());
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// loop {
///     let (stream, _) = listener.accept().await?;
///     let proxy = proxy.clone();
///     tokio::spawn(async move { proxy.serve(stream).await });
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
}

/// Builds a [`Proxy`]. Created by [`Proxy::builder`].
#[derive(Debug)]
pub struct ProxyBuilder {
    rules: Egress,
    refused: Vec<IpAddr>,
    resolver: Arc<dyn Resolve>,
    dialer: Arc<dyn Dial>,
    limits: Limits,
    observer: Observer,
    upstreams: Vec<Arc<ServedUpstream>>,
    interception: Option<Interception>,
    ask: Option<Arc<dyn Ask>>,
    sandbox: Option<String>,
}

#[derive(Debug)]
struct Shared {
    rules: watch::Sender<Arc<Egress>>,
    /// Addresses that only a rule of their own allows.
    refused: Vec<IpAddr>,
    resolver: Arc<dyn Resolve>,
    dialer: Arc<dyn Dial>,
    limits: Limits,
    observer: Observer,
    upstreams: Vec<Arc<ServedUpstream>>,
    interception: Option<Interception>,
    asking: Option<Asking>,
    slots: Slots,
    lookups: Slots,
}

impl Proxy {
    /// Creates a proxy that resolves names as this machine does and connects from it.
    pub fn new(rules: Egress) -> Self {
        Self::builder(rules).build()
    }

    /// Creates a proxy with further options.
    pub fn builder(rules: Egress) -> ProxyBuilder {
        ProxyBuilder {
            rules,
            refused: Vec::new(),
            resolver: Arc::new(SystemResolver),
            dialer: Arc::new(DirectDialer),
            limits: Limits::default(),
            observer: Observer::none(),
            upstreams: Vec::new(),
            interception: None,
            ask: None,
            sandbox: None,
        }
    }

    /// Returns the current rules.
    pub fn rules(&self) -> Egress {
        Egress::clone(&self.shared.rules.borrow())
    }

    /// Replaces all rules at once. Connections that the new rules refuse are closed; the others stay open.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if hosts are intercepted, and the rules let the sandbox reach every host. The former rules stay.
    pub fn update(&self, rules: Egress) -> Result<()> {
        if self.shared.interception.is_some() {
            HostTransform::check_rules(&rules)?;
        }
        self.shared.rules.send_replace(Arc::new(rules));
        Ok(())
    }

    /// Returns the variables by which programs in the sandbox find the upstreams, if this proxy is behind this port of the
    /// sandbox's loopback interface. None of them is a secret.
    pub fn upstream_variables(&self, port: u16) -> Vec<(String, String)> {
        list_variables(&self.shared.upstreams, port)
    }

    /// Returns the certificate of the authority for intercepted hosts, in PEM format, if there are any. Programs in the sandbox have
    /// to trust it.
    pub fn authority(&self) -> Option<&str> {
        self.shared
            .interception
            .as_ref()
            .map(Interception::certificate)
    }

    /// Returns the variables with the placeholders of transforms. None of them is a secret.
    pub fn placeholder_variables(&self) -> Vec<(String, String)> {
        let interception = self.shared.interception.as_ref();
        interception
            .map(Interception::list_variables)
            .unwrap_or_default()
    }

    /// Serves one connection from the sandbox until it ends. Dropping the future closes it.
    pub async fn serve(&self, stream: impl Upstream) {
        let shared = &self.shared;
        let Ok(Some(_slot)) = timeout(shared.limits.wait, shared.slots.acquire()).await else {
            shared.report_unreadable("", shared.slots.shortage());
            return;
        };
        let limit = shared.limits.handshake;
        let mut stream: Box<dyn Upstream> = Box::new(stream);
        let Ok(Ok(first)) = timeout(limit, stream.read_u8()).await else {
            tracing::debug!("connection to the proxy ended without a request");
            return;
        };
        let stream: ClientStream = Box::new(Rewound::new([first].to_vec(), stream));
        match first {
            socks::VERSION => socks::serve(shared, stream).await,
            b'A'..=b'Z' | b'a'..=b'z' => http::serve(shared, stream).await,
            _ => shared.report_unreadable("", "it is neither HTTP nor SOCKS 5"),
        }
    }
}

impl ProxyBuilder {
    /// Refuses these addresses unless a rule allows exactly them: those of the API server, for example.
    pub fn refuse(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.refused.extend(addresses);
        self
    }

    /// Resolves names with this.
    pub fn resolver(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.resolver = resolver;
        self
    }

    /// Connects with this.
    pub fn dialer(mut self, dialer: Arc<dyn Dial>) -> Self {
        self.dialer = dialer;
        self
    }

    /// Serves these upstreams, in place of those of an earlier call.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](sandbox_core::Error::Invalid) if two have the same name or set the same variable, or if this machine
    /// has no authorities for certificates.
    pub fn upstreams(mut self, upstreams: impl IntoIterator<Item = NamedUpstream>) -> Result<Self> {
        self.upstreams = serve_all(upstreams)?;
        self.check_variables()?;
        Ok(self)
    }

    /// Intercepts the hosts of these transforms, in place of those of an earlier call, with certificates that are valid for this
    /// long (at most a year). The authority that signs them is made for this proxy, and its key is dropped at once.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the rules let the sandbox reach every host, if two transforms are for the same host or set the same
    /// variable, if one changes nothing, or if this machine has no authorities for certificates.
    pub fn transforms(
        mut self,
        transforms: impl IntoIterator<Item = HostTransform>,
        lifetime: Duration,
    ) -> Result<Self> {
        let transforms: Vec<HostTransform> = transforms.into_iter().collect();
        if !transforms.is_empty() {
            HostTransform::check_rules(&self.rules)?;
        }
        self.interception = Interception::create(transforms, lifetime)?;
        self.check_variables()?;
        Ok(self)
    }

    /// Asks about names that no rule decides about, instead of refusing them.
    pub fn ask(mut self, ask: Arc<dyn Ask>) -> Self {
        self.ask = Some(ask);
        self
    }

    /// Sets the id of the sandbox, for the events of tracing.
    pub fn sandbox(mut self, id: impl Into<String>) -> Self {
        self.sandbox = Some(id.into());
        self
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Reports every decision to the receiver that this returns, which keeps up to `capacity` of them.
    pub fn events(mut self, capacity: usize) -> (Self, EgressEvents) {
        let (observer, events) = Observer::channel(capacity);
        self.observer = observer;
        (self, events)
    }

    /// Builds the proxy.
    pub fn build(mut self) -> Proxy {
        self.observer.set_sandbox(self.sandbox);
        let shared = Shared {
            rules: watch::Sender::new(Arc::new(self.rules)),
            refused: self.refused,
            resolver: self.resolver,
            dialer: self.dialer,
            slots: Slots::for_connections(self.limits.connections),
            lookups: Slots::for_lookups(),
            limits: self.limits,
            observer: self.observer,
            upstreams: self.upstreams,
            interception: self.interception,
            asking: self.ask.map(Asking::new),
        };
        Proxy {
            shared: Arc::new(shared),
        }
    }

    /// Refuses a variable that both an upstream and a transform set.
    fn check_variables(&self) -> Result<()> {
        let Some(interception) = &self.interception else {
            return Ok(());
        };
        let of_upstreams = list_variables(&self.upstreams, 0);
        for (variable, _) in interception.list_variables() {
            if of_upstreams.iter().any(|(other, _)| *other == variable) {
                let reason = "an upstream sets it already; leave out the upstream or the transform";
                return Err(Error::invalid(
                    "variable of the transform",
                    variable,
                    reason,
                ));
            }
        }
        Ok(())
    }
}
