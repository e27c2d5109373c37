//! Sends requests with credentials.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::TokioExecutor;
use kube::client::Body;
use tower::{BoxError, Service};

use super::issued::Issued;
use super::source::Credentials;
use crate::lock::lock;

type HttpResponse<C> = <Http<C, Body> as Service<Request<Body>>>::Response;

/// An HTTP client that authenticates each request.
///
/// A request whose credentials the API server does not accept is retried if there are others by now:
/// a request with status 401 was not executed.
#[derive(Clone)]
pub(in crate::api::cluster) struct AuthenticatedClient<C> {
    credentials: Arc<Credentials>,
    connector: C,
    /// The connections, and the generation of the client certificate that they were opened with.
    pool: Arc<Mutex<(u64, Http<C, Body>)>>,
}

impl<C: Connect + Clone + Send + Sync + 'static> AuthenticatedClient<C> {
    pub(in crate::api::cluster) fn new(credentials: Arc<Credentials>, connector: C) -> Self {
        let pool = Arc::new(Mutex::new((0, new_pool(&connector))));
        Self {
            credentials,
            connector,
            pool,
        }
    }

    /// Returns a client whose connections have the current client certificate.
    fn client(&self, generation: u64) -> Http<C, Body> {
        let mut pool = lock(&self.pool);
        if pool.0 != generation {
            *pool = (generation, new_pool(&self.connector));
        }
        pool.1.clone()
    }

    async fn send(
        &self,
        mut request: Request<Body>,
        issued: &Issued,
    ) -> Result<HttpResponse<C>, BoxError> {
        if let Some(header) = &issued.header {
            request.headers_mut().insert(AUTHORIZATION, header.clone());
        }
        Ok(self.client(issued.generation).request(request).await?)
    }

    async fn authenticate_and_send(
        self,
        request: Request<Body>,
    ) -> Result<HttpResponse<C>, BoxError> {
        let issued = self.credentials.current().await?;
        let repetition = try_clone(&request);
        let response = self.send(request, &issued).await?;
        match repetition {
            Some(request) if response.status() == StatusCode::UNAUTHORIZED => {
                match self.credentials.replace_refused(&issued).await? {
                    Some(others) => self.send(request, &others).await,
                    None => Ok(response),
                }
            }
            _ => Ok(response),
        }
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Service<Request<Body>> for AuthenticatedClient<C> {
    type Response = HttpResponse<C>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().authenticate_and_send(request))
    }
}

fn new_pool<C: Connect + Clone>(connector: &C) -> Http<C, Body> {
    Http::builder(TokioExecutor::new()).build(connector.clone())
}

/// Returns a copy of a request whose body is in memory.
fn try_clone(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

#[cfg(test)]
mod tests;
