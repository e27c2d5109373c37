//! Requests about files.

mod actor;
mod change;
mod compose;
mod list;
mod read;
mod remove;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandbox_core::guest::{Done, FileEntry, FileRequest, Refusal, RefusalCode, Written};
use tokio_util::sync::CancellationToken;

use self::actor::Actor;
use self::compose::Composition;
use self::list::Walk;
use self::read::FileReader;
use self::write::{FileWriter, WriteTarget};
use super::client::Client;
use super::entry::{Describer, NameFiles};
use super::refusals::refuse_file;
use super::threads::run_blocking;
use super::watch::{self, Watches};
use super::{Guest, Stop, unsupported};

/// Entries of a list that are sent at once.
const ENTRIES_AT_ONCE: usize = 128;

/// The files of one server.
pub(crate) struct Files {
    /// The home directory of the server's user.
    home: PathBuf,
    names: Arc<NameFiles>,
    watches: Arc<Watches>,
}

impl Files {
    pub(crate) fn new(home: PathBuf) -> Self {
        let names = Arc::new(NameFiles::new());
        Self {
            watches: Watches::new(Arc::clone(&names)),
            home,
            names,
        }
    }

    /// Returns a describer with the present names. It may block.
    fn describer(&self) -> Describer {
        Describer::new(self.names.read())
    }

    fn describe(&self, path: &Path) -> Result<FileEntry, Refusal> {
        self.describer()
            .describe(path)
            .map_err(|error| refuse_file("access", path, error))
    }
}

/// Carries out a request.
pub(super) async fn serve(
    request: FileRequest,
    client: &mut Client<'_>,
    guest: &Guest,
) -> Result<(), Stop> {
    let (request, actor) = match request {
        FileRequest::AsUser { user, request } => {
            let config = Arc::clone(&guest.config);
            let actor = run_blocking(move || Actor::find(&user, &config)).await?;
            (*request, actor)
        }
        request => (request, Actor::own(guest.files.home.clone())),
    };
    serve_actor(request, actor, client, guest).await
}

async fn serve_actor(
    request: FileRequest,
    actor: Actor,
    client: &mut Client<'_>,
    guest: &Guest,
) -> Result<(), Stop> {
    let files = Arc::clone(&guest.files);
    let owner = actor.owner;
    match request {
        FileRequest::Stat { path } => {
            let path = actor.resolve(&path)?;
            let entry = run_blocking(move || files.describe(&path)).await?;
            client.send(&entry).await
        }
        FileRequest::List { path, depth } => {
            let path = actor.resolve(&path)?;
            let begin = move || Walk::new(path, depth, files.describer());
            send_list(client, run_blocking(begin).await?).await
        }
        FileRequest::MakeDir { path } => {
            let path = actor.resolve(&path)?;
            let entry = run_blocking(move || {
                change::make_dir(&path, owner)?;
                files.watches.settle(&path);
                files.describe(&path)
            })
            .await?;
            client.send(&entry).await
        }
        FileRequest::Move { from, to } => {
            let (from, to) = (actor.resolve(&from)?, actor.resolve(&to)?);
            let entry = run_blocking(move || {
                change::rename(&from, &to, owner)?;
                files.watches.settle(&to);
                files.describe(&to)
            })
            .await?;
            client.send(&entry).await
        }
        FileRequest::Remove { path } => {
            let path = actor.resolve(&path)?;
            let cancelled = CancellationToken::new();
            let _cancelled_on_drop = cancelled.clone().drop_guard();
            run_blocking(move || remove::remove(&path, &actor.home, &cancelled)).await?;
            client.send(&Done::default()).await
        }
        FileRequest::Read {
            path,
            offset,
            length,
        } => {
            let path = actor.resolve(&path)?;
            send_content(client, files, path, offset, length).await
        }
        FileRequest::Write {
            path,
            attributes,
            replace_attributes,
        } => {
            let target = WriteTarget {
                path: actor.resolve(&path)?,
                attributes,
                replaced_prefix: replace_attributes,
                owner,
            };
            receive_content(client, files, target).await
        }
        FileRequest::Compose {
            sources,
            destination,
        } => {
            let sources: Result<_, _> = sources.iter().map(|path| actor.resolve(path)).collect();
            let composition = Composition {
                sources: sources?,
                destination: actor.resolve(&destination)?,
                owner,
            };
            let cancelled = CancellationToken::new();
            let _cancelled_on_drop = cancelled.clone().drop_guard();
            let written = run_blocking(move || {
                let path = &composition.destination;
                let bytes = composition.carry_out(|| files.watches.settle(path), &cancelled)?;
                Ok(Written::new(files.describe(path)?, bytes))
            });
            client.send(&written.await?).await
        }
        FileRequest::Watch(options) => {
            let top = actor.resolve(&options.path)?;
            watch::serve(client, &files.watches, top, options).await
        }
        FileRequest::CreateWatcher(options) => {
            let top = actor.resolve(&options.path)?;
            let id = watch::create_kept(&files.watches, top, options).await?;
            client.send(&id).await
        }
        FileRequest::TakeEvents { watcher } => {
            watch::send_kept(client, &files.watches, &watcher).await
        }
        FileRequest::RemoveWatcher { watcher } => {
            watch::remove_kept(&files.watches, &watcher)?;
            client.send(&Done::default()).await
        }
        FileRequest::AsUser { .. } => Err(Stop::Refused(Refusal::new(
            RefusalCode::Invalid,
            "the request names two users",
        ))),
        _ => Err(unsupported()),
    }
}

async fn send_list(client: &Client<'_>, mut walk: Walk) -> Result<(), Stop> {
    loop {
        let next = run_blocking(move || {
            let entries = walk.next_entries(ENTRIES_AT_ONCE)?;
            Ok((walk, entries))
        });
        let entries;
        (walk, entries) = next.await?;
        client.send_all(&entries).await?;
        if entries.len() < ENTRIES_AT_ONCE {
            return client.end_content().await;
        }
    }
}

async fn send_content(
    client: &Client<'_>,
    files: Arc<Files>,
    path: PathBuf,
    offset: u64,
    length: Option<u64>,
) -> Result<(), Stop> {
    let (entry, mut reader, mut batch) = run_blocking(move || {
        let (mut reader, entry) = FileReader::open(path, offset, length, &mut files.describer())?;
        let batch = reader.read()?;
        Ok((entry, reader, batch))
    })
    .await?;
    client.send(&entry).await?;
    while !batch.is_end {
        // The next batch is read while this one is sent.
        let reading = tokio::spawn(run_blocking(move || {
            let batch = reader.read()?;
            Ok((reader, batch))
        }));
        client.send_frames(batch.frames).await?;
        (reader, batch) = reading.await.map_err(|_| Stop::Closed)??;
    }
    client.send_frames(batch.frames).await?;
    client.end_content().await
}

async fn receive_content(
    client: &mut Client<'_>,
    files: Arc<Files>,
    target: WriteTarget,
) -> Result<(), Stop> {
    // A small file has arrived as a whole now, and is opened, written and closed in one go.
    let mut received = client.content_batch().await?;
    let mut state = WriteState::New(target);
    loop {
        let (parts, is_complete) = (received.parts, received.is_complete);
        let files = Arc::clone(&files);
        let next = run_blocking(move || {
            let mut writer = match state {
                WriteState::New(target) => {
                    FileWriter::open(&target, || files.watches.settle(&target.path))?
                }
                WriteState::Open(writer) => writer,
            };
            writer.write(&parts)?;
            if is_complete {
                let (entry, bytes) = writer.finish(&mut files.describer())?;
                return Ok(Next::Written(Written::new(entry, bytes)));
            }
            Ok(Next::Open(writer))
        });
        match next.await? {
            Next::Written(written) => return client.send(&written).await,
            Next::Open(writer) => state = WriteState::Open(writer),
        }
        received = client.content_batch().await?;
    }
}

enum WriteState {
    New(WriteTarget),
    Open(FileWriter),
}

enum Next {
    Open(FileWriter),
    Written(Written),
}
