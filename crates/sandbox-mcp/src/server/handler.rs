//! Answers the requests of one client.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    InitializeRequestParams, InitializeResult, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tokio::time::Instant;

use crate::app::App;
use crate::audit::{Outcome, Record, shorten_arguments, shorten_text};
use crate::failure::Failure;
use crate::sessions::{Registry, Session, SessionKind};
use crate::tools::{self, Call, Reply, ToolKind};

/// Within this time every call is answered. Some clients give a call up after 60 seconds.
const CALL_LIMIT: Duration = Duration::from_secs(45);
/// When a call stops to wait, so that its answer is written and sent in time.
const WAIT_LIMIT: Duration = Duration::from_secs(42);
/// The longest name of a tool or a client in the record, in characters.
const MAX_NAME: usize = 64;

const INSTRUCTIONS: &str = "Sandboxes: isolated places to run commands and keep files. Nothing in them is on the user's \
    machine, and they are deleted with this session. Calls without `sandbox` share one, which the first call creates. A \
    command that runs longer than a call may take becomes a job: wait for it with job_wait.";

/// Answers the requests of one client.
pub(crate) struct Handler {
    app: Arc<App>,
    tools: Vec<Tool>,
    session: OnceLock<Arc<Session>>,
    /// Over HTTP.
    http: Option<HttpSessions>,
}

/// The sessions of clients over HTTP.
#[derive(Clone)]
pub(super) struct HttpSessions {
    /// Those that clients have begun.
    pub(super) open: Arc<Registry>,
    /// That of calls which belong to none.
    pub(super) shared: Arc<Session>,
}

impl Handler {
    /// Answers the client of this session, which the caller closes.
    pub(crate) fn for_session(app: &Arc<App>, session: &Arc<Session>) -> Self {
        Self {
            app: Arc::clone(app),
            tools: tools::describe(app),
            session: OnceLock::from(Arc::clone(session)),
            http: None,
        }
    }

    /// Answers a client over HTTP. If it begins a session, that is closed when this is dropped; otherwise its calls belong
    /// to the shared one.
    pub(super) fn for_http(app: &Arc<App>, sessions: &HttpSessions) -> Self {
        Self {
            app: Arc::clone(app),
            tools: tools::describe(app),
            session: OnceLock::new(),
            http: Some(sessions.clone()),
        }
    }

    fn session(&self) -> Result<&Arc<Session>, ErrorData> {
        self.session
            .get()
            .or(self.http.as_ref().map(|http| &http.shared))
            .ok_or_else(|| ErrorData::internal_error("there is no session", None))
    }

    /// Runs a call within its time, unless its client cancels it.
    async fn call(
        &self,
        session: &Arc<Session>,
        tool: ToolKind,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> (Outcome, Result<Reply, Failure>) {
        if let Err(failure) = self.app.audit.check() {
            return (Outcome::Failed, Err(failure));
        }
        let Ok(_permit) = Arc::clone(&session.calls).try_acquire_owned() else {
            let failure = Failure::new(
                "too many calls run at once in this session; wait until some have been answered",
            );
            return (Outcome::Refused, Err(failure));
        };
        let started = Instant::now();
        let call = Call {
            session: Arc::clone(session),
            deadline: started + WAIT_LIMIT,
        };
        let running = tool.run(&call, request.arguments.unwrap_or_default());
        tokio::select! {
            biased;
            () = context.ct.cancelled() => (Outcome::Cancelled, Err(Failure::new("the call was cancelled"))),
            ran = tokio::time::timeout_at(started + CALL_LIMIT, running) => match ran {
                Ok(Ok(reply)) => (Outcome::Ok, Ok(reply)),
                Ok(Err(failure)) => (Outcome::Failed, Err(failure)),
                Err(_) => (Outcome::Failed, Err(Failure::new(format!(
                    "the sandbox did not answer within {} s, so the call was given up; split the work, or run it with \
                     command_run",
                    CALL_LIMIT.as_secs()
                )))),
            },
        }
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = Implementation::new("sandbox", env!("CARGO_PKG_VERSION"));
        info.instructions = Some(INSTRUCTIONS.to_owned());
        info
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        if self.session.get().is_none() {
            let session = Session::begin(&self.app, SessionKind::Kept)
                .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
            // A client that initializes twice keeps its first session.
            let session = self.session.get_or_init(|| session);
            if let Some(http) = &self.http {
                http.open.insert(session);
            }
        }
        context.peer.set_peer_info(request.clone());
        self.negotiate_initialize(&request)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.clone()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let session = self.session()?;
        let (time, started) = (SystemTime::now(), Instant::now());
        let name: String = request.name.chars().take(MAX_NAME).collect();
        let arguments = request
            .arguments
            .as_ref()
            .map(shorten_arguments)
            .unwrap_or_default();
        let sandbox = arguments
            .get("sandbox")
            .and_then(|id| id.as_str())
            .map(shorten_text);
        let mut record = Record {
            time,
            session: session.name(),
            client: context
                .client_info()
                .map(|client| client.name.chars().take(MAX_NAME).collect()),
            tool: name.clone(),
            sandbox,
            arguments,
            outcome: Outcome::Cancelled,
            detail: None,
            duration: Duration::ZERO,
        };
        let Some(tool) = ToolKind::find(&request.name, &self.app.config) else {
            record.outcome = Outcome::Refused;
            self.app.audit.write(&record);
            return Err(ErrorData::invalid_params(
                format!("there is no tool {name:?}"),
                None,
            ));
        };
        // It writes the record, also if the call is dropped.
        let mut recording = Recording {
            app: &self.app,
            record,
            started,
        };
        let (outcome, result) = self.call(session, tool, request, &context).await;
        recording.record.outcome = outcome;
        let answer = match result {
            Ok(reply) => {
                recording.record.detail = reply.detail.as_deref().map(shorten_text);
                if reply.sandbox.is_some() {
                    recording.record.sandbox = reply.sandbox;
                }
                let mut answer = CallToolResult::success(vec![ContentBlock::text(reply.text)]);
                answer.structured_content = Some(reply.data);
                answer
            }
            Err(failure) => {
                recording.record.detail = Some(shorten_text(failure.message()));
                CallToolResult::error(vec![ContentBlock::text(failure.message())])
            }
        };
        Ok(answer.into())
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // Over HTTP nothing else closes the session.
        let (Some(http), Some(session)) = (&self.http, self.session.take()) else {
            return;
        };
        http.open.remove(&session);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.app
                .tasks
                .spawn_on(async move { session.close().await }, &runtime);
        }
    }
}

/// Writes the record of a call when it ends, however it ends.
struct Recording<'a> {
    app: &'a App,
    record: Record<'a>,
    started: Instant,
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        self.record.duration = self.started.elapsed();
        self.app.audit.write(&self.record);
    }
}
