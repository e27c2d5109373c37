//! What the gateway counts, and how Prometheus reads it.

mod cells;
mod names;
mod recorder;

pub(crate) use self::names::{CountedConnection, count_connection, record_request};
pub(crate) use self::recorder::PrometheusRecorder;
