//! SSH sessions to sandboxes: a pool of shared connections, commands and files.
mod connection;
mod options;
mod pool;
mod tcp;
mod text;
mod transport;
pub use options::SshOptions;
pub use tcp::TcpConnector;
