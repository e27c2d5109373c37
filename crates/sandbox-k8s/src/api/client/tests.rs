//! The cause of a connection that could not be opened is kept in plain words. The time for which one is tried is
//! shortened here; that it ends is a test on the fake API server.

use std::error::Error as Cause;
use std::net::{SocketAddr, TcpListener};

use k8s_openapi::api::core::v1::Pod;

use super::*;
use crate::api::cluster::{ClusterOptions, connect};

/// An address where nothing listens.
fn unused_address() -> SocketAddr {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    unused.local_addr().unwrap()
}

/// Returns the error of a list.
async fn list_error(server: &str, proxy: Option<&str>) -> Error {
    let mut cluster = serde_json::json!({"server": server});
    if let Some(proxy) = proxy {
        cluster["proxy-url"] = proxy.into();
    }
    let kubeconfig = serde_json::json!({
        "current-context": "a",
        "clusters": [{"name": "c", "cluster": cluster}],
        "contexts": [{"name": "a", "context": {"cluster": "c"}}],
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), kubeconfig.to_string()).unwrap();
    let options = ClusterOptions {
        kubeconfig: Some(file.path().to_owned()),
        context: None,
    };
    let mut api = ApiClient::new(connect(&options).await.unwrap(), "boxes".into());
    api.first_contact_timeout = Duration::from_millis(200);
    let listed = api.list("", LOOKUP_TIMEOUT, |pod: Pod| Some(pod));
    listed.await.unwrap_err()
}

fn causes(error: &Error) -> Vec<String> {
    let mut texts = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    texts
}

#[tokio::test]
async fn the_cause_of_a_refused_connection_is_the_reason_alone() {
    let error = list_error(&format!("https://{}", unused_address()), None).await;
    assert!(error.to_string().contains("does not respond"), "{error}");
    assert!(error.is_retryable() && error.retry_after().is_some());
    let causes = causes(&error);
    assert!(
        matches!(&causes[..], [cause] if cause.starts_with("Connection refused")),
        "{causes:?}"
    );
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_is_named() {
    let address = unused_address();
    for scheme in ["http", "socks5"] {
        let proxy = format!("{scheme}://user:secret@{address}");
        let error = list_error("https://api.example:6443", Some(&proxy)).await;
        let causes = causes(&error).join(", ");
        assert!(
            causes.contains(&format!("the proxy {address}: ")) && !causes.contains("secret"),
            "{causes}"
        );
    }
}
