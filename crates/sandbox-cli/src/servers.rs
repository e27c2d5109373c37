//! The SSH servers in this command, which it uploads into Pods.

use std::io::{self, Read};

use flate2::read::ZlibDecoder;
use sandbox::k8s::{Architecture, ServerPrograms};
use sha2::{Digest, Sha256};

/// A server that `cargo xtask dist` has embedded.
struct Server {
    architecture: Architecture,
    /// The program, compressed (RFC 1950).
    packed: &'static [u8],
    /// The hash of the program, in hexadecimal.
    sha256: &'static str,
}

/// Empty in a command that was built in another way.
const SERVERS: &[Server] = include!(concat!(env!("OUT_DIR"), "/servers.rs"));

/// The largest program that is unpacked.
const MAX_SIZE: u64 = 64 << 20;

/// Returns the servers, which are unpacked when a Pod needs one.
pub(crate) fn embedded() -> ServerPrograms {
    SERVERS
        .iter()
        .fold(ServerPrograms::default(), |programs, server| {
            programs.with_loader(server.architecture, || unpack(server))
        })
}

fn unpack(server: &Server) -> io::Result<Vec<u8>> {
    let mut program = Vec::new();
    ZlibDecoder::new(server.packed)
        .take(MAX_SIZE)
        .read_to_end(&mut program)?;
    let hash = Sha256::digest(&program);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    if hash == server.sha256.trim() {
        Ok(program)
    } else {
        Err(io::Error::other(
            "this command is damaged: its hash is another",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use std::io::Write;

    fn pack(program: &[u8], hashed: &[u8]) -> Server {
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
        packer.write_all(program).unwrap();
        let hash = Sha256::digest(hashed);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Server {
            architecture: Architecture::Amd64,
            packed: packer.finish().unwrap().leak(),
            sha256: format!("{hash}\n").leak(),
        }
    }

    #[test]
    fn a_server_is_unpacked_as_it_was() {
        assert_eq!(unpack(&pack(b"server", b"server")).unwrap(), b"server");
        for damaged in [pack(b"server", b"other"), {
            let mut server = pack(b"server", b"server");
            server.packed = &server.packed[..9];
            server
        }] {
            assert!(unpack(&damaged).is_err());
        }
    }

    #[test]
    fn each_embedded_server_can_be_unpacked() {
        for server in SERVERS {
            assert!(unpack(server).unwrap().starts_with(b"\x7fELF"));
        }
    }
}
