//! A server of the [Model Context Protocol](https://modelcontextprotocol.io/specification): sandboxes as tools of a
//! language model. `sandbox mcp` runs it; `docs/MCP.md` is its guide.
//!
//! The model chooses commands and files. What sandboxes are, how many there are, and what of this machine they see is
//! chosen by the operator alone, in [`McpConfig`]. Each session of a client has sandboxes of its own, which are deleted
//! with it. Every call answers within 45 seconds; commands that run longer become jobs to wait for.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use sandbox_mcp::{McpConfig, McpServer};
//!
//! let client = sandbox::Client::from_env().await?;
//! let server = McpServer::new(client, McpConfig::default())?;
//! server.serve_stdio(tokio::io::stdin(), tokio::io::stdout(), std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

// Imports point down: server uses tools, tools use sessions, and sessions use app, which uses egress. The others are leaves;
// install stands alone.
mod app;
mod audit;
mod config;
mod egress;
mod error;
mod failure;
mod install;
mod output;
mod server;
mod sessions;
mod share;
mod sync;
mod tools;

pub use config::McpConfig;
pub use error::McpError;
pub use install::clients::{ClientKind, Scope};
pub use install::{Change, Installation};
pub use server::McpServer;
pub use server::http::HttpListener;
pub use server::token::BearerToken;
