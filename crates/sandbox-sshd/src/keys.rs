//! Where the keys come from, and where they do not stay.
//!
//! An environment can be read in `/proc/PID/environ` for as long as the process lives, and no
//! program can wipe it there. So keys that came by the environment go through a pipe to a new
//! image of this program, whose environment never had them.

use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use sandbox_core::PrivateKey;
use zeroize::Zeroizing;

use crate::Failure;
use crate::arguments::{Listen, Options};

const HOST_KEY: &str = "SANDBOX_SSHD_HOST_KEY";
const AUTHORIZED_KEYS: &str = "SANDBOX_SSHD_AUTHORIZED_KEYS";
/// More than keys need, and less than any pipe holds.
const MOST: usize = 32 << 10;

/// Who this server is, and whom it lets in.
pub(crate) struct Keys {
    pub(crate) host_key: PrivateKey,
    pub(crate) authorized_keys: Vec<String>,
}

/// Reads the keys from the files that are named, else from the environment, in which case this
/// program starts anew and this function does not return.
///
/// # Errors
///
/// A sentence that says which key is missing or cannot be used.
pub(crate) fn obtain(options: &Options) -> Result<Keys, Failure> {
    let passed = if options.keys_from_stdin {
        read_passed()?
    } else if [HOST_KEY, AUTHORIZED_KEYS]
        .iter()
        .any(|name| std::env::var_os(name).is_some())
    {
        return Err(start_anew(options));
    } else {
        Passed::default()
    };
    let host_key = match (&options.host_key, passed.host_key) {
        (Some(file), _) => read_file(file)?,
        (None, Some(key)) => key,
        (None, None) => {
            return Err(format!("there is no host key: give --host-key FILE or {HOST_KEY}").into());
        }
    };
    let authorized = match (&options.authorized_keys, passed.authorized_keys) {
        (Some(file), _) => read_file(file)?,
        (None, Some(keys)) => keys,
        (None, None) => {
            return Err(format!(
                "there are no authorized keys: give --authorized-keys FILE or {AUTHORIZED_KEYS}"
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

#[derive(Default)]
struct Passed {
    host_key: Option<Zeroizing<String>>,
    authorized_keys: Option<Zeroizing<String>>,
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => Err(format!("cannot read {}: {error}", path.display()).into()),
    }
}

/// Both keys, each ended by a NUL; an empty one was not given.
fn read_passed() -> Result<Passed, Failure> {
    let mut text = Zeroizing::new(String::with_capacity(MOST));
    std::io::stdin()
        .take(MOST as u64)
        .read_to_string(&mut text)
        .map_err(|error| format!("the keys were not passed on: {error}"))?;
    let mut parts = text
        .split('\0')
        .map(|part| (!part.is_empty()).then(|| Zeroizing::new(part.to_owned())));
    Ok(Passed {
        host_key: parts.next().flatten(),
        authorized_keys: parts.next().flatten(),
    })
}

/// Becomes this program again, with the keys in a pipe instead of the environment. Returns
/// only when that fails.
fn start_anew(options: &Options) -> Failure {
    if options.listen == Listen::Stdio {
        return "with --stdio give the keys in files: standard input is taken".into();
    }
    let mut keys = Zeroizing::new(Vec::with_capacity(MOST));
    for name in [HOST_KEY, AUTHORIZED_KEYS] {
        let key = Zeroizing::new(std::env::var_os(name).unwrap_or_default().into_vec());
        if keys.len() + key.len() + 1 > MOST {
            return format!(
                "{HOST_KEY} and {AUTHORIZED_KEYS} are longer than {MOST} bytes: use files"
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
    // Its own link, so that it is this very program whatever the name leads to by now. In a
    // root without /proc there is only the name.
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
        "cannot start anew without the keys in the environment: {}",
        program.exec()
    )
    .into()
}
