//! Starting a supervisor, and hearing what became of it.

use std::path::Path;
use std::process::Stdio;
use std::time::SystemTime;

use sandbox_core::{
    CreationError, CreationReason, CreationStage, Deadline, Error, KeyPair, Result, SandboxId,
    SandboxInfo, SandboxSpec, Uid,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use super::{absolute, failed};
use crate::linux::failure::{Failure, FailureKind};
use crate::linux::init::{SUPERVISOR_NAME, find_server};
use crate::linux::protocol::{ACKNOWLEDGEMENT, PLAN_VERSION, Plan, Reply};
use crate::linux::state::StateDir;
use crate::options::LocalOptions;

/// Makes a sandbox. Dropped half-way it leaves nothing: the supervisor sees its pipe close.
pub(super) async fn create(
    options: &LocalOptions,
    state: &StateDir,
    spec: SandboxSpec,
) -> Result<SandboxInfo> {
    spec.validate()?;
    if let Some(image) = &spec.image {
        let hint = "it runs the programs of this machine; leave the image away, or use the Kubernetes backend (SANDBOX_BACKEND=k8s)";
        return Err(Error::unsupported(
            format!("the image {image}"),
            "the local backend",
            hint,
        ));
    }
    if spec.backend_options.require_only("local")?.is_some() {
        let hint = "it has none; leave them away";
        return Err(Error::unsupported(
            "options of its own",
            "the local backend",
            hint,
        ));
    }
    let id = spec.id.map_or_else(SandboxId::generate, Ok)?;
    let server = find_server(options.server.as_deref())?;
    let plan = Plan {
        version: PLAN_VERSION,
        id: id.clone(),
        uid: Uid::generate()?,
        state_dir: state.path().to_owned(),
        isolation: options.isolation,
        asked: spec.resources,
        defaults: options.default_limits,
        labels: spec.labels,
        lifetime: spec.lifetime,
        created_at: SystemTime::now(),
        read_only_paths: absolute(&options.read_only_paths)?,
        host_key: KeyPair::generate()?.private.expose().to_owned(),
        client_key: KeyPair::generate()?.private.expose().to_owned(),
    };
    let mut text = Zeroizing::new(
        serde_json::to_vec(&plan).map_err(|error| failed("write the plan", error.into()))?,
    );
    text.push(b'\n');
    let deadline = Deadline::from_now(options.start_timeout);
    deadline
        .bound("start the sandbox", start(&server, &id, text))
        .await
}

async fn start(server: &Path, id: &SandboxId, plan: Zeroizing<Vec<u8>>) -> Result<SandboxInfo> {
    let mut supervisor = spawn(server)?;
    let (Some(mut to), Some(from)) = (supervisor.stdin.take(), supervisor.stdout.take()) else {
        return Err(failed(
            "start the sandbox server",
            std::io::Error::other("it has no pipes"),
        ));
    };
    let mut reply = Vec::new();
    let exchange = async {
        to.write_all(&plan).await?;
        BufReader::new(from)
            .take(1 << 20)
            .read_until(b'\n', &mut reply)
            .await
    };
    let heard = exchange.await;
    let answer = match serde_json::from_slice(&reply) {
        Ok(Reply::Listening(info)) => {
            let acknowledged = to.write_all(ACKNOWLEDGEMENT).await;
            // No waiting from here on: whoever drops this future now would not know of a
            // sandbox that knows itself acknowledged.
            acknowledged
                .map(|()| *info)
                .map_err(|error| failed("acknowledge the sandbox", error))
        }
        Ok(Reply::Failed(failure)) => Err(error_of(failure, id)),
        Err(source) => Err(Error::Creation(Box::new(CreationError {
            id: id.clone(),
            stage: CreationStage::Provision,
            reason: CreationReason::Crashed,
            message: format!(
                "the sandbox server {} ended without an answer; it must be sandbox-local-server or a program whose main begins with sandbox::local::init()",
                server.display()
            ),
            events: Vec::new(),
            // Not what it wrote: a program that repeats its input would give away the keys.
            log_tail: String::new(),
            source: Some(
                heard
                    .err()
                    .map_or_else(|| Box::new(source) as _, |error| Box::new(error) as _),
            ),
        }))),
    };
    // It stays a child of this process for as long as both live.
    tokio::spawn(async move { supervisor.wait().await });
    answer
}

fn spawn(server: &Path) -> Result<Child> {
    let mut command = Command::new(server);
    command.arg0(SUPERVISOR_NAME).current_dir("/").env_clear();
    // What the loader may need to start it; everything else could be a secret.
    for name in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
        .spawn()
        .map_err(|error| failed("start the sandbox server", error))
}

fn error_of(failure: Failure, id: &SandboxId) -> Error {
    let reason = match failure.kind {
        FailureKind::AlreadyExists => return Error::AlreadyExists { id: id.clone() },
        FailureKind::Unsupported => {
            return Error::unsupported(failure.step, "the local backend here", failure.message);
        }
        FailureKind::Isolation | FailureKind::Forbidden => CreationReason::Isolation,
        FailureKind::Crashed => CreationReason::Crashed,
        FailureKind::Other => CreationReason::Other,
    };
    Error::Creation(Box::new(CreationError {
        id: id.clone(),
        stage: CreationStage::Provision,
        reason,
        message: failure.to_string(),
        events: Vec::new(),
        log_tail: String::new(),
        source: None,
    }))
}
