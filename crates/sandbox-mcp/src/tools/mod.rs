//! The tools: what a model can do.

mod command;
mod create;
mod files;
mod jobs;
mod read;
mod reply;
mod shared_files;

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use sandbox::{FilePath, Sandbox};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

pub(crate) use self::reply::Reply;
use crate::app::App;
use crate::config::McpConfig;
use crate::failure::Failure;
use crate::sessions::{Session, Slot};

/// One call of a tool.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) session: Arc<Session>,
    /// When waiting has to stop, so that the answer is in time.
    pub(crate) deadline: Instant,
}

/// A tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToolKind {
    SandboxCreate,
    SandboxList,
    SandboxDelete,
    CommandRun,
    JobWait,
    JobSignal,
    FileRead,
    FileWrite,
    FileEdit,
    FileList,
    PortUrl,
    Upload,
    Download,
}

/// What a tool does to its environment, for clients that ask their user before some calls.
#[derive(Clone, Copy)]
enum Effect {
    Reads,
    Adds,
    Destroys,
}

const ALL: [ToolKind; 13] = [
    ToolKind::SandboxCreate,
    ToolKind::SandboxList,
    ToolKind::SandboxDelete,
    ToolKind::CommandRun,
    ToolKind::JobWait,
    ToolKind::JobSignal,
    ToolKind::FileRead,
    ToolKind::FileWrite,
    ToolKind::FileEdit,
    ToolKind::FileList,
    ToolKind::PortUrl,
    ToolKind::Upload,
    ToolKind::Download,
];

impl ToolKind {
    /// Finds a tool that this configuration has.
    pub(crate) fn find(name: &str, config: &McpConfig) -> Option<Self> {
        Self::list(config).find(|tool| tool.name() == name)
    }

    fn list(config: &McpConfig) -> impl Iterator<Item = Self> {
        let (preview, share) = (config.preview, config.share.is_some());
        ALL.into_iter().filter(move |tool| match tool {
            Self::PortUrl => preview,
            Self::Upload | Self::Download => share,
            Self::SandboxCreate
            | Self::SandboxList
            | Self::SandboxDelete
            | Self::CommandRun
            | Self::JobWait
            | Self::JobSignal
            | Self::FileRead
            | Self::FileWrite
            | Self::FileEdit
            | Self::FileList => true,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SandboxCreate => "sandbox_create",
            Self::SandboxList => "sandbox_list",
            Self::SandboxDelete => "sandbox_delete",
            Self::CommandRun => "command_run",
            Self::JobWait => "job_wait",
            Self::JobSignal => "job_signal",
            Self::FileRead => "file_read",
            Self::FileWrite => "file_write",
            Self::FileEdit => "file_edit",
            Self::FileList => "file_list",
            Self::PortUrl => "port_url",
            Self::Upload => "upload",
            Self::Download => "download",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::SandboxCreate => create::CREATE,
            Self::SandboxList => create::LIST,
            Self::SandboxDelete => create::DELETE,
            Self::CommandRun => command::RUN,
            Self::JobWait => jobs::WAIT,
            Self::JobSignal => jobs::SIGNAL,
            Self::FileRead => read::READ,
            Self::FileWrite => files::WRITE,
            Self::FileEdit => files::EDIT,
            Self::FileList => files::LIST,
            Self::PortUrl => shared_files::PORT_URL,
            Self::Upload => shared_files::UPLOAD,
            Self::Download => shared_files::DOWNLOAD,
        }
    }

    /// Its effect, whether it reaches more than the sandbox, and whether repeating it changes nothing.
    fn annotations(self) -> ToolAnnotations {
        let (effect, is_open_world, is_idempotent) = match self {
            Self::SandboxCreate => (Effect::Adds, false, false),
            Self::SandboxList | Self::FileRead | Self::FileList | Self::JobWait => {
                (Effect::Reads, false, true)
            }
            Self::SandboxDelete => (Effect::Destroys, false, true),
            // What a command reaches depends on the sandbox's network.
            Self::CommandRun => (Effect::Destroys, true, false),
            Self::JobSignal => (Effect::Destroys, false, false),
            Self::FileWrite => (Effect::Destroys, false, false),
            Self::FileEdit => (Effect::Destroys, false, false),
            // These reach this machine.
            Self::PortUrl => (Effect::Adds, true, true),
            Self::Upload => (Effect::Destroys, true, true),
            Self::Download => (Effect::Destroys, true, false),
        };
        let annotations = match effect {
            Effect::Reads => ToolAnnotations::new().read_only(true).destructive(false),
            Effect::Adds => ToolAnnotations::new().read_only(false).destructive(false),
            Effect::Destroys => ToolAnnotations::new().read_only(false).destructive(true),
        };
        annotations
            .idempotent(is_idempotent)
            .open_world(is_open_world)
    }

    fn describe(self, app: &App) -> Tool {
        let mut description = self.description().to_owned();
        if self == Self::CommandRun {
            description += &app.network_note();
        }
        let tool = Tool::new(self.name(), description, JsonObject::new());
        let tool = match self {
            Self::SandboxCreate => create::describe(tool, &app.config),
            Self::SandboxList => schemas::<create::ListArgs, create::Listed>(tool),
            Self::SandboxDelete => schemas::<create::DeleteArgs, create::Deleted>(tool),
            Self::CommandRun => schemas::<command::RunArgs, jobs::JobReply>(tool),
            Self::JobWait => schemas::<jobs::WaitArgs, jobs::JobReply>(tool),
            Self::JobSignal => schemas::<jobs::SignalArgs, jobs::Signalled>(tool),
            Self::FileRead => schemas::<read::ReadArgs, read::ReadReply>(tool),
            Self::FileWrite => schemas::<files::WriteArgs, files::Written>(tool),
            Self::FileEdit => schemas::<files::EditArgs, files::Edited>(tool),
            Self::FileList => schemas::<files::ListArgs, files::Listed>(tool),
            Self::PortUrl => schemas::<shared_files::PortArgs, shared_files::PortReply>(tool),
            Self::Upload => schemas::<shared_files::UploadArgs, shared_files::Transferred>(tool),
            Self::Download => {
                schemas::<shared_files::DownloadArgs, shared_files::Transferred>(tool)
            }
        };
        tool.with_annotations(self.annotations())
    }

    /// Runs a call.
    ///
    /// # Errors
    ///
    /// If it could not do its work.
    pub(crate) async fn run(self, call: &Call, arguments: JsonObject) -> Result<Reply, Failure> {
        match self {
            Self::SandboxCreate => create::create(call, parse(arguments)?).await,
            Self::SandboxList => create::list(call, parse(arguments)?).await,
            Self::SandboxDelete => create::delete(call, parse(arguments)?).await,
            Self::CommandRun => command::run(call, parse(arguments)?).await,
            Self::JobWait => jobs::wait(call, parse(arguments)?).await,
            Self::JobSignal => jobs::signal(call, parse(arguments)?).await,
            Self::FileRead => read::read(call, parse(arguments)?).await,
            Self::FileWrite => files::write(call, parse(arguments)?).await,
            Self::FileEdit => files::edit(call, parse(arguments)?).await,
            Self::FileList => files::list(call, parse(arguments)?).await,
            Self::PortUrl => shared_files::open_port(call, parse(arguments)?).await,
            Self::Upload => shared_files::upload(call, parse(arguments)?).await,
            Self::Download => shared_files::download(call, parse(arguments)?).await,
        }
    }
}

/// Describes the tools that this configuration has.
pub(crate) fn describe(app: &App) -> Vec<Tool> {
    ToolKind::list(&app.config)
        .map(|tool| tool.describe(app))
        .collect()
}

impl Call {
    /// Returns a sandbox to use, when it is ready: the one of this id, or the session's own.
    ///
    /// # Errors
    ///
    /// If there is none, it could not be created, or it is not ready in time.
    async fn use_sandbox(&self, id: Option<&str>) -> Result<(Arc<Slot>, Sandbox), Failure> {
        let slot = match id {
            Some(id) => self.session.find(id)?,
            None => self.session.own(self.deadline).await?,
        };
        match slot.wait_until_ready(self.deadline).await {
            Ok(Some(sandbox)) => {
                let app = self.session.app();
                slot.renew(&sandbox, app.config.ttl, &app.tasks);
                Ok((slot, sandbox))
            }
            Ok(None) => Err(Failure::new(format!(
                "sandbox {} is still being created, and this call has done nothing; the creation goes on: call again, \
                 which waits for it",
                slot.id()
            ))),
            Err(failure) => {
                // The next call may succeed, with a new one.
                self.session.forget(slot.id(), self.deadline).await;
                Err(failure)
            }
        }
    }

    /// Explains a failure: if the sandbox has ended, that is why.
    async fn explain(&self, slot: &Slot, failure: Failure) -> Failure {
        let standing = tokio::time::timeout_at(self.deadline, slot.standing()).await;
        if standing.is_ok_and(|standing| standing.has_ended()) {
            self.session.forget(slot.id(), self.deadline).await;
            return Failure::new(format!(
                "sandbox {} has ended, and its files and processes are gone; call again for a new one, or create one",
                slot.id()
            ));
        }
        failure
    }
}

/// Reads the arguments of a tool. Some models write null for what they leave out.
fn parse<T: DeserializeOwned>(mut arguments: JsonObject) -> Result<T, Failure> {
    arguments.retain(|_, value| !value.is_null());
    serde_json::from_value(Value::Object(arguments))
        .map_err(|error| Failure::new(format!("the arguments are not valid: {error}")))
}

/// Reads a path as `file_list` writes it: `\xNN` is a byte that is not UTF-8, and `\\` a backslash.
fn parse_path(path: String) -> Result<FilePath, Failure> {
    let parsed = serde_json::from_value::<FilePath>(Value::String(path)).map_err(|error| {
        Failure::new(format!(
            "the path is not valid: {error}; write a backslash as \\\\"
        ))
    })?;
    if parsed.is_empty() {
        return Err(Failure::new(
            "the path is empty; name a file or a directory",
        ));
    }
    Ok(parsed)
}

fn schemas<A: JsonSchema + 'static, R: JsonSchema + 'static>(tool: Tool) -> Tool {
    tool.with_input_schema::<A>().with_output_schema::<R>()
}
