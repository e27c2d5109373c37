//! Extended attributes below `user.` (xattr(7)).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use rustix::fs::{
    XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, lgetxattr, llistxattr,
};
use rustix::io::Errno;

/// The most bytes of a list of names, and of one value (xattr(7)).
const MAX_SIZE: usize = 64 << 10;
/// The most bytes of names and values that are returned.
const MAX_TOTAL: usize = 64 << 10;
const PREFIX: &[u8] = b"user.";

/// Reads attributes. It keeps its memory for the next file.
#[derive(Debug, Default)]
pub(super) struct AttributeReader {
    list: Vec<u8>,
    value: Vec<u8>,
}

impl AttributeReader {
    /// Reads those of a path, whose last component is not followed. A file without any is the most frequent, and
    /// takes one system call.
    pub(super) fn read_path(&mut self, path: &Path) -> BTreeMap<String, String> {
        self.read(
            |list| llistxattr(path, list),
            |name, value| lgetxattr(path, name, value),
        )
    }

    pub(super) fn read_file(&mut self, file: &File) -> BTreeMap<String, String> {
        self.read(
            |list| flistxattr(file, list),
            |name, value| fgetxattr(file, name, value),
        )
    }

    /// Attributes that cannot be read, or are no text, are left out.
    fn read(
        &mut self,
        list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
        get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
    ) -> BTreeMap<String, String> {
        self.list.resize(MAX_SIZE, 0);
        let length = list(&mut self.list).unwrap_or(0);
        let mut names: Vec<&[u8]> = user_names(&self.list[..length]).collect();
        names.sort_unstable();
        let mut attributes = BTreeMap::new();
        let mut total = 0;
        for name in names {
            self.value.resize(MAX_SIZE, 0);
            let Ok(length) = get(name, &mut self.value) else {
                continue;
            };
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
            let short = text(&name[PREFIX.len()..]);
            if let (Some(short), Some(value)) = (short, text(&self.value[..length])) {
                total += short.len() + value.len();
                if total > MAX_TOTAL {
                    break;
                }
                attributes.insert(short, value);
            }
        }
        attributes
    }
}

/// Sets attributes of a file, and removes all others whose names begin with `replaced_prefix`, unless that is
/// empty.
pub(crate) fn change_attributes(
    file: &File,
    attributes: &BTreeMap<String, String>,
    replaced_prefix: &str,
) -> Result<(), Errno> {
    if !replaced_prefix.is_empty() {
        let mut list = vec![0; MAX_SIZE];
        let length = match flistxattr(file, &mut list[..]) {
            // A file system without attributes has none to remove.
            Err(Errno::OPNOTSUPP) => 0,
            length => length?,
        };
        for name in user_names(&list[..length]) {
            let short = &name[PREFIX.len()..];
            let is_kept =
                std::str::from_utf8(short).is_ok_and(|name| attributes.contains_key(name));
            if short.starts_with(replaced_prefix.as_bytes()) && !is_kept {
                match fremovexattr(file, name) {
                    Ok(()) | Err(Errno::NODATA) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    for (name, value) in attributes {
        let name = [PREFIX, name.as_bytes()].concat();
        fsetxattr(file, &name[..], value.as_bytes(), XattrFlags::empty())?;
    }
    Ok(())
}

/// The names in a list of listxattr(2) that begin with `user.`.
fn user_names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == 0)
        .filter(|name| name.starts_with(PREFIX))
}
