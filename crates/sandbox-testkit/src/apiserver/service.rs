//! The HTTP service, which applies the injected faults.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, SEC_WEBSOCKET_KEY};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::exec;
use super::fault::Fault;
use super::request::ParsedRequest;
use super::response::{ApiResponse, Body, ConnectionCut};
use super::server::ApiServer;
use super::watch;

impl<B> tower::Service<Request<B>> for ApiServer
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<Body>;
    type Error = ConnectionCut;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectionCut>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectionCut>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| ConnectionCut)?.to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            if server.lock().cluster.is_unreachable {
                return Err(ConnectionCut);
            }
            match ParsedRequest::parse(&head.method, &head.uri) {
                // A received request is executed even if the client drops its future.
                Some(mut request) => {
                    request.record.metadata_only = accepts_metadata_only(&head.headers);
                    request.websocket_key = text_header(&head.headers, &SEC_WEBSOCKET_KEY);
                    request.is_json_patch = is_json_patch(&head.headers);
                    tokio::spawn(async move { server.respond(request, &body).await })
                        .await
                        .map_err(|_| ConnectionCut)?
                }
                None => {
                    let response = server
                        .respond_about_cluster(&head.method, &head.uri, &body)
                        .unwrap_or_else(|| {
                            let message = format!(
                                "the server could not find {} {}",
                                head.method,
                                head.uri.path()
                            );
                            ApiResponse::failure(404, "NotFound", message)
                        });
                    Ok(response.into_response(server.current_time()))
                }
            }
        })
    }
}

impl ApiServer {
    async fn respond(
        &self,
        request: ParsedRequest,
        body: &Value,
    ) -> Result<Response<Body>, ConnectionCut> {
        let fault = {
            let mut state = self.lock();
            state.requests.push(request.record.clone());
            let kind = request.record.kind();
            let is_later_page = request.query.contains_key("continue");
            let later_page = kind.replacen("list", "continue", usize::from(is_later_page));
            let fault = state.faults.next_for(&later_page);
            fault.or_else(|| state.faults.next_for(&kind))
        };
        // This wakes tests that wait for the request.
        self.notify();
        let mut delay = Duration::ZERO;
        match &fault {
            Some(Fault::Refuse(refusal)) => {
                return Ok(ApiResponse::from_refusal(refusal).into_response(self.current_time()));
            }
            Some(Fault::Forbidden) => {
                return Ok(forbidden_response(&request).into_response(self.current_time()));
            }
            Some(Fault::CutBefore) => return Err(ConnectionCut),
            Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
            Some(Fault::DelayResponse(time)) => delay = *time,
            _ => {}
        }
        if request.record.verb == "watch" {
            return Ok(watch::start(self, request, fault));
        }
        if request.record.resource == "pods/exec" {
            return exec::start(self, &request).await;
        }
        let mut response = self.execute(&request, body);
        if request.record.metadata_only && response.code < 300 {
            response.body = keep_metadata(&response.body);
        }
        tokio::time::sleep(delay).await;
        match fault {
            Some(Fault::CutAfter) => Err(ConnectionCut),
            Some(Fault::RefuseAfter(refusal)) => {
                Ok(ApiResponse::from_refusal(&refusal).into_response(self.current_time()))
            }
            _ => Ok(response.into_response(self.current_time())),
        }
    }
}

/// Whether a client asks for `PartialObjectMetadata` in place of the objects.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources>
fn accepts_metadata_only(headers: &HeaderMap) -> bool {
    let accepted = text_header(headers, &ACCEPT);
    accepted.is_some_and(|accepted| accepted.contains("as=PartialObjectMetadata"))
}

fn text_header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str();
    value.ok().map(str::to_owned)
}

fn is_json_patch(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    content_type == Some("application/json-patch+json")
}

fn keep_metadata(body: &Value) -> Value {
    let keep = |object: &Value, kind: &str| json!({"apiVersion": "meta.k8s.io/v1", "kind": kind, "metadata": object["metadata"]});
    match body["items"].as_array() {
        None => keep(body, "PartialObjectMetadata"),
        Some(items) => {
            let mut list = keep(body, "PartialObjectMetadataList");
            // Without objects it is null, as in Kubernetes 1.20.
            list["items"] = Value::Null;
            if !items.is_empty() {
                list["items"] = items
                    .iter()
                    .map(|item| keep(item, "PartialObjectMetadata"))
                    .collect();
            }
            list
        }
    }
}

fn forbidden_response(request: &ParsedRequest) -> ApiResponse {
    let verb = request.record.verb;
    let resource = &request.record.resource;
    let namespace = &request.namespace;
    let (group, object) = match (resource.as_str(), &request.record.name) {
        ("leases", None) => (
            "coordination.k8s.io",
            "leases.coordination.k8s.io".to_owned(),
        ),
        ("leases", Some(name)) => (
            "coordination.k8s.io",
            format!("leases.coordination.k8s.io \"{name}\""),
        ),
        ("networkpolicies", _) => (
            "networking.k8s.io",
            "networkpolicies.networking.k8s.io".to_owned(),
        ),
        (_, None) => ("", resource.clone()),
        (_, Some(name)) => ("", format!("{resource} \"{name}\"")),
    };
    let message = format!(
        "{object} is forbidden: User \"tester\" cannot {verb} resource \"{resource}\" in API group \"{group}\" in the \
         namespace \"{namespace}\""
    );
    ApiResponse::failure(403, "Forbidden", message)
}
