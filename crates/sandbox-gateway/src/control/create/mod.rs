//! Creates sandboxes.

mod request;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Extension, State};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use sandbox::{Error, SandboxId};
use tokio::time::Instant;

use self::request::NewSandbox;
use super::failure::{ApiResult, Described};
use super::model::Connectable;
use super::{access, body};
use crate::api_error::ApiError;
use crate::app::App;
use crate::config::Template;
use crate::keys::Caller;
use crate::sandboxes::Owned;
use crate::sandboxes::creation::Creation;
use crate::sandboxes::record::Record;

/// SDKs give up after 60 seconds, and may then create another one.
const CREATE_TIMEOUT: Duration = Duration::from_secs(55);
/// The template of a request that names none.
const DEFAULT_TEMPLATE: &str = "base";
/// Makes a repeated request return the first one's sandbox.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// How often to look for the sandbox that another request is creating.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// `POST /v2/sandboxes` and `POST /sandboxes`.
///
/// Without an `Idempotency-Key`, a caller that leaves cancels the creation. With one, it goes on, because the caller may
/// be about to ask again.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> ApiResult<(StatusCode, Json<Connectable>)> {
    let deadline = Instant::now() + CREATE_TIMEOUT;
    let idempotency_key = idempotency_key(&headers)?;
    let plan = Plan::new(&app, &caller, body::parse(&body)?)?;
    let sandbox = match idempotency_key {
        None => plan.create(&app, &caller, None).await?,
        Some(key) => {
            let once = Once {
                id: app.sandboxes.id_for(&caller.name, key).described()?,
                request: app
                    .sandboxes
                    .tokens()
                    .derive(&["request", &String::from_utf8_lossy(&body)]),
                deadline,
            };
            let (owner, caller) = (Arc::clone(&app), caller.clone());
            let creation = app
                .tasks
                .spawn(async move { once.create(&owner, &caller, plan).await });
            creation
                .await
                .map_err(|_panicked| ApiError::internal("the creation was interrupted; retry"))??
        }
    };
    Ok((StatusCode::CREATED, Json(Connectable::new(&app, &sandbox))))
}

/// What is created.
struct Plan {
    record: Record,
    creation: Creation,
}

impl Plan {
    /// Checks a request without creating anything.
    fn new(app: &App, caller: &Caller, request: NewSandbox) -> ApiResult<Self> {
        request.check()?;
        let asked = request.template_id.as_deref().unwrap_or(DEFAULT_TEMPLATE);
        let (name, template) = find_template(app, asked)?;
        let timeout = request.timeout()?.unwrap_or(template.timeout);
        if timeout > template.max_lifetime {
            return Err(ApiError::bad_request(format!(
                "timeout exceeds the {} seconds that a sandbox of this template lasts at most",
                template.max_lifetime.as_secs()
            )));
        }
        let egress_wish = request.egress();
        let reach = app
            .sandboxes
            .egress_limits()
            .narrow(name, &egress_wish)
            .map_err(ApiError::bad_request)?;
        let record = Record {
            template: name.to_owned(),
            owner: caller.name.clone(),
            metadata: request.metadata.clone().unwrap_or_default(),
            lifecycle: request.lifecycle(),
            network: request.network(),
            egress: egress_wish,
            started_at: Some(SystemTime::now()),
            request: None,
        };
        let mut env = template.env.clone();
        env.extend(request.env_vars.unwrap_or_default());
        Ok(Self {
            record,
            creation: Creation {
                env,
                timeout,
                reach,
                limit: CREATE_TIMEOUT,
            },
        })
    }

    /// Creates it, with an id of its own or the given one.
    async fn create(self, app: &App, caller: &Caller, id: Option<SandboxId>) -> ApiResult<Owned> {
        let listed = access::list(app, caller).await?.len();
        let limit = caller.limits.sandboxes;
        let _place = app.creations.take_place(&caller.name, listed, limit).ok_or_else(|| {
            let message = format!("this API key has its greatest number of sandboxes, {limit}; end some of them first");
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).with_error_code("sandbox_limit").never_retry()
        })?;
        let is_narrowed = self.record.egress.is_narrowing();
        let created = app
            .sandboxes
            .create(&app.config, self.record, self.creation, id);
        match created.await {
            // What the backend cannot enforce.
            Err(error @ Error::Unsupported(_)) if is_narrowed => {
                Err(ApiError::bad_request(format!("network: {error}")))
            }
            created => created.described(),
        }
    }
}

fn find_template<'a>(app: &'a App, asked: &str) -> ApiResult<(&'a str, &'a Template)> {
    // The tag of the only build that there is.
    let name = asked
        .strip_suffix(":default")
        .or_else(|| asked.strip_suffix(":latest"))
        .unwrap_or(asked);
    app.config.template(asked).or_else(|| app.config.template(name)).ok_or_else(|| {
        let asked: String = asked.chars().take(128).collect();
        ApiError::not_found(format!("template '{asked}' not found; the server's configuration names those that there are"))
    })
}

/// A creation that has one sandbox as its result, however often it is asked for, and at whichever replica.
struct Once {
    id: SandboxId,
    /// What was asked for, as a hash: the same key with another request is a mistake.
    request: String,
    deadline: Instant,
}

impl Once {
    async fn create(self, app: &App, caller: &Caller, mut plan: Plan) -> ApiResult<Owned> {
        plan.record.request = Some(self.request.clone());
        let mut plan = Some(plan);
        loop {
            // The id follows from the key, so that the backend lets only one creation succeed.
            if let Some(owned) = self.find(app, caller).await? {
                return Ok(owned);
            }
            if let Some(plan) = plan.take() {
                let created = plan.create(app, caller, Some(self.id.clone())).await;
                match created {
                    Err(refused) if refused.status() == StatusCode::CONFLICT => {}
                    result => return result,
                }
            }
            if Instant::now() >= self.deadline {
                let message = "another request with this Idempotency-Key is still creating the sandbox; retry";
                return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(1));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Finds what an earlier request has created, once it can be used.
    async fn find(&self, app: &App, caller: &Caller) -> ApiResult<Option<Owned>> {
        let found = match access::find(app, caller, self.id.as_str()).await {
            Ok(found) => found,
            Err(missing) if missing.status() == StatusCode::NOT_FOUND => return Ok(None),
            Err(error) => return Err(error),
        };
        if found.record.request.as_deref() != Some(&self.request) {
            let message = "this Idempotency-Key was used for another request; use a new one";
            return Err(ApiError::new(StatusCode::CONFLICT, message).never_retry());
        }
        match app.sandboxes.open_owned(&found).await {
            Ok(_usable) => Ok(Some(found)),
            // It is being created, or has just ended.
            Err(Error::NotFound { .. } | Error::Connection(_)) => Ok(None),
            Err(error) => Err(error).described(),
        }
    }
}

/// The header `Idempotency-Key`, as E2B's SDKs check it.
fn idempotency_key(headers: &HeaderMap) -> ApiResult<Option<&str>> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let is_valid = |key: &str| {
        (1..=255).contains(&key.len())
            && key
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    match value.to_str() {
        Ok(key) if is_valid(key) && values.next().is_none() => Ok(Some(key)),
        Ok(_) | Err(_) => Err(ApiError::bad_request(
            "Idempotency-Key must be sent once, with 1 to 255 lower-case letters, digits and dashes",
        )),
    }
}
