//! The fake API server as a process: `xtask bench scale-server`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::Result;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sandbox_testkit::apiserver::{ApiServer, Body, ConnectionCut, Fault};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceExt;

pub(super) const NAMESPACE: &str = "sandboxes";
/// Returns the number of requests by kind, and the number of objects.
pub(super) const STATUS: &str = "/bench/status";
/// Forgets the requests.
pub(super) const CLEAR: &str = "/bench/clear";
/// Gives all Pods the label `round` with the value that is the query.
pub(super) const CHANGE: &str = "/bench/change";
/// Cuts the watch, and refuses to resume it, so that it begins with a new list.
pub(super) const EXPIRE: &str = "/bench/expire";

/// How long a deleted Pod stays. A real one stays longer, which costs its client nothing.
const POD_DELETION_DELAY: Duration = Duration::from_millis(20);
/// How many changes the server remembers.
const HISTORY: usize = 20_000;

pub(in crate::bench) fn serve() -> Result<()> {
    crate::bench::child::end_with_stdin();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let server = ApiServer::new(NAMESPACE);
            server.set_pods_start(true);
            server.set_pod_deletion_delay(POD_DELETION_DELAY);
            server.limit_history(HISTORY);
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", listener.local_addr()?.port());
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let server = server.clone();
                let service = service_fn(move |request| respond(server.clone(), request));
                tokio::spawn(async move {
                    let connection =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    // A client that ends cuts its connections.
                    drop(connection.await);
                });
            }
        })
}

async fn respond(
    server: ApiServer,
    request: Request<Incoming>,
) -> Result<Response<Body>, ConnectionCut> {
    let answer = match request.uri().path() {
        STATUS => status(&server),
        CLEAR => {
            server.clear_requests();
            Value::Null
        }
        CHANGE => {
            change(&server, request.uri().query().unwrap_or_default());
            Value::Null
        }
        EXPIRE => {
            server.inject("watch pods", Fault::expired());
            server.cut_watches();
            Value::Null
        }
        _ => return server.oneshot(request).await,
    };
    let body = Full::new(Bytes::from(answer.to_string()));
    Ok(Response::new(
        body.map_err(|never: Infallible| match never {})
            .boxed_unsync(),
    ))
}

fn status(server: &ApiServer) -> Value {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for request in server.requests() {
        *counts.entry(request.kind()).or_default() += 1;
    }
    json!({"requests": counts, "objects": server.object_names().len()})
}

fn change(server: &ApiServer, round: &str) {
    let names = server.object_names();
    for name in names.iter().filter_map(|name| name.strip_prefix("pods/")) {
        server.update("pods", name, |pod| {
            pod["metadata"]["labels"]["round"] = json!(round);
        });
    }
}
