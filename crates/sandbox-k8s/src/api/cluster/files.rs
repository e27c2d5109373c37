//! Reads and merges kubeconfig files as client-go does.
//! <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>
//!
//! kube's own reader takes an empty value for a set one, and an empty path for the directory of the file.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use kube::config::{AuthInfo, Cluster, Kubeconfig, KubeconfigError};
use secrecy::{ExposeSecret, SecretString};

use super::errors::{first_line, flatten};

/// Why there is no kubeconfig.
#[derive(Debug)]
pub(super) enum ReadError {
    /// No file exists.
    Missing(String),
    /// A file cannot be read, or is no kubeconfig.
    Unusable(String),
}

/// Reads one file.
pub(super) fn read_file(path: &Path) -> Result<Kubeconfig, ReadError> {
    let shown = path.display();
    let unusable = |reason: String| ReadError::Unusable(format!("{shown}: {reason}"));
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => ReadError::Missing(format!("{shown}: {error}")),
        _ => unusable(error.to_string()),
    })?;
    let text = decode(&bytes).ok_or_else(|| unusable("it is no text in UTF-8 or UTF-16".into()))?;
    let mut file =
        Kubeconfig::from_yaml(&text).map_err(|error| unusable(describe_parse_error(&error)))?;
    check_names(&file).map_err(unusable)?;
    remove_empty_values(&mut file);
    resolve_paths(&mut file, path.parent().unwrap_or(Path::new(""))).map_err(unusable)?;
    Ok(file)
}

/// Reads the files that kubectl would read: those listed in `KUBECONFIG`, or else `~/.kube/config`. Missing
/// files of the list are skipped. The first file that sets a value wins.
pub(super) fn read_default() -> Result<Kubeconfig, ReadError> {
    let list = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let mut paths: Vec<PathBuf> = std::env::split_paths(&list)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    if paths.is_empty() {
        let home = std::env::home_dir()
            .ok_or_else(|| ReadError::Missing("there is no home directory".into()))?;
        paths.push(home.join(".kube").join("config"));
    }
    read_list(&paths)
}

fn read_list(paths: &[PathBuf]) -> Result<Kubeconfig, ReadError> {
    let mut merged: Option<Kubeconfig> = None;
    let mut missing = String::new();
    for path in paths {
        let file = match read_file(path) {
            Ok(file) => file,
            Err(ReadError::Missing(reason)) => {
                missing = reason;
                continue;
            }
            Err(error) => return Err(error),
        };
        merged = Some(match merged {
            None => file,
            Some(first) => first.merge(file).map_err(|error| {
                ReadError::Unusable(format!("{}: {}", path.display(), first_line(&error)))
            })?,
        });
    }
    merged.ok_or(ReadError::Missing(missing))
}

/// Editors on Windows write a byte order mark, and PowerShell writes UTF-16.
fn decode(bytes: &[u8]) -> Option<String> {
    let utf16 = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = rest
            .chunks(2)
            .map(|pair| Some(unit([*pair.first()?, *pair.get(1)?])))
            .collect::<Option<_>>()?;
        String::from_utf16(&units).ok()
    };
    match bytes {
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        text => String::from_utf8(text.to_vec()).ok(),
    }
}

/// The message of the parser is not repeated, because it may quote a token.
fn describe_parse_error(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => match error.location() {
            Some(at) => format!(
                "it is no valid kubeconfig at line {}, column {}",
                at.line(),
                at.column()
            ),
            None => "it is no valid kubeconfig".to_owned(),
        },
        error => first_line(error),
    }
}

/// Refuses names that are used twice in a file, as kubectl does.
fn check_names(file: &Kubeconfig) -> Result<(), String> {
    let clusters = file.clusters.iter().map(|entry| ("clusters", &entry.name));
    let users = file.auth_infos.iter().map(|entry| ("users", &entry.name));
    let contexts = file.contexts.iter().map(|entry| ("contexts", &entry.name));
    let mut seen = BTreeSet::new();
    for (kind, name) in clusters.chain(users).chain(contexts) {
        if !seen.insert((kind, name)) {
            return Err(format!(
                "it has two {kind} with the name {}; rename or remove one",
                flatten(name)
            ));
        }
    }
    Ok(())
}

/// client-go does not distinguish an empty value from one that is not set.
fn remove_empty_values(file: &mut Kubeconfig) {
    remove_if_empty([&mut file.current_context]);
    for cluster in file
        .clusters
        .iter_mut()
        .filter_map(|entry| entry.cluster.as_mut())
    {
        remove_if_empty([
            &mut cluster.server,
            &mut cluster.certificate_authority,
            &mut cluster.certificate_authority_data,
            &mut cluster.proxy_url,
            &mut cluster.tls_server_name,
        ]);
    }
    for context in file
        .contexts
        .iter_mut()
        .filter_map(|entry| entry.context.as_mut())
    {
        remove_if_empty([&mut context.namespace, &mut context.user]);
    }
    for user in file
        .auth_infos
        .iter_mut()
        .filter_map(|entry| entry.auth_info.as_mut())
    {
        remove_if_empty([
            &mut user.username,
            &mut user.token_file,
            &mut user.client_certificate,
            &mut user.client_certificate_data,
            &mut user.client_key,
            &mut user.impersonate,
            &mut user.impersonate_uid,
        ]);
        for secret in [
            &mut user.password,
            &mut user.token,
            &mut user.client_key_data,
        ] {
            let is_empty = |secret: &SecretString| secret.expose_secret().is_empty();
            if secret.as_ref().is_some_and(is_empty) {
                *secret = None;
            }
        }
    }
}

fn remove_if_empty<const N: usize>(values: [&mut Option<String>; N]) {
    for value in values {
        if value.as_ref().is_some_and(String::is_empty) {
            *value = None;
        }
    }
}

/// Makes paths relative to the file that contains them. The command of a credential program is a path only if
/// it has a separator.
fn resolve_paths(file: &mut Kubeconfig, directory: &Path) -> Result<(), String> {
    for entry in &mut file.clusters {
        if let Some(Cluster {
            certificate_authority,
            ..
        }) = &mut entry.cluster
        {
            resolve(directory, certificate_authority)?;
        }
    }
    for entry in &mut file.auth_infos {
        let Some(AuthInfo {
            client_certificate,
            client_key,
            token_file,
            exec,
            ..
        }) = &mut entry.auth_info
        else {
            continue;
        };
        for path in [client_certificate, client_key, token_file] {
            resolve(directory, path)?;
        }
        let has_separator = |command: &String| command.contains(std::path::is_separator);
        if let Some(exec) = exec
            && exec.command.as_ref().is_some_and(has_separator)
        {
            resolve(directory, &mut exec.command)?;
        }
    }
    Ok(())
}

fn resolve(directory: &Path, path: &mut Option<String>) -> Result<(), String> {
    let Some(relative) = path.as_ref().filter(|path| Path::new(path).is_relative()) else {
        return Ok(());
    };
    // The working directory of the program may change.
    let absolute =
        std::path::absolute(directory.join(relative)).map_err(|error| error.to_string())?;
    let absolute = absolute.into_os_string().into_string();
    *path = Some(absolute.map_err(|_| "its directory has a name that is not UTF-8".to_owned())?);
    Ok(())
}

#[cfg(test)]
mod tests;
