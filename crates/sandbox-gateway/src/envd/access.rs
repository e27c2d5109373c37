//! Which sandbox a request is for, and whether the caller may use it.

use std::time::SystemTime;

use http::HeaderMap;
use sandbox::SandboxId;

use super::failure::{Failure, explain};
use super::signature::Signature;
use crate::app::App;
use crate::connect::Code;
use crate::routing::ACCESS_TOKEN;
use crate::sandboxes::Found;
use crate::sandboxes::tokens::{is_same_token, is_well_formed};
use crate::upstream::open_awake;

/// Finds a sandbox of this gateway.
///
/// # Errors
///
/// [`Failure::Gone`] if there is none.
pub(super) async fn find(app: &App, id: &SandboxId) -> Result<Found, Failure> {
    match app.sandboxes.find_for_traffic(id).await {
        Ok(found) if found.record.is_some() => Ok(found),
        Ok(_) | Err(sandbox::Error::NotFound { .. }) => Err(Failure::Gone(id.to_string())),
        Err(error) => {
            tracing::warn!(%id, %error, "sandbox not looked up");
            let message = "the gateway cannot find out about sandboxes now; try again";
            Err(Failure::new(Code::Unavailable, message))
        }
    }
}

/// Finds a sandbox, and checks that the caller has its token. If the request does not name it, as those of E2B's oldest
/// SDKs, its token does.
///
/// # Errors
///
/// [`Failure::Gone`], or that it has not.
pub(super) async fn authorize(
    app: &App,
    id: Option<&SandboxId>,
    headers: &HeaderMap,
) -> Result<Found, Failure> {
    let named = match id {
        Some(id) => Some(find(app, id).await?),
        None => None,
    };
    let sent = access_token(headers).ok_or_else(|| {
        unauthenticated("the access token is missing; send it in the header X-Access-Token")
    })?;
    let right = match named {
        Some(found) => {
            let right = app.sandboxes.tokens().envd(&found.info.uid);
            is_same_token(sent, &right).then_some(found)
        }
        None if !is_well_formed(sent) => None,
        None => {
            let found = find_by_token(app, |token| is_same_token(sent, token)).await?;
            // Most likely its sandbox has ended.
            Some(found.ok_or_else(|| Failure::Gone(String::new()))?)
        }
    };
    right.ok_or_else(|| unauthenticated("the access token is wrong"))
}

/// Finds the sandbox of a request for a file, and checks that the caller may have it: by its token, or by a signature
/// made with its token. A signed URL need not name a sandbox: its signature does, since no two sandboxes have one token.
///
/// # Errors
///
/// [`Failure::Gone`], or that the caller may not.
pub(super) async fn authorize_files(
    app: &App,
    id: Option<&SandboxId>,
    headers: &HeaderMap,
    signature: Option<Signature<'_>>,
) -> Result<Found, Failure> {
    if access_token(headers).is_some() {
        return authorize(app, id, headers).await;
    }
    let named = match id {
        Some(id) => Some(find(app, id).await?),
        None => None,
    };
    let signature =
        signature.ok_or_else(|| unauthenticated("missing signature query parameter"))?;
    if !signature.is_well_formed() {
        return Err(unauthenticated("invalid signature"));
    }
    let signed = match named {
        Some(found) => {
            let token = app.sandboxes.tokens().envd(&found.info.uid);
            signature.is_made_with(&token).then_some(found)
        }
        None => find_by_token(app, |token| signature.is_made_with(token)).await?,
    };
    let found = signed.ok_or_else(|| unauthenticated("invalid signature"))?;
    if signature.is_expired(SystemTime::now()) {
        return Err(unauthenticated("signature is already expired"));
    }
    Ok(found)
}

/// Finds the sandbox whose token is this one. Each is compared, however early one is found.
async fn find_by_token(
    app: &App,
    is_right: impl Fn(&str) -> bool,
) -> Result<Option<Found>, Failure> {
    let all = app.sandboxes.list().await.map_err(|error| {
        tracing::warn!(%error, "sandboxes not listed");
        let message = "the gateway cannot find out about sandboxes now; try again";
        Failure::new(Code::Unavailable, message)
    })?;
    let tokens = app.sandboxes.tokens();
    let mut right = all
        .iter()
        .map(|one| &one.info)
        .filter(|info| is_right(&tokens.envd(&info.uid)));
    let first = right.next();
    right.for_each(drop);
    let Some(info) = first else {
        return Ok(None);
    };
    let found = find(app, &info.id).await?;
    // Another instance that has got the id meanwhile has another token.
    Ok(Some(found).filter(|found| found.info.uid == info.uid))
}

/// Opens a sandbox that the caller may use. One that is paused is resumed first, if it was created so.
///
/// # Errors
///
/// If it has ended, is paused and stays so, or cannot be reached.
pub(super) async fn open(app: &App, found: &Found) -> Result<sandbox::Sandbox, Failure> {
    match open_awake(&app.sandboxes, found).await {
        Ok(Some(sandbox)) => Ok(sandbox),
        Ok(None) => Err(Failure::Gone(found.info.id.to_string())),
        Err(error) => Err(explain(app, found, error).await),
    }
}

fn access_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(ACCESS_TOKEN)?;
    // What is not text is no token, but one was sent.
    Some(value.to_str().unwrap_or_default())
}

fn unauthenticated(message: &str) -> Failure {
    Failure::new(Code::Unauthenticated, message)
}
