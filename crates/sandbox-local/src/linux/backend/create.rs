//! Starts a supervisor and receives its reply.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use sandbox_core::{
    CreationError, CreationReason, CreationStage, Deadline, Error, KeyPair, Leftovers, Result,
    SandboxId, SandboxInfo, SandboxSpec, Uid,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use super::cache::{EndReceiver, watch_end};
use super::file_access::backend_error;
use crate::linux::failure::{Failure, FailureKind};
use crate::linux::init::{SUPERVISOR_NAME, find_server};
use crate::linux::protocol::{ACKNOWLEDGEMENT, PLAN_VERSION, Plan, Reply};
use crate::linux::state::StateDir;
use crate::options::{BACKEND, LocalOptions};

/// The longest reply that is read, in bytes.
const MAX_REPLY: u64 = 1 << 20;

/// Creates a sandbox, and returns what receives its end too. If the future is dropped, the supervisor sees its pipe close and removes everything, which `leftovers` counts.
pub(super) async fn create(
    options: &LocalOptions,
    state: &StateDir,
    leftovers: &Leftovers,
    spec: SandboxSpec,
) -> Result<(SandboxInfo, EndReceiver)> {
    spec.validate()?;
    if let Some(image) = &spec.image {
        return Err(Error::unsupported_because(
            format!("the image {image}"),
            "the local backend",
            "local sandboxes run the programs of this machine",
            "remove the image, or use the Kubernetes backend (SANDBOX_BACKEND=k8s)",
        ));
    }
    if let Some(pool) = &spec.pool {
        return Err(Error::unsupported_because(
            format!("the shared pool {pool}"),
            "the local backend",
            "only one process uses its sandboxes",
            "start a pool of the program's own (client.pool), or use the Kubernetes backend (SANDBOX_BACKEND=k8s)",
        ));
    }
    if spec.backend_options.require_only(BACKEND)?.is_some() {
        return Err(Error::unsupported_because(
            "backend options",
            "the local backend",
            "it has none",
            "remove them",
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
        requested: spec.resources,
        defaults: options.default_limits,
        labels: spec.labels,
        annotations: spec.annotations,
        lifetime: spec.lifetime,
        created_at: SystemTime::now(),
        user: options.user.clone(),
        read_only_paths: check_read_only_paths(&options.read_only_paths)?,
        host_key: KeyPair::generate()?.private.expose().to_owned(),
        client_key: KeyPair::generate()?.private.expose().to_owned(),
    };
    let mut line = Zeroizing::new(
        serde_json::to_vec(&plan).map_err(|error| backend_error("write the plan", error.into()))?,
    );
    line.push(b'\n');
    let deadline = Deadline::from_now(options.start_timeout);
    deadline
        .bound("starting the sandbox", start(&server, &id, line, leftovers))
        .await
}

async fn start(
    server: &Path,
    id: &SandboxId,
    plan: Zeroizing<Vec<u8>>,
    leftovers: &Leftovers,
) -> Result<(SandboxInfo, EndReceiver)> {
    let mut supervisor = spawn_supervisor(server)?;
    let pipes = (supervisor.stdin.take(), supervisor.stdout.take());
    let (waiter, supervision) = leftovers.track();
    let end = watch_end(supervisor, supervision);
    let (Some(mut stdin), Some(stdout)) = pipes else {
        return Err(backend_error(
            "start the sandbox server",
            std::io::Error::other("it has no pipes"),
        ));
    };
    let mut reply = Vec::new();
    let exchange = async {
        stdin.write_all(&plan).await?;
        BufReader::new(stdout)
            .take(MAX_REPLY)
            .read_until(b'\n', &mut reply)
            .await
    };
    let exchanged = exchange.await;
    let result = match serde_json::from_slice(&reply) {
        Ok(Reply::Listening(info)) => {
            let acknowledged = stdin.write_all(ACKNOWLEDGEMENT).await;
            // There is no await from here on: if the future were dropped now, the caller would not
            // know of a sandbox that counts itself as acknowledged.
            acknowledged
                .map(|()| *info)
                .map_err(|error| backend_error("acknowledge the sandbox", error))
        }
        Ok(Reply::Failed(failure)) => Err(creation_error(failure, id)),
        Err(parse_error) => Err(Error::Creation(Box::new(CreationError {
            id: id.clone(),
            stage: CreationStage::Provision,
            reason: CreationReason::Crashed,
            message: format!(
                "the sandbox server {} ended without a reply; use sandbox-local-server or a program whose main \
                 begins with sandbox::local::init()",
                server.display()
            ),
            events: Vec::new(),
            // The output is left out: a program that repeats its input would disclose the keys.
            log_tail: String::new(),
            source: Some(
                exchanged
                    .err()
                    .map_or_else(|| Box::new(parse_error) as _, |error| Box::new(error) as _),
            ),
        }))),
    };
    let info = result?;
    // It goes on for as long as the sandbox.
    waiter.release();
    Ok((info, end))
}

fn spawn_supervisor(server: &Path) -> Result<Child> {
    let mut command = Command::new(server);
    command.arg0(SUPERVISOR_NAME).current_dir("/").env_clear();
    // The loader may need these; any other variable could be a secret.
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
        .map_err(|error| backend_error("start the sandbox server", error))
}

fn creation_error(failure: Failure, id: &SandboxId) -> Error {
    let reason = match failure.kind {
        FailureKind::AlreadyExists => return Error::AlreadyExists { id: id.clone() },
        FailureKind::Unsupported => {
            return Error::unsupported(failure.step, "the local backend", failure.message);
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

/// Checks that the paths are absolute: the supervisor has another working directory.
fn check_read_only_paths(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let check = |path: &PathBuf| {
        let has_parent_dir = path
            .components()
            .any(|part| part == std::path::Component::ParentDir);
        if path.is_absolute() && !has_parent_dir {
            Ok(path.clone())
        } else {
            Err(Error::invalid(
                "read-only path",
                path.display().to_string(),
                "use an absolute path without ..",
            ))
        }
    };
    paths.iter().map(check).collect()
}
