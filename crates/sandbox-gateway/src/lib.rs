//! A gateway that answers the SDKs of [E2B](https://e2b.dev) and leads browsers to the ports of sandboxes.
//!
//! It keeps no state that a second replica would need: what belongs to a sandbox is in the sandbox, or in the
//! backend's record of it. So a request may reach any replica. `docs/GATEWAY.md` has the guide.
//!
//! ```no_run
//! # async fn example(client: sandbox::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use sandbox_gateway::{Gateway, GatewayConfig};
//!
//! let config = GatewayConfig::new("127.0.0.1:3000".parse()?, "/etc/sandbox/keys".into());
//! let gateway = Gateway::bind(config, client).await?;
//! println!("listening on {}", gateway.local_addr());
//! gateway.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await;
//! # Ok(())
//! # }
//! ```

// Imports point down: server uses control, envd, preview, interpreter and web; these use connect and app; app uses
// sandboxes, keys and upstream; all of them use config, routing, connection, telemetry and
// api_error. check is a client of a gateway, and uses connect and routing alone.
mod api_error;
mod app;
mod bounded_file;
mod check;
mod config;
mod connect;
mod connection;
mod control;
mod envd;
mod error;
mod hex;
mod interpreter;
mod keys;
mod preview;
mod routing;
mod sandboxes;
mod server;
mod telemetry;
mod upstream;
mod watched_file;
mod web;

pub use check::GatewayCheck;
pub use config::{
    ConfigOverrides, GatewayConfig, KeyLimits, Limits, PreviewConfig, Template, TemplatePool,
    TlsFiles,
};
pub use error::GatewayError;
pub use keys::file::add as add_key;
pub use preview::PreviewSigner;
pub use server::Gateway;
