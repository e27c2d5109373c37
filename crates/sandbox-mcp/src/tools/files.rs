//! `file_write`, `file_edit`, `file_list`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use sandbox::{FileInfo, FileKind, FilePath, ListBudget, Sandbox, TransferReason, rfc3339};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::read::{Encoding, check_file, read_piece};
use super::{Call, Reply, parse_path};
use crate::failure::Failure;

pub(super) const WRITE: &str = "Write a file in a sandbox, 4 MB at most. Creates missing directories. Replaces an existing \
    file as a whole, unless `append` is set; file_edit changes a part of one.";
pub(super) const EDIT: &str = "Replace text in a file of a sandbox. `old` must be in the file exactly once, white space and \
    line ends included, unless `replace_all` is set; otherwise the file is not changed.";
pub(super) const LIST: &str = "List a directory of a sandbox: names, kinds, sizes in bytes and modification times, at most \
    1,000 entries, ordered by name.";

/// The most bytes that are written at once, and the largest file that is edited.
const MAX_FILE: u64 = 4 << 20;
/// The most entries of a listing.
const MAX_ENTRIES: usize = 1000;
/// The most bytes of names in a listing.
const MAX_NAMES: usize = 32 << 10;
/// The most entries of a directory that is listed at all, and the most bytes of their names.
const MAX_SCANNED: (u64, u64) = (100_000, 16 << 20);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WriteArgs {
    /// Path of the file: absolute, or relative to the home directory.
    path: String,
    /// The content.
    content: String,
    /// Id of the sandbox. Default: the session's own.
    #[serde(default)]
    sandbox: Option<String>,
    /// How the content is passed.
    #[serde(default)]
    encoding: Encoding,
    /// Whether to add the content at the end of the file.
    #[serde(default)]
    append: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EditArgs {
    /// Path of the file: absolute, or relative to the home directory.
    path: String,
    /// The text to replace.
    old: String,
    /// The text in its place.
    new: String,
    /// Whether to replace it wherever it is.
    #[serde(default)]
    replace_all: bool,
    /// Id of the sandbox. Default: the session's own.
    #[serde(default)]
    sandbox: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListArgs {
    /// Path of the directory: absolute, or relative to the home directory. Default: the home directory.
    #[serde(default)]
    path: Option<String>,
    /// Id of the sandbox. Default: the session's own.
    #[serde(default)]
    sandbox: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Written {
    sandbox: String,
    path: String,
    /// The number of bytes that were written.
    bytes: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Edited {
    sandbox: String,
    path: String,
    replacements: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    sandbox: String,
    entries: Vec<Entry>,
    /// Whether there are more entries.
    truncated: bool,
    /// How many entries there are.
    total: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Entry {
    /// Its name. \xNN is a byte that is not UTF-8, and \\ a backslash; paths are written the same way.
    name: String,
    /// `file`, `directory`, `symlink` or `other`.
    kind: &'static str,
    size: u64,
    /// Its permission bits in octal digits.
    mode: String,
    modified: Option<String>,
}

pub(super) async fn write(call: &Call, args: WriteArgs) -> Result<Reply, Failure> {
    let content = match args.encoding {
        Encoding::Text => args.content.into_bytes(),
        Encoding::Base64 => STANDARD
            .decode(args.content.trim())
            .map_err(|error| Failure::new(format!("the content is not base64: {error}")))?,
    };
    let bytes = content.len() as u64;
    if bytes > MAX_FILE {
        return Err(Failure::new(format!(
            "the content has {bytes} bytes, more than the {MAX_FILE} that are written at once; write the rest with `append`"
        )));
    }
    let path = parse_path(args.path)?;
    let (slot, sandbox) = call.use_sandbox(args.sandbox.as_deref()).await?;
    let writing = async {
        create_parent(&sandbox, &path).await?;
        // A FIFO without a reader would block, and a device does what it likes.
        if let Some(kind) = kind_of(&sandbox, &path).await?
            && kind != FileKind::File
        {
            return Err(Failure::new(format!(
                "{path} is not a regular file; choose another path"
            )));
        }
        if args.append {
            sandbox.files().append(path.clone(), content).await?;
        } else {
            sandbox.files().write(path.clone(), content).await?;
        }
        Ok(())
    };
    if let Err(failure) = writing.await {
        return Err(call.explain(&slot, failure).await);
    }
    let written = Written {
        sandbox: sandbox.id().to_string(),
        path: path.to_string(),
        bytes,
    };
    let text = format!("wrote {bytes} bytes to {path}");
    Ok(Reply::new(&written, text)?
        .with_sandbox(sandbox.id())
        .with_detail(format_args!("{bytes} bytes")))
}

pub(super) async fn edit(call: &Call, args: EditArgs) -> Result<Reply, Failure> {
    if args.old.is_empty() {
        return Err(Failure::new(
            "`old` is empty; write the text that is to be replaced, or use file_write",
        ));
    }
    let path = parse_path(args.path)?;
    let (slot, sandbox) = call.use_sandbox(args.sandbox.as_deref()).await?;
    // Two edits of one file must not both begin with its former content.
    let _editing = call.session.edits.lock().await;
    let editing = async {
        let size = check_file(&sandbox, &path).await?;
        if size > MAX_FILE {
            return Err(Failure::new(format!(
                "{path} has {size} bytes, more than the {MAX_FILE} of a file that can be edited; use command_run"
            )));
        }
        // One byte more shows that the file has grown.
        let content = read_piece(&sandbox, &path, 0, MAX_FILE + 1).await?;
        let (edited, replacements) = replace(
            &content,
            args.old.as_bytes(),
            args.new.as_bytes(),
            args.replace_all,
        )
        .map_err(|reason| Failure::new(format!("{path} is unchanged: {reason}")))?;
        sandbox.files().write(path.clone(), edited).await?;
        Ok(replacements)
    };
    let replacements = match editing.await {
        Ok(replacements) => replacements,
        Err(failure) => return Err(call.explain(&slot, failure).await),
    };
    let edited = Edited {
        sandbox: sandbox.id().to_string(),
        path: path.to_string(),
        replacements,
    };
    let text = format!("made {replacements} replacement(s) in {path}");
    Ok(Reply::new(&edited, text)?.with_sandbox(sandbox.id()))
}

pub(super) async fn list(call: &Call, args: ListArgs) -> Result<Reply, Failure> {
    let path = parse_path(args.path.unwrap_or_else(|| ".".to_owned()))?;
    let (slot, sandbox) = call.use_sandbox(args.sandbox.as_deref()).await?;
    let budget = ListBudget::new(MAX_SCANNED.0, MAX_SCANNED.1);
    let mut found = match sandbox.session().list_within(&path, &budget).await {
        Ok(found) => found,
        Err(error) => return Err(call.explain(&slot, error.into()).await),
    };
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let total = found.len();
    let mut names = 0;
    let entries: Vec<Entry> = found
        .iter()
        .take(MAX_ENTRIES)
        .map(describe)
        .take_while(|entry| {
            names += entry.name.len();
            names <= MAX_NAMES
        })
        .collect();
    let mut text: String = entries
        .iter()
        .map(|entry| {
            let slash = if entry.kind == "directory" { "/" } else { "" };
            format!("{}{slash} {}\n", entry.name, entry.size)
        })
        .collect();
    if total > entries.len() {
        text.push_str(&format!(
            "[... {} more of {total} ...]\n",
            total - entries.len()
        ));
    }
    if text.is_empty() {
        text.push_str("the directory is empty");
    }
    let listed = Listed {
        sandbox: sandbox.id().to_string(),
        truncated: total > entries.len(),
        entries,
        total,
    };
    Ok(Reply::new(&listed, text)?
        .with_sandbox(sandbox.id())
        .with_detail(format_args!("{total} entries")))
}

fn describe(info: &FileInfo) -> Entry {
    // In JSON a name can be read back.
    let name = match serde_json::to_value(&info.name) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(_) | Err(_) => info.name.to_string(),
    };
    let kind = match info.kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        _ => "other",
    };
    Entry {
        name,
        kind,
        size: info.size,
        mode: format!("{:04o}", info.mode & 0o7777),
        modified: info.modified.map(rfc3339),
    }
}

/// Returns the kind of what is at a path, links followed, or `None` if there is nothing.
async fn kind_of(sandbox: &Sandbox, path: &FilePath) -> Result<Option<FileKind>, Failure> {
    match sandbox.files().stat(path.clone()).await {
        Ok(info) => Ok(Some(info.kind)),
        Err(sandbox::Error::Transfer(error)) if error.reason == TransferReason::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Creates the directory of a file, if there is none.
async fn create_parent(sandbox: &Sandbox, path: &FilePath) -> Result<(), Failure> {
    let (parent, _) = path.split_name();
    if parent.iter().all(|byte| *byte == b'/') {
        return Ok(());
    }
    let parent = FilePath::from(parent);
    if kind_of(sandbox, &parent).await?.is_none() {
        sandbox.files().create_dir_all(parent).await?;
    }
    Ok(())
}

/// Replaces text, and returns the result and how often it was replaced; or why nothing was.
fn replace(content: &[u8], old: &[u8], new: &[u8], all: bool) -> Result<(Vec<u8>, usize), String> {
    let finder = memmem::Finder::new(old);
    let found: Vec<usize> = finder.find_iter(content).collect();
    match found.len() {
        0 => return Err("`old` is not in it; read the file, and copy the text exactly".to_owned()),
        count if count > 1 && !all => {
            return Err(format!(
                "`old` is in it {count} times; add lines around it until it is unique, or set `replace_all`"
            ));
        }
        _ => {}
    }
    let removed = found.len() * old.len();
    let added = found.len() as u64 * new.len() as u64;
    let size = (content.len() - removed) as u64 + added;
    if content.len() as u64 > MAX_FILE || size > 2 * MAX_FILE {
        return Err(format!(
            "it would have {size} bytes, too many to edit; use command_run"
        ));
    }
    let mut edited = Vec::with_capacity(content.len());
    let mut copied = 0;
    for at in &found {
        edited.extend_from_slice(&content[copied..*at]);
        edited.extend_from_slice(new);
        copied = at + old.len();
    }
    edited.extend_from_slice(&content[copied..]);
    Ok((edited, found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_replaced_only_where_it_is_meant() {
        let replaced = |content: &str, old: &str, new: &str, all| {
            replace(content.as_bytes(), old.as_bytes(), new.as_bytes(), all)
                .map(|(edited, count)| (String::from_utf8_lossy(&edited).into_owned(), count))
        };
        assert_eq!(
            replaced("abc", "b", "x\ny", false),
            Ok(("ax\nyc".into(), 1))
        );
        assert_eq!(replaced("aaa", "a", "", true), Ok((String::new(), 3)));
        assert_eq!(replaced("xxx", "xx", "-", true), Ok(("-x".into(), 1)));
        assert!(replaced("abc", "d", "x", true).is_err_and(|why| why.contains("not in it")));
        assert!(replaced("abab", "ab", "x", false).is_err_and(|why| why.contains("2 times")));
        // Line ends are part of the text.
        assert!(replaced("a\r\nb", "a\nb", "x", false).is_err());
        // Bytes that are not text stay.
        assert_eq!(
            replace(b"\xff old \xfe", b"old", b"new", false),
            Ok((b"\xff new \xfe".to_vec(), 1))
        );
    }

    #[test]
    fn a_result_of_any_size_is_not_made() {
        let content = vec![b'a'; 1 << 20];
        let new = vec![b'b'; 1 << 20];
        assert!(replace(&content, b"a", &new, true).is_err_and(|why| why.contains("too many")));
    }
}
