//! dropbear.

use std::process::Command;

use sandbox_testkit::peers;

use super::daemon::{self, Daemon, Keys};

/// Starts a server; `None`, with a message, if it is not installed.
pub(crate) fn start() -> Option<Daemon> {
    if !daemon::is_possible(peers::DROPBEAR) {
        return None;
    }
    let keys = Keys::new();
    let dropbear = peers::find_program("dropbear")?;
    Some(Daemon::start(&keys, |place| {
        let directory = place.directory.to_str().unwrap();
        daemon::write_private(
            &place.directory.join("openssh_key"),
            keys.host.private.expose(),
        );
        let (from, to) = (
            format!("{directory}/openssh_key"),
            format!("{directory}/host_key"),
        );
        let converted = Command::new("dropbearconvert")
            .args(["openssh", "dropbear", &from, &to])
            .output()
            .unwrap();
        assert!(converted.status.success(), "{converted:?}");
        let pid = format!("{directory}/pid");
        let listen = format!("127.0.0.1:{}", place.port);
        let argv = [
            dropbear.to_str().unwrap(),
            "-F",
            "-E",
            "-s",
            "-r",
            &to,
            "-p",
            &listen,
            "-P",
            &pid,
        ];
        argv.map(str::to_owned).to_vec()
    }))
}
