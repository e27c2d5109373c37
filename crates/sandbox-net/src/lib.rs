//! TCP sockets as the SDK sets them up: timeouts, keepalive and small packets without delay.

mod connect;

pub use connect::connect;
