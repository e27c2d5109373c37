//! Sockets outside, which a sandbox must not reach.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use sandbox_core::SandboxInfo;

use super::trial::Result;
use super::world::World;

/// A socket of each kind. The Unix sockets stand for those of docker (a path) and D-Bus (abstract).
pub(crate) struct OutsideSockets {
    udp: UdpSocket,
    _listeners: (TcpListener, UnixListener, UnixListener),
    probes: Vec<String>,
}

impl OutsideSockets {
    pub(crate) fn open(world: &World, info: &SandboxInfo) -> Result<Self> {
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        udp.set_nonblocking(true)?;
        let path = world.path().join("docker.sock");
        let unix = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))?;
        let name = format!("sandbox-test-{}", info.uid);
        let abstract_unix = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        let probes = vec![
            format!("tcp {}", tcp.local_addr()?),
            "tcp 192.0.2.1:80".to_owned(),
            format!("udp {}", udp.local_addr()?),
            format!("unix {}", path.display()),
            format!("abstract {name}"),
        ];
        Ok(Self {
            udp,
            _listeners: (tcp, unix, abstract_unix),
            probes,
        })
    }

    /// Returns the probes that try to reach the sockets.
    pub(crate) fn probes(&self) -> &[String] {
        &self.probes
    }

    pub(crate) fn assert_no_datagram(&self) {
        assert!(self.udp.recv(&mut [0; 9]).is_err(), "a datagram came out");
    }
}
