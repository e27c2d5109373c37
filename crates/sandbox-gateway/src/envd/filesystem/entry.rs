//! Descriptions of files.

use std::collections::BTreeMap;

use sandbox::{EntryKind, FileEntry, FilePath};
use serde::Serialize;

use super::permissions::format_permissions;
use crate::connect::json::{int64, timestamp};
use crate::envd::files::metadata;

/// `filesystem.EntryInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::envd) struct EntryInfo {
    name: String,
    #[serde(rename = "type")]
    kind: FileType,
    path: String,
    #[serde(serialize_with = "int64::serialize")]
    size: u64,
    mode: u32,
    permissions: String,
    owner: String,
    group: String,
    #[serde(serialize_with = "timestamp::serialize")]
    modified_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    symlink_target: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

/// `filesystem.FileType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum FileType {
    #[serde(rename = "FILE_TYPE_UNSPECIFIED")]
    Unspecified,
    #[serde(rename = "FILE_TYPE_FILE")]
    File,
    #[serde(rename = "FILE_TYPE_DIRECTORY")]
    Directory,
}

impl FileType {
    /// The type of what a link leads to stands for the link: the version of the daemon that is claimed does it so.
    fn of(kind: EntryKind) -> Self {
        match kind {
            EntryKind::File => Self::File,
            EntryKind::Directory => Self::Directory,
            _link_or_special => Self::Unspecified,
        }
    }
}

impl EntryInfo {
    /// Describes a file.
    pub(in crate::envd) fn of(entry: &FileEntry) -> Self {
        let (kind, mode) = match &entry.target {
            Some(target) => (target.kind, target.mode),
            None => (entry.kind, entry.mode),
        };
        Self {
            name: text(&entry.name),
            kind: FileType::of(kind),
            path: text(&entry.path),
            size: entry.size,
            mode: mode & 0o777,
            permissions: format_permissions(entry.kind, entry.mode),
            owner: entry.owner.clone(),
            group: entry.group.clone(),
            modified_time: entry.modified_ns,
            symlink_target: entry.target.as_ref().map(|target| text(&target.path)),
            metadata: metadata::from_attributes(&entry.attributes),
        }
    }
}

/// JSON has only text. A byte that is not UTF-8 becomes a replacement character, as in the messages of Go.
pub(in crate::envd) fn text(path: &FilePath) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(value: serde_json::Value) -> FileEntry {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_file_is_described_as_the_sdks_expect() {
        let entry = entry(json!({
            "name": "a.txt", "path": "/home/user/a.txt", "kind": "file", "size": 12, "mode": 0o4644,
            "owner": "user", "group": "user", "modified_ns": 1_764_424_800_123_456_789_i64,
            "attributes": {"e2b.author": "me", "other": "x"},
        }));
        assert_eq!(
            serde_json::to_value(EntryInfo::of(&entry)).unwrap(),
            json!({
                "name": "a.txt", "type": "FILE_TYPE_FILE", "path": "/home/user/a.txt", "size": "12",
                "mode": 0o644, "permissions": "urw-r--r--", "owner": "user", "group": "user",
                "modifiedTime": "2025-11-29T14:00:00.123456789Z", "metadata": {"author": "me"},
            })
        );
    }

    #[test]
    fn a_link_has_the_type_and_the_mode_of_its_target() {
        let entry = entry(json!({
            "name": "l", "path": "/l", "kind": "symlink", "size": 4, "mode": 0o777, "owner": "user",
            "group": "1001", "modified_ns": 0,
            "target": {"path": "/dir", "kind": "directory", "mode": 0o750},
        }));
        let info = serde_json::to_value(EntryInfo::of(&entry)).unwrap();
        assert_eq!(info["type"], "FILE_TYPE_DIRECTORY");
        assert_eq!(info["mode"], 0o750);
        assert_eq!(info["permissions"], "Lrwxrwxrwx");
        assert_eq!(info["symlinkTarget"], "/dir");
        assert!(info.get("isSymlink").is_none(), "it is of later versions");
    }
}
