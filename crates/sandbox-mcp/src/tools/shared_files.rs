//! What reaches this machine, if the operator permits it: `port_url`, `upload`, `download`.

use sandbox::{TransferReason, UploadRequest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::read::check_file;
use super::{Call, Reply, parse_path};
use crate::failure::Failure;
use crate::share::Share;

pub(super) const PORT_URL: &str = "Open a TCP port of a sandbox on the user's machine, and return its address there, for a \
    browser. Start the server in the sandbox first. The address is valid until the sandbox is deleted.";
pub(super) const UPLOAD: &str =
    "Copy a file from the directory that the user shares into a sandbox.";
pub(super) const DOWNLOAD: &str =
    "Copy a file from a sandbox into the directory that the user shares.";

/// The largest file that is copied: 1 GiB. What does not arrive within the time of a call is removed.
const MAX_SIZE: u64 = 1 << 30;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PortArgs {
    /// Port that a server in the sandbox listens on.
    #[schemars(range(min = 1))]
    port: u16,
    /// Id of the sandbox. Default: the session's own.
    #[serde(default)]
    sandbox: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadArgs {
    /// Path of the file, relative to the shared directory.
    shared_path: String,
    /// Path in the sandbox: absolute, or relative to the home directory.
    path: String,
    /// Id of the sandbox. Default: the session's own.
    #[serde(default)]
    sandbox: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DownloadArgs {
    /// Path in the sandbox: absolute, or relative to the home directory.
    path: String,
    /// Path of the file to write, relative to the shared directory, whose directory exists.
    shared_path: String,
    /// Whether to replace an existing file.
    #[serde(default)]
    replace: bool,
    /// Id of the sandbox. Default: the session's own.
    #[serde(default)]
    sandbox: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PortReply {
    sandbox: String,
    port: u16,
    url: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Transferred {
    sandbox: String,
    path: String,
    shared_path: String,
    bytes: u64,
}

pub(super) async fn open_port(call: &Call, args: PortArgs) -> Result<Reply, Failure> {
    if args.port == 0 {
        return Err(Failure::new(
            "there is no port 0; name the port that the server listens on",
        ));
    }
    let (slot, sandbox) = call.use_sandbox(args.sandbox.as_deref()).await?;
    // A listener that forwards to nothing would look like a server that is broken.
    if let Err(error) = sandbox.open_port(args.port).await {
        let failure = Failure::from(error).with_advice("start the server, and call again");
        return Err(call.explain(&slot, failure).await);
    }
    let local = slot.open_port(&sandbox, args.port).await?;
    let url = format!("http://127.0.0.1:{local}/");
    let reply = PortReply {
        sandbox: sandbox.id().to_string(),
        port: args.port,
        url: url.clone(),
    };
    Ok(Reply::new(&reply, url)?.with_sandbox(sandbox.id()))
}

pub(super) async fn upload(call: &Call, args: UploadArgs) -> Result<Reply, Failure> {
    let share = shared(call)?;
    let path = parse_path(args.path)?;
    let (slot, sandbox) = call.use_sandbox(args.sandbox.as_deref()).await?;
    let shared_path = args.shared_path.clone();
    let (file, size) = run_blocking(move || share.open_file(&shared_path)).await?;
    if size > MAX_SIZE {
        return Err(too_large(size));
    }
    let mut request = UploadRequest::new(path.clone());
    // A file that grows or shrinks meanwhile is an error, and not a mixture.
    request.size = Some(size);
    let uploading = sandbox
        .session()
        .upload(request, Box::new(tokio::fs::File::from_std(file)));
    let bytes = match uploading.await {
        Ok(bytes) => bytes,
        Err(error) => return Err(call.explain(&slot, error.into()).await),
    };
    let text = format!("copied {bytes} bytes to {path}");
    let transferred = Transferred {
        sandbox: sandbox.id().to_string(),
        path: path.to_string(),
        shared_path: args.shared_path,
        bytes,
    };
    Ok(Reply::new(&transferred, text)?
        .with_sandbox(sandbox.id())
        .with_detail(format_args!("{bytes} bytes")))
}

pub(super) async fn download(call: &Call, args: DownloadArgs) -> Result<Reply, Failure> {
    let share = shared(call)?;
    let path = parse_path(args.path)?;
    let (slot, sandbox) = call.use_sandbox(args.sandbox.as_deref()).await?;
    match check_file(&sandbox, &path).await {
        Ok(size) if size > MAX_SIZE => return Err(too_large(size)),
        Ok(_) => {}
        Err(failure) => return Err(call.explain(&slot, failure).await),
    }
    let shared_path = args.shared_path.clone();
    let (file, new) = run_blocking(move || share.create_file(&shared_path, args.replace)).await?;
    let mut request = sandbox::DownloadRequest::new(path.clone());
    request.max_size = Some(MAX_SIZE);
    let downloading = sandbox
        .session()
        .download(request, Box::new(tokio::fs::File::from_std(file)));
    let bytes = match downloading.await {
        Ok(bytes) => bytes,
        Err(sandbox::Error::Transfer(error)) if error.reason == TransferReason::TooLarge => {
            return Err(Failure::new(format!(
                "{path} is larger than {MAX_SIZE} bytes"
            )));
        }
        Err(error) => return Err(call.explain(&slot, error.into()).await),
    };
    run_blocking(move || new.keep(args.replace)).await?;
    let text = format!(
        "copied {bytes} bytes to {:?} in the shared directory",
        args.shared_path
    );
    let transferred = Transferred {
        sandbox: sandbox.id().to_string(),
        path: path.to_string(),
        shared_path: args.shared_path,
        bytes,
    };
    Ok(Reply::new(&transferred, text)?
        .with_sandbox(sandbox.id())
        .with_detail(format_args!("{bytes} bytes")))
}

fn shared(call: &Call) -> Result<Share, Failure> {
    call.session
        .app()
        .share
        .clone()
        .ok_or_else(|| Failure::new("no directory is shared"))
}

fn too_large(size: u64) -> Failure {
    Failure::new(format!(
        "the file has {size} bytes, more than the {MAX_SIZE} that are copied at once"
    ))
}

async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(format!("the file could not be used: {error}")))?
}
