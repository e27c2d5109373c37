//! `sandbox_create`, `sandbox_list`, `sandbox_delete`.

use std::time::SystemTime;

use futures_util::future::join_all;
use rmcp::model::Tool;
use sandbox::rfc3339;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Call, Reply, schemas};
use crate::config::McpConfig;
use crate::failure::Failure;
use crate::sessions::{SessionKind, Slot, Standing};

pub(super) const CREATE: &str = "Create a further sandbox: an isolated place to run commands and keep files, without \
    anything of the user's machine. Not needed for ordinary work: calls without `sandbox` use one that is created at the \
    first use.";
pub(super) const LIST: &str = "List the sandboxes of this session.";
pub(super) const DELETE: &str = "Delete a sandbox with its files and processes. They cannot be brought back. What is left \
    at the end of the session is deleted then.";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateArgs {
    /// Image to create it from, one of those that the operator permits. Default: the first of them.
    #[serde(default)]
    image: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListArgs {}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteArgs {
    /// Id of the sandbox.
    sandbox: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Created {
    /// Id to pass as `sandbox`.
    sandbox: String,
    /// `ready`, or `creating` if it took longer than this call may: the next call that uses it waits for it.
    state: &'static str,
    image: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    sandboxes: Vec<Entry>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Entry {
    sandbox: String,
    /// `creating`, `ready`, `failed`, `ended`, or `unknown` if its backend does not answer.
    state: &'static str,
    image: Option<String>,
    created_at: String,
    /// When it ends if it is not used.
    expires_at: Option<String>,
    /// Whether calls without `sandbox` use this one.
    is_default: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Deleted {
    sandbox: String,
    deleted: bool,
}

/// Describes `sandbox_create`, with the images that can be chosen.
pub(super) fn describe(tool: Tool, config: &McpConfig) -> Tool {
    let mut tool = schemas::<CreateArgs, Created>(tool);
    let mut schema = (*tool.input_schema).clone();
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        if config.images.is_empty() {
            properties.remove("image");
        } else if let Some(Value::Object(image)) = properties.get_mut("image") {
            image.insert("enum".to_owned(), config.images.clone().into());
            image.insert("type".to_owned(), "string".into());
            image.remove("default");
        }
    }
    tool.input_schema = schema.into();
    tool
}

pub(super) async fn create(call: &Call, args: CreateArgs) -> Result<Reply, Failure> {
    let slot = call
        .session
        .create(args.image.as_deref(), call.deadline)
        .await?;
    let is_ready = match slot.wait_until_ready(call.deadline).await {
        Ok(ready) => ready.is_some(),
        Err(failure) => {
            call.session.forget(slot.id(), call.deadline).await;
            return Err(failure);
        }
    };
    let created = Created {
        sandbox: slot.id().to_string(),
        state: if is_ready { "ready" } else { "creating" },
        image: slot.image().map(str::to_owned),
    };
    let text = if is_ready {
        format!("sandbox {} is ready", slot.id())
    } else {
        format!(
            "sandbox {} is still being created; the creation goes on, and the next call that uses it waits for it",
            slot.id()
        )
    };
    Ok(Reply::new(&created, text)?
        .with_sandbox(slot.id())
        .with_detail(created.state))
}

pub(super) async fn list(call: &Call, _: ListArgs) -> Result<Reply, Failure> {
    match call.session.kind() {
        SessionKind::Kept => {}
        SessionKind::Shared => {
            return Err(Failure::new(
                "this client keeps no session, so there is no list of its sandboxes; use the ids that sandbox_create \
                 has returned",
            ));
        }
    }
    let slots = call.session.slots();
    let describing = slots.iter().map(|slot| describe_slot(call, slot));
    let sandboxes = join_all(describing).await;
    let lines: Vec<String> = sandboxes
        .iter()
        .map(|entry| {
            let default = if entry.is_default { " (default)" } else { "" };
            format!("{} {}{default}", entry.sandbox, entry.state)
        })
        .collect();
    let text = if lines.is_empty() {
        "there are no sandboxes yet; the first call that uses one creates it".to_owned()
    } else {
        lines.join("\n")
    };
    Reply::new(&Listed { sandboxes }, text)
}

async fn describe_slot(call: &Call, slot: &Slot) -> Entry {
    let standing = slot.standing().await;
    let (state, expires_at): (_, Option<SystemTime>) = match standing {
        Standing::Creating => ("creating", None),
        Standing::Ready { expires_at } => ("ready", expires_at),
        Standing::Failed => ("failed", None),
        Standing::Ended => ("ended", None),
        Standing::Unknown => ("unknown", None),
    };
    Entry {
        sandbox: slot.id().to_string(),
        state,
        image: slot.image().map(str::to_owned),
        created_at: rfc3339(slot.begun()),
        expires_at: expires_at.map(rfc3339),
        is_default: call.session.is_own(slot.id()).await,
    }
}

pub(super) async fn delete(call: &Call, args: DeleteArgs) -> Result<Reply, Failure> {
    let slot = call.session.find(&args.sandbox)?;
    slot.delete().await?;
    call.session.remove(slot.id());
    let deleted = Deleted {
        sandbox: slot.id().to_string(),
        deleted: true,
    };
    Ok(Reply::new(&deleted, format!("deleted sandbox {}", slot.id()))?.with_sandbox(slot.id()))
}
