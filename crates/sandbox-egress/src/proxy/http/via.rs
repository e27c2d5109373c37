//! What is changed in requests for servers that the proxy adds credentials for, and in their responses.

use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::ext::ReasonPhrase;

use super::body::{CountedBody, ResponseBody};
use super::headers::Malformed;
use super::named::Named;
use crate::credential::Redaction;
use crate::intercept::InterceptedHost;
use crate::proxy::secured::Secured;

/// What adds a credential to a request.
pub(super) enum Via {
    Upstream(Named),
    Host(Arc<InterceptedHost>),
}

/// Why a request does not get a credential.
pub(super) enum Unprepared {
    Malformed(Malformed),
    /// It asks for something that the proxy does not do.
    Refused(String),
}

impl From<Malformed> for Unprepared {
    fn from(reason: Malformed) -> Self {
        Self::Malformed(reason)
    }
}

impl Via {
    pub(super) fn secured(&self) -> Secured {
        match self {
            Self::Upstream(named) => Secured::Upstream(Arc::clone(&named.upstream)),
            Self::Host(host) => Secured::Host(Arc::clone(host)),
        }
    }

    pub(super) fn host(&self) -> Option<&Arc<InterceptedHost>> {
        match self {
            Self::Upstream(_) => None,
            Self::Host(host) => Some(host),
        }
    }

    /// Adds the credential to a request that has no header about the connection any more. Returns what undoes that in the
    /// response.
    ///
    /// # Errors
    ///
    /// Why it is not served.
    pub(super) fn prepare<B>(self, request: &mut Request<B>) -> Result<Finish, Unprepared> {
        let headers = request.headers_mut();
        Ok(match self {
            Self::Upstream(named) => {
                named.upstream.prepare_request(headers)?;
                Finish::Upstream(named)
            }
            Self::Host(host) => {
                let spellings = host.prepare_request(headers).map_err(Unprepared::Refused)?;
                Finish::Host(host, spellings)
            }
        })
    }
}

/// What is removed from a response because of what was added to its request.
pub(super) enum Finish {
    Upstream(Named),
    Host(Arc<InterceptedHost>, Redaction),
}

impl Finish {
    /// Removes from a response what is not for the sandbox.
    pub(super) fn apply(self, mut response: Response<CountedBody>) -> Response<ResponseBody> {
        // A server can write anything there, and so the credential.
        response.extensions_mut().remove::<ReasonPhrase>();
        match self {
            Self::Upstream(named) => named.finish(response),
            Self::Host(host, spellings) => {
                host.prepare_response(response.headers_mut(), &spellings);
                response.map(BodyExt::boxed_unsync)
            }
        }
    }
}
