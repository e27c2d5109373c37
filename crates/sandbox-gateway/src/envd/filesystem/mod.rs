//! The service `filesystem.Filesystem`.

pub(super) mod entry;
mod messages;
mod permissions;
mod watching;

use axum::body::Body;
use axum::response::Response;
use sandbox::{Error, FilePath, Refusal, RefusalCode};

use self::entry::EntryInfo;
use self::messages::{Entries, Entry, ListRequest, MoveRequest, PathRequest, WatcherRequest};
use super::call::{Call, Empty, respond};
use super::failure::Failure;
use super::user::files_of;
use crate::connect::CallKind;

/// A method of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Stat,
    ListDir,
    MakeDir,
    Move,
    Remove,
    WatchDir,
    CreateWatcher,
    GetWatcherEvents,
    RemoveWatcher,
}

impl Method {
    /// Returns the method with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "Stat" => Self::Stat,
            "ListDir" => Self::ListDir,
            "MakeDir" => Self::MakeDir,
            "Move" => Self::Move,
            "Remove" => Self::Remove,
            "WatchDir" => Self::WatchDir,
            "CreateWatcher" => Self::CreateWatcher,
            "GetWatcherEvents" => Self::GetWatcherEvents,
            "RemoveWatcher" => Self::RemoveWatcher,
            _unknown => return None,
        })
    }

    /// How it exchanges messages.
    pub(super) fn kind(self) -> CallKind {
        match self {
            Self::WatchDir => CallKind::Stream,
            Self::Stat
            | Self::ListDir
            | Self::MakeDir
            | Self::Move
            | Self::Remove
            | Self::CreateWatcher
            | Self::GetWatcherEvents
            | Self::RemoveWatcher => CallKind::Unary,
        }
    }
}

/// Carries out a call.
pub(super) async fn answer(method: Method, call: &Call, body: Body) -> Response {
    match method {
        Method::Stat => respond(stat(call, body).await),
        Method::ListDir => respond(list(call, body).await),
        Method::MakeDir => respond(make_dir(call, body).await),
        Method::Move => respond(rename(call, body).await),
        Method::Remove => respond(remove(call, body).await),
        Method::WatchDir => watching::watch(call, body).await,
        Method::CreateWatcher => respond(watching::create_watcher(call, body).await),
        Method::GetWatcherEvents => respond(watching::take_events(call, body).await),
        Method::RemoveWatcher => respond(remove_watcher(call, body).await),
    }
}

async fn stat(call: &Call, body: Body) -> Result<Entry, Failure> {
    let request: PathRequest = call.message(body).await?;
    let user = call.user()?;
    let files = files_of(&call.sandbox, user.as_deref());
    let describing = async {
        match files.stat(to_path(request.path)).await {
            // Below a file there is nothing. SDKs take only `not_found` for that.
            Err(Error::Refused(refusal)) if refusal.code == RefusalCode::NotADirectory => {
                let missing = Refusal::new(RefusalCode::NotFound, refusal.message);
                Err(Error::Refused(Box::new(missing)))
            }
            described => described,
        }
    };
    let entry = call.run(describing).await?;
    Ok(Entry::of(&entry))
}

async fn list(call: &Call, body: Body) -> Result<Entries, Failure> {
    let request: ListRequest = call.message(body).await?;
    let user = call.user()?;
    let files = files_of(&call.sandbox, user.as_deref());
    let depth = request.depth.max(1);
    let entries = call.run(files.list(to_path(request.path), depth)).await?;
    Ok(Entries {
        entries: entries.iter().map(EntryInfo::of).collect(),
    })
}

async fn make_dir(call: &Call, body: Body) -> Result<Entry, Failure> {
    let request: PathRequest = call.message(body).await?;
    let user = call.user()?;
    let files = files_of(&call.sandbox, user.as_deref());
    let entry = call.run(files.create_dir(to_path(request.path))).await?;
    Ok(Entry::of(&entry))
}

async fn rename(call: &Call, body: Body) -> Result<Entry, Failure> {
    let request: MoveRequest = call.message(body).await?;
    let user = call.user()?;
    let files = files_of(&call.sandbox, user.as_deref());
    let (from, to) = (to_path(request.source), to_path(request.destination));
    let entry = call.run(files.rename(from, to)).await?;
    Ok(Entry::of(&entry))
}

async fn remove(call: &Call, body: Body) -> Result<Empty, Failure> {
    let request: PathRequest = call.message(body).await?;
    let user = call.user()?;
    let files = files_of(&call.sandbox, user.as_deref());
    call.run(files.remove(to_path(request.path))).await?;
    Ok(Empty {})
}

async fn remove_watcher(call: &Call, body: Body) -> Result<Empty, Failure> {
    let request: WatcherRequest = call.message(body).await?;
    let files = call.sandbox.guest_files();
    call.run(files.remove_watcher(&request.watcher_id)).await?;
    Ok(Empty {})
}

/// The path of a message. An empty one is the home directory.
pub(in crate::envd) fn to_path(path: impl Into<Vec<u8>>) -> FilePath {
    let path = path.into();
    if path.is_empty() {
        FilePath::from("~")
    } else {
        FilePath::from(path)
    }
}
