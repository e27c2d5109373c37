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
) -> Result<(u16, Value), Cut> {
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
async fn watched(server: &ApiServer, from: &str) -> (Vec<(String, String)>, bool) {
    let path =
        format!("{PODS}?watch=true&labelSelector=a%3Db&timeoutSeconds=1&resourceVersion={from}");
    let request = Request::builder()
        .uri(path)
        .body(Full::new(Bytes::new()))
        .unwrap();
    let mut body = server.clone().oneshot(request).await.unwrap().into_body();
    let (mut text, mut cut) = (String::new(), false);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap()),
            Err(Cut) => cut = true,
        }
    }
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        lines
            .map(|e| (of(&e["type"]), of(&e["object"]["metadata"]["name"])))
            .collect(),
        cut,
    )
}

fn events(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(kind, name)| ((*kind).to_owned(), (*name).to_owned()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_changed_since_its_version() {
    let server = ApiServer::new("boxes");
    send(&server, "POST", PODS, pod("one")).await.unwrap();
    let (_, list) = send(&server, "GET", PODS, Value::Null).await.unwrap();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    send(&server, "POST", PODS, pod("two")).await.unwrap();
    server.change("pods", "one", |pod| pod["metadata"]["labels"] = json!({}));
    server.remove("pods", "two");
    let expected = events(&[("ADDED", "two"), ("DELETED", "one"), ("DELETED", "two")]);
    assert_eq!(watched(&server, version).await, (expected, false));
    server.forget_history();
    assert_eq!(
        watched(&server, version).await,
        (events(&[("ERROR", "")]), false)
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_wrong_as_it_is_told() {
    let server = ApiServer::new("boxes");
    for name in ["one", "two"] {
        send(&server, "POST", PODS, pod(name)).await.unwrap();
    }
    let (one, two) = (("ADDED", "one"), ("ADDED", "two"));
    for (fault, told, cut) in [
        (Fault::CutLine(1), vec![one], true),
        (Fault::End(1), vec![one], false),
        (Fault::Repeat, vec![one, one, two, two, one], false),
        (Fault::Late(Duration::from_secs(30)), vec![one, two], false),
        (Fault::Gone, vec![("ERROR", "")], false),
    ] {
        server.inject("watch pods", fault.clone());
        assert_eq!(
            watched(&server, "0").await,
            (events(&told), cut),
            "{fault:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn deletes_hold_their_preconditions() {
    let server = ApiServer::new("boxes");
    let (_, made) = send(&server, "POST", PODS, pod("one")).await.unwrap();
    let path = format!("{PODS}/one");
    for wrong in [json!({"uid": "other"}), json!({"resourceVersion": "99"})] {
        let answer = send(&server, "DELETE", &path, json!({"preconditions": wrong}))
            .await
            .unwrap();
        assert_eq!(
            (answer.0, answer.1["reason"].as_str()),
            (409, Some("Conflict"))
        );
    }
    let right = json!({"preconditions": {"uid": made["metadata"]["uid"]}});
    assert_eq!(send(&server, "DELETE", &path, right).await.unwrap().0, 200);
    assert_eq!(
        send(&server, "DELETE", &path, Value::Null).await.unwrap().0,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn what_runs_takes_its_time_to_go() {
    let server = ApiServer::new("boxes");
    send(&server, "POST", PODS, pod("one")).await.unwrap();
    server.run_pod("one");
    send(&server, "DELETE", &format!("{PODS}/one"), Value::Null)
        .await
        .unwrap();
    assert!(server.get("pods", "one").unwrap()["metadata"]["deletionTimestamp"].is_string());
    server.until(|server| server.names().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_has_no_owner_any_more_is_collected() {
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
        .until(|server| server.names() == ["pods/one", "secrets/keys"])
        .await;
    server.remove("secrets", "keys");
    server.until(|server| server.names().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn answers_go_astray_after_the_fact() {
    let server = ApiServer::new("boxes");
    server.inject("create pods", Fault::too_many(3));
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
    assert_eq!(send(&server, "POST", PODS, pod("one")).await, Err(Cut));
    assert!(server.names().is_empty());
    assert_eq!(send(&server, "POST", PODS, pod("one")).await, Err(Cut));
    assert_eq!(
        send(&server, "POST", PODS, pod("one")).await.unwrap().0,
        409
    );
    assert_eq!(
        (
            server.count("create pods"),
            server.writes(),
            server.names().len()
        ),
        (4, 4, 1)
    );
    let tried = send(&server, "POST", &format!("{PODS}?dryRun=All"), pod("two"))
        .await
        .unwrap();
    assert_eq!((tried.0, server.names().len()), (201, 1));
    let elsewhere = send(
        &server,
        "POST",
        "/api/v1/namespaces/nowhere/pods",
        pod("one"),
    )
    .await
    .unwrap();
    assert_eq!(elsewhere.0, 404);
}
