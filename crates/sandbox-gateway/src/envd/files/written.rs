//! What a response says of a file that was written.

use std::collections::BTreeMap;

use sandbox::FileEntry;
use serde::Serialize;

use super::metadata;
use crate::envd::filesystem::entry::text;

/// A file that was written.
#[derive(Debug, Serialize)]
pub(super) struct WrittenFile {
    path: String,
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

impl WrittenFile {
    pub(super) fn of(entry: &FileEntry) -> Self {
        Self {
            path: text(&entry.path),
            name: text(&entry.name),
            kind: "file",
            metadata: metadata::from_attributes(&entry.attributes),
        }
    }
}
