//! Writes archives in POSIX's ustar format, reproducibly: without times and owners.
//! <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_06>

use anyhow::{Result, ensure};

/// A member of an archive: its path, content and permissions.
pub(super) enum Entry<'a> {
    Directory(&'a str, u32),
    File(&'a str, &'a [u8], u32),
}

const BLOCK: usize = 512;

pub(super) fn archive(entries: &[Entry<'_>]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for entry in entries {
        match *entry {
            Entry::Directory(path, mode) => {
                out.extend_from_slice(&header(&format!("{path}/"), 0, mode, b'5')?);
            }
            Entry::File(path, content, mode) => {
                out.extend_from_slice(&header(path, content.len(), mode, b'0')?);
                out.extend_from_slice(content);
                out.resize(out.len().next_multiple_of(BLOCK), 0);
            }
        }
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    Ok(out)
}

fn header(path: &str, size: usize, mode: u32, kind: u8) -> Result<[u8; BLOCK]> {
    ensure!(
        path.len() <= 100,
        "the path {path:?} is too long for an archive (100 bytes)"
    );
    let mut block = [0; BLOCK];
    let mut put =
        |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    put(148, "        ");
    put(257, "ustar");
    put(263, "00");
    block[156] = kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

/// The members of an archive by path.
#[cfg(test)]
pub(super) fn read(archive: &[u8]) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut files = std::collections::BTreeMap::new();
    let mut at = 0;
    while archive[at] != 0 {
        let text = |from: usize, to: usize| {
            let field = &archive[at + from..at + to];
            String::from_utf8(field.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap()
        };
        let size = usize::from_str_radix(&text(124, 136), 8).unwrap();
        let begin = at + BLOCK;
        files.insert(text(0, 100), archive[begin..begin + size].to_vec());
        at = (begin + size).next_multiple_of(BLOCK);
    }
    files
}
