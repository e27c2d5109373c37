//! One sandbox's part of an ssh_config(5).

use std::path::Path;

use anyhow::{Result, bail};
use sandbox::{Access, Client, SandboxId};

use crate::openssh::quoting::{path, word};

/// What it is reached with.
pub(super) struct Block<'a> {
    pub(super) host: &'a str,
    pub(super) access: &'a Access,
    /// Where its key and the like are.
    pub(super) directory: &'a Path,
    /// This program.
    pub(super) program: &'a Path,
    /// The variables with which it finds the sandbox.
    pub(super) environment: &'a [(&'static str, std::ffi::OsString)],
    /// Whether the client that reads it knows `RemoteCommand`, as OpenSSH does since 7.6.
    pub(super) remote_command: bool,
}

/// The variables on one line, to tell whose block it is.
pub(super) fn place(client: &Client) -> String {
    let pairs = client
        .environment()
        .iter()
        .map(|(name, value)| format!("{name}={:?}", value.to_string_lossy()));
    pairs.collect::<Vec<_>>().join(" ")
}

/// That line, read back from a block.
pub(super) fn place_in(block: &str) -> Option<&str> {
    let first = block.lines().next()?.strip_prefix("# sandbox ")?;
    first.split_once("; ").map(|(_whose, place)| place)
}

/// What a block says something about, in the words of `ssh -G`.
pub(super) fn keywords(block: &str) -> impl Iterator<Item = String> {
    let words = block
        .lines()
        .filter(|line| line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next());
    words.map(str::to_ascii_lowercase)
}

/// The name that a sandbox is reached by.
pub(crate) fn host(id: &SandboxId) -> String {
    format!("{id}.sandbox")
}

impl Block<'_> {
    /// The text. Whatever could be set for all hosts is said here, for the first that is said counts.
    ///
    /// One keyword that a client does not know ends it, whichever host it was asked for; and
    /// `IgnoreUnknown` would put the user's own out of force. So these are words, and values, that every
    /// OpenSSH since 7.4 knows: `PubkeyAcceptedKeyTypes` is `PubkeyAcceptedAlgorithms` since 8.5, and
    /// `none` is a file of that name to older ones.
    ///
    /// # Errors
    ///
    /// When a path cannot be written in such a file.
    pub(super) fn text(&self, place: &str) -> Result<String> {
        let Self { host, access, .. } = self;
        let key = path(&self.directory.join("key"))?;
        let known_hosts = path(&self.directory.join("known_hosts"))?;
        let algorithms = match access
            .host_key
            .as_str()
            .split(' ')
            .next()
            .unwrap_or_default()
        {
            // The key has the name of its oldest signature, which newer servers do not make.
            "ssh-rsa" => "rsa-sha2-512,rsa-sha2-256,ssh-rsa",
            algorithm => algorithm,
        };
        let user = if access.user.is_empty() {
            "sandbox"
        } else {
            access.user.as_str()
        };
        if user
            .bytes()
            .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control() || byte == b'"')
        {
            bail!("the login name {user:?} cannot be written in an ssh_config");
        }
        let proxy = self.proxy()?;
        Ok(format!(
            "# sandbox {id}, uid {uid}; {place}\n\
             Host {host}\n    \
             HostName {host}\n    \
             HostKeyAlias {host}\n    \
             Port 22\n    \
             User {user}\n    \
             ProxyCommand {proxy}\n    \
             ProxyUseFdpass no\n    \
             PubkeyAuthentication yes\n    \
             PreferredAuthentications publickey\n    \
             PubkeyAcceptedKeyTypes +ssh-ed25519\n    \
             IdentityFile {key}\n    \
             IdentitiesOnly yes\n    \
             IdentityAgent none\n    \
             AddKeysToAgent no\n    \
             HostKeyAlgorithms {algorithms}\n    \
             UserKnownHostsFile {known_hosts}\n    \
             GlobalKnownHostsFile /dev/null\n    \
             StrictHostKeyChecking yes\n    \
             UpdateHostKeys no\n    \
             VerifyHostKeyDNS no\n    \
             CheckHostIP no\n    \
             CanonicalizeHostname no\n    \
             ForwardAgent no\n    \
             ForwardX11 no\n    \
             ControlMaster no\n    \
             ControlPath none\n    \
             PermitLocalCommand no\n    \
             {remote_command}\
             RequestTTY auto\n    \
             ServerAliveInterval 15\n    \
             ServerAliveCountMax 4\n",
            id = access.id,
            uid = access.uid.as_str(),
            remote_command = if self.remote_command {
                "RemoteCommand none\n    "
            } else {
                ""
            },
        ))
    }

    /// ssh gives it to the user's shell, after it has put values in place of `%` and a letter.
    fn proxy(&self) -> Result<String> {
        let mut words = Vec::new();
        if !self.environment.is_empty() {
            words.push("env".to_owned());
        }
        for (name, value) in self.environment {
            words.push(format!("{name}={}", word(value)?));
        }
        words.push(word(self.program.as_os_str())?);
        words.push(format!("proxy {}", self.access.id));
        Ok(words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use sandbox::{Endpoint, KeyPair, PublicKey, Uid};

    use super::*;

    /// Of ssh_config(5) in OpenSSH 7.4, as far as a block needs them.
    const OLD: &str = "hostname hostkeyalias port user proxycommand proxyusefdpass pubkeyauthentication \
        preferredauthentications pubkeyacceptedkeytypes identityfile identitiesonly identityagent addkeystoagent \
        hostkeyalgorithms userknownhostsfile globalknownhostsfile stricthostkeychecking updatehostkeys \
        verifyhostkeydns checkhostip canonicalizehostname forwardagent forwardx11 controlmaster controlpath \
        permitlocalcommand requesttty serveraliveinterval serveralivecountmax";

    #[test]
    fn an_old_client_knows_every_word_of_a_block() {
        let keys = KeyPair::generate().unwrap();
        let old = text(keys.public.clone(), false);
        let known: Vec<&str> = OLD.split_whitespace().collect();
        assert_eq!(
            keywords(&old).find(|word| !known.contains(&word.as_str())),
            None
        );
        assert_eq!(keywords(&old).count(), known.len());
        assert_eq!(place_in(&old), Some("SANDBOX_BACKEND=\"local\""));
        let new = text(keys.public, true);
        let only: Vec<&str> = new.lines().filter(|line| !old.contains(line)).collect();
        assert_eq!(only, ["    RemoteCommand none"]);
    }

    #[test]
    fn a_host_key_is_asked_for_by_the_names_of_its_signatures() {
        let rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQCoZhkyTVqRZ8waXXdlGaKaIWqzas2DQ9qr6kBkkBhLlehx530q+86+m3FUQy4p\
                   C6j3ZFW5UrqZs7Tz0XBMkwz7W1y9uG3Sij8DqtgBGxLQcqoXWSuv9mJTKMzrVqzD8rxuIaWHY0s86lpR/tK6laCS38Zi8Cw5+dqU\
                   4pOOffc1EQ==";
        let rsa: PublicKey = rsa.parse().unwrap();
        for (key, names) in [
            (rsa, "rsa-sha2-512,rsa-sha2-256,ssh-rsa"),
            (KeyPair::generate().unwrap().public, "ssh-ed25519"),
        ] {
            assert!(
                text(key, true).contains(&format!("    HostKeyAlgorithms {names}\n")),
                "{names}"
            );
        }
    }

    fn text(host_key: PublicKey, remote_command: bool) -> String {
        let access = Access {
            id: "sbx-1".parse().unwrap(),
            uid: Uid::new("u"),
            user: String::new(),
            host_key,
            client_key: KeyPair::generate().unwrap().private,
            endpoint: Endpoint::Memory("m".to_owned()),
        };
        let (directory, program) = (Path::new("/d"), Path::new("/p"));
        let host = "sbx-1.sandbox";
        let block = Block {
            host,
            access: &access,
            directory,
            program,
            environment: &[],
            remote_command,
        };
        block.text("SANDBOX_BACKEND=\"local\"").unwrap()
    }
}
