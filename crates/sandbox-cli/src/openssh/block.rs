//! The `Host` block of one sandbox, for ssh_config(5).

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, bail};
use sandbox::{Access, Client};

use crate::openssh::client::SupportedKeywords;
use crate::openssh::quoting::{quote_path, quote_word};

/// The values of a block.
pub(super) struct Block<'a> {
    pub(super) host: &'a str,
    pub(super) access: &'a Access,
    /// The directory of its `key` and `known_hosts`.
    pub(super) directory: &'a Path,
    /// This program, for `ProxyCommand`.
    pub(super) program: &'a Path,
    /// The variables with which this program finds the sandbox.
    pub(super) environment: &'a [(&'static str, std::ffi::OsString)],
    /// The keywords that the SSH client supports.
    pub(super) keywords: SupportedKeywords,
}

/// Formats the client's variables on one line. They identify the client to which a block belongs.
pub(super) fn format_environment(client: &Client) -> String {
    let pairs = client
        .environment()
        .iter()
        .map(|(name, value)| format!("{name}={:?}", value.to_string_lossy()));
    pairs.collect::<Vec<_>>().join(" ")
}

/// Reads that line from a block.
pub(super) fn read_environment(block: &str) -> Option<&str> {
    let first = block.lines().next()?.strip_prefix("# sandbox ")?;
    first.split_once("; ").map(|(_id, environment)| environment)
}

/// The keywords that a block sets, in lower case as `ssh -G` prints them.
pub(super) fn keywords(block: &str) -> impl Iterator<Item = String> {
    let words = block
        .lines()
        .filter(|line| line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next());
    words.map(str::to_ascii_lowercase)
}

/// Returns a block with other names.
pub(super) fn replace_hosts(block: &str, names: &[String]) -> String {
    let lines = block
        .split_inclusive('\n')
        .map(|line| match line.starts_with("Host ") {
            true => format!("Host {}\n", names.join(" ")),
            false => line.to_owned(),
        });
    lines.collect()
}

/// Formats a block for a name that more than one sandbox has. ssh prints which names to use, and fails.
pub(super) fn format_refusal(host: &str, alternatives: &[&str]) -> String {
    let names = alternatives.join(" or ");
    format!(
        "# more than one sandbox has this name\n\
         Host {host}\n    \
         HostName {host}\n    \
         ProxyCommand sh -c 'echo \"sandbox: more than one sandbox is named {host}: use {names}\" >&2; exit 255'\n    \
         ProxyUseFdpass no\n    \
         CanonicalizeHostname no\n    \
         ControlMaster no\n    \
         ControlPath none\n    \
         PermitLocalCommand no\n"
    )
}

impl Block<'_> {
    /// Formats the block. It sets every keyword that could be set for all hosts, because ssh uses
    /// the first value that it finds.
    ///
    /// ssh exits at a keyword that it does not know, whichever host it connects to, and
    /// `IgnoreUnknown` would override the user's own. So the block has only keywords and values
    /// that OpenSSH knows since 7.4: `PubkeyAcceptedKeyTypes` was renamed to
    /// `PubkeyAcceptedAlgorithms` in 8.5, and as the path of a file, older versions do not
    /// recognise `none`.
    ///
    /// # Errors
    ///
    /// If a path or name cannot be written in an ssh_config.
    pub(super) fn format(&self, environment: &str) -> Result<String> {
        let Self { host, access, .. } = self;
        let key = quote_path(&self.directory.join("key"))?;
        let known_hosts = quote_path(&self.directory.join("known_hosts"))?;
        let algorithms = match access
            .host_key
            .as_str()
            .split(' ')
            .next()
            .unwrap_or_default()
        {
            // An RSA key is named after its oldest signature algorithm, which newer servers do not
            // use.
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
            bail!(
                "the user name {user:?} cannot be written in an ssh_config: it contains a quote, a space or a control character"
            );
        }
        let proxy = self.format_proxy_command()?;
        Ok(format!(
            "# sandbox {id}, uid {uid}; {environment}\n\
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
             {known_hosts_command}\
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
             Tunnel no\n    \
             {remote_command}\
             RequestTTY auto\n    \
             ServerAliveInterval 15\n    \
             ServerAliveCountMax 4\n",
            id = access.id,
            uid = access.uid.as_str(),
            remote_command = if self.keywords.remote_command {
                "RemoteCommand none\n    "
            } else {
                ""
            },
            known_hosts_command = if self.keywords.known_hosts_command {
                "KnownHostsCommand none\n    "
            } else {
                ""
            },
        ))
    }

    /// Formats the `ProxyCommand`. ssh expands `%` sequences in it and passes it to the user's
    /// shell.
    fn format_proxy_command(&self) -> Result<String> {
        let mut words = Vec::new();
        if !self.environment.is_empty() {
            words.push("env".to_owned());
        }
        for (name, value) in self.environment {
            words.push(format!("{name}={}", quote_word(value)?));
        }
        words.push(quote_word(self.program.as_os_str())?);
        // The sandbox may have been replaced by another one with the same id.
        let uid = quote_word(OsStr::new(self.access.uid.as_str()))?;
        words.push(format!("proxy --uid {uid} {}", self.access.id));
        Ok(words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use sandbox::{Endpoint, KeyPair, PublicKey, Uid};

    use super::*;

    /// The keywords of ssh_config(5) in OpenSSH 7.4 that a block uses.
    const OLD_KEYWORDS: &str = "hostname hostkeyalias port user proxycommand proxyusefdpass pubkeyauthentication \
        preferredauthentications pubkeyacceptedkeytypes identityfile identitiesonly identityagent addkeystoagent \
        hostkeyalgorithms userknownhostsfile globalknownhostsfile stricthostkeychecking updatehostkeys \
        verifyhostkeydns checkhostip canonicalizehostname forwardagent forwardx11 controlmaster controlpath \
        permitlocalcommand tunnel requesttty serveraliveinterval serveralivecountmax";

    #[test]
    fn openssh_7_4_knows_every_keyword_of_a_block() {
        let keys = KeyPair::generate().unwrap();
        let old = format_block(keys.public.clone(), false);
        let known: Vec<&str> = OLD_KEYWORDS.split_whitespace().collect();
        assert_eq!(
            keywords(&old).find(|word| !known.contains(&word.as_str())),
            None
        );
        assert_eq!(keywords(&old).count(), known.len());
        assert_eq!(read_environment(&old), Some("SANDBOX_BACKEND=\"local\""));
        let new = format_block(keys.public, true);
        let only: Vec<&str> = new.lines().filter(|line| !old.contains(line)).collect();
        assert_eq!(
            only,
            ["    KnownHostsCommand none", "    RemoteCommand none"]
        );
    }

    #[test]
    fn host_key_algorithms_are_those_of_the_keys_signatures() {
        let rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQCoZhkyTVqRZ8waXXdlGaKaIWqzas2DQ9qr6kBkkBhLlehx530q+86+m3FUQy4p\
                   C6j3ZFW5UrqZs7Tz0XBMkwz7W1y9uG3Sij8DqtgBGxLQcqoXWSuv9mJTKMzrVqzD8rxuIaWHY0s86lpR/tK6laCS38Zi8Cw5+dqU\
                   4pOOffc1EQ==";
        let rsa: PublicKey = rsa.parse().unwrap();
        for (key, names) in [
            (rsa, "rsa-sha2-512,rsa-sha2-256,ssh-rsa"),
            (KeyPair::generate().unwrap().public, "ssh-ed25519"),
        ] {
            assert!(
                format_block(key, true).contains(&format!("    HostKeyAlgorithms {names}\n")),
                "{names}"
            );
        }
    }

    fn format_block(host_key: PublicKey, is_new_client: bool) -> String {
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
            keywords: SupportedKeywords {
                remote_command: is_new_client,
                known_hosts_command: is_new_client,
            },
        };
        block.format("SANDBOX_BACKEND=\"local\"").unwrap()
    }
}
