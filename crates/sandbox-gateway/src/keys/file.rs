//! The file of keys: one a line, with a name and the hash of the key.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};

use crate::bounded_file::read_text;
use crate::error::GatewayError;
use crate::hex;
use crate::watched_file::WatchedFile;

/// A line of the file. Several lines may have the same name: an old key and its successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name, which owns sandboxes.
    pub(crate) name: String,
    /// The hash of the key.
    pub(crate) hash: KeyHash,
    /// How many sandboxes it may have, if that differs from the default.
    pub(crate) sandboxes: Option<usize>,
    /// How many requests it may make in a second, if that differs from the default.
    pub(crate) requests_per_second: Option<u32>,
}

/// The SHA-256 of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyHash([u8; 32]);

impl KeyHash {
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a hash in the file begins with.
const HASH_PREFIX: &str = "sha256:";
/// What a key begins with, as E2B's SDKs expect.
const KEY_PREFIX: &str = "e2b_";
/// The number of random bytes of a key.
const KEY_BYTES: usize = 20;
/// The largest file that is read.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Creates a key, adds its hash to the file, which is created if it is missing, and returns the key.
///
/// # Errors
///
/// If the name is invalid, or the file has mistakes or cannot be written.
pub fn add(path: &Path, name: &str) -> Result<String, GatewayError> {
    if !is_name(name) {
        return Err(GatewayError::Config(vec![format!(
            "{name:?} is no name of a key: {NAME_FORM}"
        )]));
    }
    let content = match read_text(path, MAX_FILE) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(cannot_read(path, source)),
    };
    parse(&content).map_err(|mistakes| in_file(path, mistakes))?;
    let mut random = [0; KEY_BYTES];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_unspecified| GatewayError::Randomness)?;
    let key = format!("{KEY_PREFIX}{}", hex::encode(&random));
    let hash = hex::encode(KeyHash::of(&key).as_bytes());
    let separator = if content.is_empty() || content.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    // One write, so that two of these commands at once do not mix their lines.
    append(path, &format!("{separator}{name} {HASH_PREFIX}{hash}\n")).map_err(|source| {
        GatewayError::File {
            action: "write the keys to",
            path: path.to_owned(),
            source,
        }
    })?;
    Ok(key)
}

/// Reads a file of keys.
pub(crate) fn load(file: &mut WatchedFile) -> Result<Vec<Entry>, GatewayError> {
    let path = file.path().to_owned();
    file.note();
    let content = read_text(&path, MAX_FILE).map_err(|source| cannot_read(&path, source))?;
    parse(&content).map_err(|mistakes| in_file(&path, mistakes))
}

const NAME_FORM: &str =
    "use 1 to 63 letters, digits, dashes, dots and underscores, beginning with a letter or digit";

fn is_name(name: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=63).contains(&name.len())
        && name.bytes().all(is_valid)
        && name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// Parses the content. Mistakes have the number of their line, and never its content, which may be a key.
fn parse(content: &str) -> Result<Vec<Entry>, Vec<String>> {
    let mut entries = Vec::new();
    let mut mistakes = Vec::new();
    for (index, line) in content.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_line(line) {
            Ok(entry) => entries.push(entry),
            Err(mistake) => mistakes.push(format!("line {}: {mistake}", index + 1)),
        }
    }
    if mistakes.is_empty() {
        Ok(entries)
    } else {
        Err(mistakes)
    }
}

fn parse_line(line: &str) -> Result<Entry, String> {
    let mut words = line.split_ascii_whitespace();
    let name = words
        .next()
        .filter(|name| is_name(name))
        .ok_or_else(|| format!("the name is invalid: {NAME_FORM}"))?;
    let secret = words.next().ok_or("there is no key after the name")?;
    let hash = if let Some(digits) = secret.strip_prefix(HASH_PREFIX) {
        let bytes = hex::decode(digits).and_then(|bytes| bytes.try_into().ok());
        KeyHash(bytes.ok_or("the hash has not 64 hexadecimal digits")?)
    } else if secret.strip_prefix(KEY_PREFIX).is_some_and(is_key) {
        KeyHash::of(secret)
    } else {
        return Err(format!(
            "the second word is neither a hash ({HASH_PREFIX}…) nor a key ({KEY_PREFIX} and at least 32 of 0-9 and a-f); \
             create one with sandbox serve keys add"
        ));
    };
    let mut entry = Entry {
        name: name.to_owned(),
        hash,
        sandboxes: None,
        requests_per_second: None,
    };
    for word in words {
        let (option, value) = word
            .split_once('=')
            .ok_or("an option has the form NAME=NUMBER")?;
        let number: u32 = value
            .parse()
            .ok()
            .filter(|number| *number > 0)
            .ok_or("the number of an option is not a whole number above zero")?;
        match option {
            "sandboxes" => entry.sandboxes = Some(number as usize),
            "requests-per-second" => entry.requests_per_second = Some(number),
            _unknown => {
                return Err("the options are sandboxes=N and requests-per-second=N".to_owned());
            }
        }
    }
    Ok(entry)
}

/// Whether this is what follows the prefix of a key: enough digits that it cannot be guessed.
fn is_key(digits: &str) -> bool {
    digits.len() >= 32
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        fs::create_dir_all(parent)?;
    }
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn cannot_read(path: &Path, source: io::Error) -> GatewayError {
    GatewayError::File {
        action: "read the keys in",
        path: path.to_owned(),
        source,
    }
}

fn in_file(path: &Path, mistakes: Vec<String>) -> GatewayError {
    let place = path.display();
    GatewayError::Config(
        mistakes
            .into_iter()
            .map(|mistake| format!("{place}: {mistake}"))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_name_a_key_or_its_hash_and_limits() {
        let hash = "ab".repeat(32);
        let key = format!("e2b_{}", "0f".repeat(16));
        let content = format!(
            "# keys\n\nci sha256:{hash} sandboxes=5\n  team.a   {key} requests-per-second=9\n"
        );
        let entries = parse(&content).unwrap();
        assert_eq!(entries[0].hash.as_bytes(), &[0xab; 32]);
        assert_eq!(
            (entries[0].sandboxes, entries[0].requests_per_second),
            (Some(5), None)
        );
        assert_eq!(entries[1].hash, KeyHash::of(&key));
        assert_eq!(
            (entries[1].name.as_str(), entries[1].requests_per_second),
            ("team.a", Some(9))
        );
    }

    #[test]
    fn all_mistakes_are_reported_without_secrets() {
        let short = "e2b_00ff";
        let content = format!(
            "-x sha256:00\nci\nci sha256:abc\nci {short}\nci e2b_{0} sandboxes=0\nci e2b_{0} x=1",
            "a".repeat(40)
        );
        let mistakes = parse(&content).unwrap_err();
        assert_eq!(mistakes.len(), 6, "{mistakes:?}");
        assert!(
            mistakes[3].starts_with("line 4: the second word is neither"),
            "{mistakes:?}"
        );
        assert!(!mistakes.concat().contains("00ff") && !mistakes.concat().contains("aaaa"));
    }

    #[test]
    fn adding_needs_a_name_and_keeps_other_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/keys");
        assert!(add(&path, "two words").is_err() && !path.exists());
        let key = add(&path, "ci").unwrap();
        assert!(
            key.starts_with("e2b_") && key.len() == 44 && is_key(&key[4..]),
            "{key}"
        );
        fs::write(&path, "# no newline at the end").unwrap();
        add(&path, "ci").unwrap();
        assert!(
            fs::read_to_string(&path)
                .unwrap()
                .starts_with("# no newline at the end\nci sha256:")
        );
        fs::write(&path, "broken").unwrap();
        assert!(add(&path, "ci").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "broken");
    }
}
