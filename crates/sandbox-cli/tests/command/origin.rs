//! An HTTPS origin on loopback, for tests that are not asynchronous.

use std::sync::Arc;

use sandbox_testkit::https::{HttpsOrigin, respond};
use tokio::runtime::Runtime;

use crate::support::Cli;

/// An HTTPS origin at `localhost`, until it is dropped.
pub(crate) struct Origin {
    pub(crate) port: u16,
    _runtime: Runtime,
}

impl Origin {
    /// Starts one that answers whether the head of a request is right, and writes its certificate to `server.pem`.
    pub(crate) fn start(
        cli: &Cli,
        is_right: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let port = runtime.block_on(async {
            let origin = HttpsOrigin::bind(&["localhost"]).await.unwrap();
            cli.write("server.pem", origin.authority());
            let port = origin.address().port();
            origin.answer(Arc::new(move |head: &str, _: &[u8]| {
                let said = if is_right(head) { "right" } else { "wrong" };
                respond("200 OK", "text/plain", said.as_bytes())
            }));
            port
        });
        Self {
            port,
            _runtime: runtime,
        }
    }
}
