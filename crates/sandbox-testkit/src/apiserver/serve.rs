//! Requests, and the faults on their way.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::Value;

use super::answer::{Answer, Body, Cut};
use super::fault::Fault;
use super::request::Call;
use super::{ApiServer, watch};

impl<B> tower::Service<Request<B>> for ApiServer
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<Body>;
    type Error = Cut;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Cut>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            if server.lock().cluster.away {
                return Err(Cut);
            }
            match Call::of(&head.method, &head.uri) {
                // What has come is carried out, whether or not anybody still waits for it.
                Some(call) => tokio::spawn(async move { server.answer(call, &body).await })
                    .await
                    .map_err(|_| Cut)?,
                None => {
                    let answer = server
                        .about_cluster(&head.method, &head.uri, &body)
                        .unwrap_or_else(|| {
                            let message = format!(
                                "the server could not find {} {}",
                                head.method,
                                head.uri.path()
                            );
                            Answer::failure(404, "NotFound", message)
                        });
                    Ok(answer.into_response(server.now()))
                }
            }
        })
    }
}

impl ApiServer {
    async fn answer(&self, call: Call, body: &Value) -> Result<Response<Body>, Cut> {
        let fault = {
            let mut state = self.lock();
            state.seen.push(call.seen.clone());
            state.faults.take(&call.seen.what())
        };
        // Those who wait for a request may go on.
        self.tell();
        let mut delay = Duration::ZERO;
        match &fault {
            Some(Fault::Refuse(refusal)) => {
                return Ok(Answer::of(refusal).into_response(self.now()));
            }
            Some(Fault::NoRight) => return Ok(no_right(&call).into_response(self.now())),
            Some(Fault::CutBefore) => return Err(Cut),
            Some(Fault::Slow(time)) => tokio::time::sleep(*time).await,
            Some(Fault::SlowAnswer(time)) => delay = *time,
            _ => {}
        }
        if call.seen.verb == "watch" {
            return Ok(watch::begin(self, call, fault));
        }
        let answer = self.act(&call, body);
        tokio::time::sleep(delay).await;
        match fault {
            Some(Fault::CutAfter) => Err(Cut),
            Some(Fault::Lose(refusal)) => Ok(Answer::of(&refusal).into_response(self.now())),
            _ => Ok(answer.into_response(self.now())),
        }
    }
}

fn no_right(call: &Call) -> Answer {
    let (verb, resource, namespace) = (call.seen.verb, &call.seen.resource, &call.namespace);
    let (group, what) = match (resource.as_str(), &call.seen.name) {
        ("leases", None) => (
            "coordination.k8s.io",
            "leases.coordination.k8s.io".to_owned(),
        ),
        ("leases", Some(name)) => (
            "coordination.k8s.io",
            format!("leases.coordination.k8s.io \"{name}\""),
        ),
        (_, None) => ("", resource.clone()),
        (_, Some(name)) => ("", format!("{resource} \"{name}\"")),
    };
    let message = format!(
        "{what} is forbidden: User \"tester\" cannot {verb} resource \"{resource}\" in API group \"{group}\" in the \
         namespace \"{namespace}\""
    );
    Answer::failure(403, "Forbidden", message)
}
