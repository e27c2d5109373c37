//! A client that sees the API server's clock ahead of its real time.

use std::time::Duration;

use http::header::DATE;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};
use kube::client::Body;

/// The same client, with the `Date` of each response moved ahead.
pub(crate) fn skew_clock(client: kube::Client, by: Duration) -> kube::Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let client = client.clone();
        async move {
            let mut response = client.send(request).await?;
            let date = response
                .headers()
                .get(DATE)
                .expect("the response has a date");
            let date = DateTimeParser::new()
                .parse_timestamp(date.to_str().expect("text"))
                .expect("a time");
            let date = date + jiff::SignedDuration::try_from(by).expect("a short duration");
            let date = DateTimePrinter::new()
                .timestamp_to_rfc9110_string(&date)
                .expect("a time");
            response
                .headers_mut()
                .insert(DATE, date.parse().expect("a header"));
            Ok::<_, kube::Error>(response)
        }
    });
    kube::Client::new(service, namespace)
}
