//! OpenSSH's sshd.

use sandbox_testkit::peers;

use super::daemon::{self, Daemon, Keys};

/// Starts a server with these lines in its configuration; `None`, with a message, if it is not
/// installed.
pub(crate) fn start(lines: &[&str]) -> Option<Daemon> {
    start_with(&Keys::new(), lines)
}

pub(crate) fn start_with(keys: &Keys, lines: &[&str]) -> Option<Daemon> {
    if !daemon::is_possible(peers::OPENSSH_SERVER) {
        return None;
    }
    let sshd = peers::find_program("sshd")?;
    Some(Daemon::start(keys, |place| {
        let directory = place.directory.to_str().unwrap();
        daemon::write_private(
            &place.directory.join("host_key"),
            keys.host.private.expose(),
        );
        let mut config = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {directory}/host_key\n\
             AuthorizedKeysFile {}/.ssh/authorized_keys\nStrictModes no\nUsePAM no\nPidFile none\nUseDNS no\n",
            place.port,
            place.home.display(),
        );
        for line in lines {
            config.push_str(line);
            config.push('\n');
        }
        if !lines.iter().any(|line| line.starts_with("Subsystem")) {
            config.push_str("Subsystem sftp internal-sftp\n");
        }
        std::fs::write(place.directory.join("config"), config).unwrap();
        let sshd = sshd.to_str().unwrap().to_owned();
        vec![
            sshd,
            "-D".into(),
            "-e".into(),
            "-f".into(),
            format!("{directory}/config"),
        ]
    }))
}
