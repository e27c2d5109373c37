//! The server: accepts connections and leads each request to the part that answers it.

mod connections;
mod cors;
mod dispatch;
mod http1;
mod leftover;
mod metrics_listener;
mod request_timer;
mod signing_key;
mod stream;
mod tls;

use std::collections::HashSet;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sandbox::Client;
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use self::metrics_listener::MetricsListener;
use self::tls::Tls;
use crate::app::App;
use crate::config::GatewayConfig;
use crate::error::GatewayError;
use crate::keys::Keys;
use crate::sandboxes::Sandboxes;
use crate::sandboxes::creations::Creations;
use crate::sandboxes::egress::EgressLimits;
use crate::sandboxes::pools::{self, Filler};
use crate::sandboxes::tokens::Tokens;
use crate::upstream::Upstreams;
use crate::watched_file;

/// A gateway that listens.
#[derive(Debug)]
pub struct Gateway {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    fillers: Vec<Filler>,
    tls: Option<Arc<Tls>>,
    metrics: Option<MetricsListener>,
}

impl Gateway {
    /// Reads the files that the settings name, and listens. Connections wait until [`serve`](Self::serve) is called.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] for what is wrong with settings, files or the address.
    pub async fn bind(config: GatewayConfig, client: Client) -> Result<Self, GatewayError> {
        // The metrics come first, so that they have everything.
        let metrics = match config.metrics_listen {
            Some(address) => Some(MetricsListener::bind(address).await?),
            None => None,
        };
        let tls = config
            .tls
            .as_ref()
            .map(Tls::load)
            .transpose()?
            .map(Arc::new);
        let keys = Keys::load(config.keys_file.clone(), config.key_limits)?;
        let signing_key = signing_key::load(&config)?;
        let cannot_listen = |source| GatewayError::Listen {
            address: config.listen,
            source,
        };
        let listener = sandbox_net::bind(config.listen)
            .await
            .map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let egress = EgressLimits::new(&config, &client)?;
        let (pools, fillers) = pools::start(&config, &client, &egress).await?;
        let sandboxes = Sandboxes::new(
            client,
            config.name.clone(),
            Tokens::new(&signing_key),
            pools,
            egress,
        );
        let app = Arc::new(App {
            config,
            keys,
            sandboxes,
            upstreams: Upstreams::default(),
            creations: Creations::default(),
            tasks: TaskTracker::new(),
        });
        Ok(Self {
            listener,
            address,
            app,
            fillers,
            tls,
            metrics,
        })
    }

    /// Returns the address that it listens on, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of this address, for people.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Returns the address at which metrics are served, if they are.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.local_addr()
    }

    /// Serves until `stop` is done. Then it accepts nothing more, waits for requests for as long as
    /// [`Limits::drain`](crate::Limits::drain) says, and cuts off those that last longer. Dropping the future cuts off
    /// everything at once.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) {
        let (app, tls) = (Arc::clone(&self.app), self.tls.clone());
        let limits = app.config.limits.clone();
        let reloading = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(watched_file::INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                app.keys.reload_if_changed();
                if let Some(tls) = &tls {
                    tls.reload_if_changed();
                }
            }
        }));
        let app = Arc::clone(&self.app);
        let keeping =
            AbortOnDropHandle::new(tokio::spawn(async move { keep_sandboxes(&app).await }));
        let metrics = self
            .metrics
            .map(|metrics| AbortOnDropHandle::new(tokio::spawn(metrics.serve(limits))));
        connections::serve(self.listener, self.app, self.tls, stop).await;
        drop((reloading, keeping, metrics));
        pools::stop(self.fillers).await;
    }
}

/// How often handles on sandboxes that have ended are looked for.
const ENDED_INTERVAL: Duration = Duration::from_secs(60);

/// Serves the egress of the sandboxes that a former process has served, and forgets those that have ended.
async fn keep_sandboxes(app: &App) {
    if let Err(error) = app.sandboxes.serve_all_egress().await {
        tracing::warn!(%error, "sandboxes not listed; their egress is served at the next request");
    }
    let mut missing = HashSet::new();
    loop {
        tokio::time::sleep(ENDED_INTERVAL).await;
        match app.sandboxes.forget_ended(&missing).await {
            Ok(found) => missing = found,
            Err(error) => tracing::debug!(%error, "sandboxes not listed; retrying"),
        }
    }
}
