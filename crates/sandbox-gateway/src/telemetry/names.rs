//! The metrics of the gateway itself, besides those of the SDK.

use std::time::Duration;

use http::StatusCode;

/// The number of requests by what they were for and by the class of the status, and how long their heads took.
const REQUESTS: &str = "sandbox_gateway_requests_total";
const DURATION: &str = "sandbox_gateway_request_duration_seconds";
/// The number of connections now.
const CONNECTIONS: &str = "sandbox_gateway_connections";

/// Records a request when its response begins. Streams may last much longer.
pub(crate) fn record_request(kind: &'static str, status: StatusCode, duration: Duration) {
    let class = match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _server_error => "5xx",
    };
    metrics::counter!(REQUESTS, "kind" => kind, "status" => class).increment(1);
    metrics::histogram!(DURATION, "kind" => kind).record(duration.as_secs_f64());
}

/// Counts a connection until it is dropped.
#[derive(Debug)]
pub(crate) struct CountedConnection(());

/// Counts a connection.
pub(crate) fn count_connection() -> CountedConnection {
    metrics::gauge!(CONNECTIONS).increment(1.0);
    CountedConnection(())
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        metrics::gauge!(CONNECTIONS).decrement(1.0);
    }
}

/// Describes them for a recorder.
pub(super) fn describe() {
    metrics::describe_counter!(
        REQUESTS,
        "Requests by what they are for (api, envd, interpreter, port, page, other) and class of status."
    );
    metrics::describe_histogram!(
        DURATION,
        "Seconds until the response begins, by what the request is for."
    );
    metrics::describe_gauge!(CONNECTIONS, "Connections of clients.");
}
