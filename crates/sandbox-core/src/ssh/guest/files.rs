//! Requests about files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::FilePath;

/// The most files of one [`Compose`](FileRequest::Compose).
pub const MAX_COMPOSED: usize = 10_000;

/// A request about files. A path is absolute, or relative to the home directory of the user. `~` and `~/…` are the
/// home directory, too; `~name` is refused.
///
/// | request | frames of the client | frames of the server |
/// |---|---|---|
/// | [`Stat`](Self::Stat), [`MakeDir`](Self::MakeDir), [`Move`](Self::Move) | none | a [`FileEntry`] |
/// | [`List`](Self::List) | none | a [`FileEntry`] each, then [`ContentEnd`](super::FrameKind::ContentEnd) |
/// | [`Remove`](Self::Remove), [`RemoveWatcher`](Self::RemoveWatcher) | none | [`Done`](super::Done) |
/// | [`Read`](Self::Read) | none | a [`FileEntry`], the content, [`ContentEnd`](super::FrameKind::ContentEnd) |
/// | [`Write`](Self::Write) | the content, then [`ContentEnd`](super::FrameKind::ContentEnd) | [`Written`] |
/// | [`Compose`](Self::Compose) | none; closing the channel cancels it | [`Written`] |
/// | [`Watch`](Self::Watch) | none; closing the channel ends it | [`Done`](super::Done) once it watches, then a [`FileEvent`] each; [`ContentEnd`](super::FrameKind::ContentEnd) after the directory itself was removed or moved |
/// | [`CreateWatcher`](Self::CreateWatcher) | none | its id, a JSON string |
/// | [`TakeEvents`](Self::TakeEvents) | none | a [`FileEvent`] each, then [`ContentEnd`](super::FrameKind::ContentEnd) |
/// | [`AsUser`](Self::AsUser) | those of its request | those of its request |
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FileRequest {
    /// Describe a file. A symbolic link is described, and resolved in [`FileEntry::target`].
    Stat {
        /// The file.
        path: FilePath,
    },
    /// List a directory, and those below it: each entry before what is in it, in the order of their names.
    /// Links to directories are not entered; the path itself may be one. What vanishes meanwhile is left out.
    List {
        /// The directory.
        path: FilePath,
        /// How many levels: 1 is the directory's own entries.
        depth: u32,
    },
    /// Create a directory with mode 0o755, and its parents. An existing one is refused as
    /// [`AlreadyExists`](super::RefusalCode::AlreadyExists), another file as
    /// [`NotADirectory`](super::RefusalCode::NotADirectory).
    MakeDir {
        /// The directory.
        path: FilePath,
    },
    /// Rename, replacing what rename(2) replaces, and create the parents of the new path.
    Move {
        /// The present path.
        from: FilePath,
        /// The new path.
        to: FilePath,
    },
    /// Remove a file, or a directory with everything in it. One that does not exist is no error.
    Remove {
        /// The file or directory.
        path: FilePath,
    },
    /// Read a file to its end, whatever its size says.
    Read {
        /// The file.
        path: FilePath,
        /// The first byte.
        #[serde(default)]
        offset: u64,
        /// The most bytes; without it, all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        length: Option<u64>,
    },
    /// Write a file in place: an existing one keeps its owner and mode, a new one gets 0o644 less the umask. Its
    /// parents are created. If the channel is closed before the [`ContentEnd`](super::FrameKind::ContentEnd), what
    /// has arrived stays.
    Write {
        /// The file.
        path: FilePath,
        /// Extended attributes below `user.` that it gets, by their names without this prefix. All others whose
        /// names begin with `replace_attributes` are removed.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        attributes: BTreeMap<String, String>,
        /// See `attributes`; empty removes none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        replace_attributes: String,
    },
    /// Join files to one, and remove them. The destination gets the content of all at once, as a new file with mode 0o644
    /// less the umask, whose parents are created; if anything is refused, every file stays as it was. A file that was
    /// there is replaced, so it may not be among the sources.
    Compose {
        /// The files, in their order: regular ones, or links to such, at most [`MAX_COMPOSED`]. Of a link, the link is
        /// removed. One that cannot be removed stays.
        sources: Vec<FilePath>,
        /// The file that they become.
        destination: FilePath,
    },
    /// Watch a directory: events arrive until the channel is closed.
    Watch(WatchOptions),
    /// Watch a directory, and keep the events until they are taken. It ends five minutes after they were last
    /// taken.
    CreateWatcher(WatchOptions),
    /// Take the events of a watcher. All that happened before the request are among them.
    TakeEvents {
        /// Its id.
        watcher: String,
    },
    /// End a watcher.
    RemoveWatcher {
        /// Its id.
        watcher: String,
    },
    /// Carry out a request for a user: relative paths begin at the user's home directory, and the user owns the files and
    /// directories that are created, among them missing parents. What exists keeps its owner. Files are accessed with the
    /// permissions of the server, which has to be root to act for another user.
    AsUser {
        /// The name of the user, or the number.
        user: String,
        /// Any request but another `AsUser`.
        request: Box<Self>,
    },
}

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WatchOptions {
    /// The directory.
    pub path: FilePath,
    /// Whether to watch those below it, too, also new ones. What is in a new one already when the server begins to
    /// watch it is reported as created.
    #[serde(default)]
    pub recursive: bool,
    /// Whether events have the [`entry`](FileEvent::entry).
    #[serde(default)]
    pub with_entries: bool,
    /// Whether a directory of a network file system is watched, whose events from other machines never
    /// arrive. Otherwise it is refused as [`Unsupported`](super::RefusalCode::Unsupported).
    #[serde(default)]
    pub allow_network_mounts: bool,
}

impl WatchOptions {
    /// Watches this directory alone.
    pub fn new(path: impl Into<FilePath>) -> Self {
        Self {
            path: path.into(),
            recursive: false,
            with_entries: false,
            allow_network_mounts: false,
        }
    }
}

/// A file, as lstat(2) describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileEntry {
    /// The last component of its path.
    pub name: FilePath,
    /// Its absolute path, as requested: links in it are not resolved.
    pub path: FilePath,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes.
    pub size: u64,
    /// The permission bits with set-uid, set-gid and sticky.
    pub mode: u32,
    /// The name of its owner; the number as text if it has none.
    pub owner: String,
    /// The name of its group; the number as text if it has none.
    pub group: String,
    /// When it was modified, in nanoseconds since the Unix epoch.
    pub modified_ns: i64,
    /// Of a symbolic link: where it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Box<LinkTarget>>,
    /// Extended attributes below `user.` whose values are text, by their names without this prefix: as many as
    /// fit into 64 KiB.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// Where a symbolic link leads in the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LinkTarget {
    /// The resolved path; of a dangling link, what is written in it.
    pub path: FilePath,
    /// What is there; [`Unknown`](EntryKind::Unknown) of a dangling link.
    pub kind: EntryKind,
    /// Its mode.
    pub mode: u32,
}

/// Kinds of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, FIFO or device.
    Special,
    /// Unknown.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The result of writing a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Written {
    /// The file.
    pub entry: FileEntry,
    /// Bytes of content.
    pub bytes: u64,
}

impl Written {
    /// Describes a file that was written.
    pub fn new(entry: FileEntry, bytes: u64) -> Self {
        Self { entry, bytes }
    }
}

/// Something that happened in a watched directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileEvent {
    /// The path relative to the watched directory; empty for that directory itself.
    pub name: FilePath,
    /// What happened.
    pub kind: FileEventKind,
    /// The file, after it was created, written or changed, if it still exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Box<FileEntry>>,
}

impl FileEvent {
    /// Describes an event.
    pub fn new(name: impl Into<FilePath>, kind: FileEventKind) -> Self {
        Self {
            name: name.into(),
            kind,
            entry: None,
        }
    }
}

/// Kinds of events, as inotify(7) reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FileEventKind {
    /// It was created, or moved here.
    Created,
    /// Its content was modified.
    Written,
    /// It was deleted.
    Removed,
    /// It was moved away.
    Renamed,
    /// Its mode, owner, times or attributes were changed.
    Attributes,
    /// Events were lost here: more happened than is kept. The name is empty.
    Overflow,
    /// Of a later version of this protocol.
    #[serde(other)]
    Unknown,
}

/// What a sandbox uses. What the system does not tell is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// When it was measured, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Processors that it may use, rounded up.
    pub cpu_count: u32,
    /// Processor time since the last measurement, or within a tenth of a second, in percent of one processor.
    pub cpu_percent: f64,
    /// Bytes of memory that it may use.
    pub memory_total: u64,
    /// Bytes of memory that it uses, without the page cache.
    pub memory_used: u64,
    /// Bytes of its page cache.
    pub memory_cache: u64,
    /// Bytes of the file system of its home directory.
    pub disk_total: u64,
    /// Bytes of it that are used.
    pub disk_used: u64,
}
