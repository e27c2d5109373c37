//! Loading the keys, and removing them from the environment.
//!
//! The environment of a process can be read in `/proc/PID/environ` as long as the process lives,
//! and no program can erase it there. So keys from the environment go through a pipe to a
//! re-executed instance of this program, whose environment never had them.

use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use sandbox_core::PrivateKey;
use zeroize::Zeroizing;

use crate::arguments::{Listen, Options};
use crate::error::Error;

const HOST_KEY: &str = "SANDBOX_SSHD_HOST_KEY";
const AUTHORIZED_KEYS: &str = "SANDBOX_SSHD_AUTHORIZED_KEYS";
/// The most bytes of all keys: more than keys need, and less than any pipe holds.
const MAX_BYTES: usize = 32 << 10;

/// The keys of a server.
pub(crate) struct Keys {
    pub(crate) host_key: PrivateKey,
    pub(crate) authorized_keys: Vec<String>,
}

/// Reads the keys from the files in the options, or else from the environment. In the latter case
/// this program is re-executed and this function does not return.
///
/// # Errors
///
/// A message that names the key that is missing or cannot be used.
pub(crate) fn load(options: &Options) -> Result<Keys, Error> {
    let passed = if options.keys_from_stdin {
        read_passed()?
    } else if [HOST_KEY, AUTHORIZED_KEYS]
        .iter()
        .any(|name| std::env::var_os(name).is_some())
    {
        return Err(re_execute(options));
    } else {
        Passed::default()
    };
    let host_key = match (&options.host_key, passed.host_key) {
        (Some(file), _) => read_file(file)?,
        (None, Some(key)) => key,
        (None, None) => {
            return Err(format!("there is no host key: set --host-key FILE or {HOST_KEY}").into());
        }
    };
    let authorized = match (&options.authorized_keys, passed.authorized_keys) {
        (Some(file), _) => read_file(file)?,
        (None, Some(keys)) => keys,
        (None, None) => {
            return Err(format!(
                "there are no authorized keys: set --authorized-keys FILE or {AUTHORIZED_KEYS}"
            )
            .into());
        }
    };
    let authorized_keys = authorized
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(Keys {
        authorized_keys: authorized_keys.map(str::to_owned).collect(),
        host_key: PrivateKey::from_openssh(host_key.as_str().to_owned())?,
    })
}

/// The keys that the first instance of this program passed on.
#[derive(Default)]
struct Passed {
    host_key: Option<Zeroizing<String>>,
    authorized_keys: Option<Zeroizing<String>>,
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => Err(format!("cannot read {}: {error}", path.display()).into()),
    }
}

/// Reads both keys from standard input, each followed by a NUL. An empty key means that there is
/// none.
fn read_passed() -> Result<Passed, Error> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES));
    std::io::stdin()
        .take(MAX_BYTES as u64)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot read the keys from standard input: {error}"))?;
    let mut parts = text
        .split('\0')
        .map(|part| (!part.is_empty()).then(|| Zeroizing::new(part.to_owned())));
    Ok(Passed {
        host_key: parts.next().flatten(),
        authorized_keys: parts.next().flatten(),
    })
}

/// Executes this program again, with the keys in a pipe instead of the environment. Returns only if
/// that fails.
fn re_execute(options: &Options) -> Error {
    if options.listen == Listen::Stdio {
        return "--stdio needs standard input for the connection: \
                use --host-key FILE and --authorized-keys FILE"
            .into();
    }
    let mut keys = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
    for name in [HOST_KEY, AUTHORIZED_KEYS] {
        let key = Zeroizing::new(std::env::var_os(name).unwrap_or_default().into_vec());
        if keys.len() + key.len() + 1 > MAX_BYTES {
            return format!(
                "{HOST_KEY} and {AUTHORIZED_KEYS} are longer than {MAX_BYTES} bytes: \
                 use --host-key FILE and --authorized-keys FILE"
            )
            .into();
        }
        keys.extend_from_slice(&key);
        keys.push(0);
    }
    let (reader, mut writer) = match std::io::pipe() {
        Ok(ends) => ends,
        Err(error) => return error.into(),
    };
    if let Err(error) = writer.write_all(&keys) {
        return error.into();
    }
    drop(writer);
    // The link leads to this very program, even if its file was replaced. A root directory without
    // /proc has only the name.
    let link = Path::new("/proc/self/exe");
    let name = std::env::args_os().next().unwrap_or_default();
    let mut program = Command::new(if link.exists() {
        link.as_os_str()
    } else {
        &name
    });
    program
        .arg0(&name)
        .arg("--keys-from-stdin")
        .args(std::env::args_os().skip(1))
        .stdin(reader);
    program.env_remove(HOST_KEY).env_remove(AUTHORIZED_KEYS);
    format!(
        "cannot re-execute this program without the keys in its environment: {}",
        program.exec()
    )
    .into()
}
