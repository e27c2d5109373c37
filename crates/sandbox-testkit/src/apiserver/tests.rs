use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

const PODS: &str = "/api/v1/namespaces/boxes/pods";

async fn send(
    server: &ApiServer,
    method: &str,
    path: &str,
    body: Value,
) -> Result<(u16, Value), ConnectionCut> {
    let body = Full::new(Bytes::from(body.to_string()));
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(body)
        .unwrap();
    let response = server.clone().oneshot(request).await?;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok((code, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}})
}

/// The lines of a watch that ends after one second.
async fn watch_for_a_second(server: &ApiServer, from: &str) -> (Vec<(String, String)>, bool) {
    let path =
        format!("{PODS}?watch=true&labelSelector=a%3Db&timeoutSeconds=1&resourceVersion={from}");
    let request = Request::builder()
        .uri(path)
        .body(Full::new(Bytes::new()))
        .unwrap();
    let mut body = server.clone().oneshot(request).await.unwrap().into_body();
    let mut text = String::new();
    let mut is_cut = false;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap()),
            Err(ConnectionCut) => is_cut = true,
        }
    }
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let text_of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        lines
            .map(|e| {
                (
                    text_of(&e["type"]),
                    text_of(&e["object"]["metadata"]["name"]),
                )
            })
            .collect(),
        is_cut,
    )
}

fn events(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(kind, name)| ((*kind).to_owned(), (*name).to_owned()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_watch_sends_the_changes_since_its_version() {
    let server = ApiServer::new("boxes");
    send(&server, "POST", PODS, pod("one")).await.unwrap();
    let (_, list) = send(&server, "GET", PODS, Value::Null).await.unwrap();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    send(&server, "POST", PODS, pod("two")).await.unwrap();
    server.update("pods", "one", |pod| pod["metadata"]["labels"] = json!({}));
    server.remove("pods", "two");
    let expected = events(&[("ADDED", "two"), ("DELETED", "one"), ("DELETED", "two")]);
    assert_eq!(
        watch_for_a_second(&server, version).await,
        (expected, false)
    );
    server.compact_history();
    assert_eq!(
        watch_for_a_second(&server, version).await,
        (events(&[("ERROR", "")]), false)
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_has_the_injected_fault() {
    let server = ApiServer::new("boxes");
    for name in ["one", "two"] {
        send(&server, "POST", PODS, pod(name)).await.unwrap();
    }
    let one = ("ADDED", "one");
    let two = ("ADDED", "two");
    for (fault, expected, is_cut) in [
        (Fault::CutLine(1), vec![one], true),
        (Fault::EndAfter(1), vec![one], false),
        (Fault::RepeatEvents, vec![one, one, two, two, one], false),
        (
            Fault::DelayEvents(Duration::from_secs(30)),
            vec![one, two],
            false,
        ),
        (Fault::ExpireWatch, vec![("ERROR", "")], false),
    ] {
        server.inject("watch pods", fault.clone());
        assert_eq!(
            watch_for_a_second(&server, "0").await,
            (events(&expected), is_cut),
            "{fault:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn deletes_check_their_preconditions() {
    let server = ApiServer::new("boxes");
    let (_, created) = send(&server, "POST", PODS, pod("one")).await.unwrap();
    let path = format!("{PODS}/one");
    for wrong in [json!({"uid": "other"}), json!({"resourceVersion": "99"})] {
        let response = send(&server, "DELETE", &path, json!({"preconditions": wrong}))
            .await
            .unwrap();
        assert_eq!(
            (response.0, response.1["reason"].as_str()),
            (409, Some("Conflict"))
        );
    }
    let right = json!({"preconditions": {"uid": created["metadata"]["uid"]}});
    assert_eq!(send(&server, "DELETE", &path, right).await.unwrap().0, 200);
    assert_eq!(
        send(&server, "DELETE", &path, Value::Null).await.unwrap().0,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn a_running_pod_is_deleted_after_a_delay() {
    let server = ApiServer::new("boxes");
    send(&server, "POST", PODS, pod("one")).await.unwrap();
    server.run_pod("one");
    send(&server, "DELETE", &format!("{PODS}/one"), Value::Null)
        .await
        .unwrap();
    assert!(server.object("pods", "one").unwrap()["metadata"]["deletionTimestamp"].is_string());
    server
        .wait_until(|server| server.object_names().is_empty())
        .await;
}

#[tokio::test(start_paused = true)]
async fn objects_without_owners_are_collected() {
    let server = ApiServer::new("boxes");
    let owned = |kind: &str, name: &str, by: &Value| {
        let owner =
            json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": by["metadata"]["uid"]});
        json!([owner])
    };
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}});
    let secret = server.insert("secrets", secret);
    let mut first = pod("one");
    first["metadata"]["ownerReferences"] = owned("Secret", "keys", &secret);
    let mut forged = pod("two");
    forged["metadata"]["ownerReferences"] = owned("Secret", "other", &secret);
    server.insert("pods", first);
    server.insert("pods", forged);
    server
        .wait_until(|server| server.object_names() == ["pods/one", "secrets/keys"])
        .await;
    server.remove("secrets", "keys");
    server
        .wait_until(|server| server.object_names().is_empty())
        .await;
}

#[tokio::test(start_paused = true)]
async fn requests_can_fail_before_and_after_execution() {
    let server = ApiServer::new("boxes");
    server.inject("create pods", Fault::too_many_requests(3));
    server.inject("create pods", Fault::CutBefore);
    server.inject("create pods", Fault::CutAfter);
    let refused = send(&server, "POST", PODS, pod("one")).await.unwrap();
    assert_eq!(
        (
            refused.0,
            refused.1["details"]["retryAfterSeconds"].as_u64()
        ),
        (429, Some(3))
    );
    assert_eq!(
        send(&server, "POST", PODS, pod("one")).await,
        Err(ConnectionCut)
    );
    assert!(server.object_names().is_empty());
    assert_eq!(
        send(&server, "POST", PODS, pod("one")).await,
        Err(ConnectionCut)
    );
    assert_eq!(
        send(&server, "POST", PODS, pod("one")).await.unwrap().0,
        409
    );
    assert_eq!(
        (
            server.count_requests("create pods"),
            server.count_writes(),
            server.object_names().len()
        ),
        (4, 4, 1)
    );
    let dry_run = send(&server, "POST", &format!("{PODS}?dryRun=All"), pod("two"))
        .await
        .unwrap();
    assert_eq!((dry_run.0, server.object_names().len()), (201, 1));
    let other_namespace = send(
        &server,
        "POST",
        "/api/v1/namespaces/nowhere/pods",
        pod("one"),
    )
    .await
    .unwrap();
    assert_eq!(other_namespace.0, 404);
}
