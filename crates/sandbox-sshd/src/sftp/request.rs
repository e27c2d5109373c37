//! Parses the requests of the protocol. The paths in them are bytes, which need not be UTF-8.

use russh_sftp::protocol::{FileAttributes, OpenFlags};

use super::fields::Fields;
use super::status::SftpError;

/// A request, without its id.
#[derive(Debug)]
pub(super) enum Request<'a> {
    Init,
    Open {
        path: &'a [u8],
        flags: OpenFlags,
        attributes: FileAttributes,
    },
    Close {
        handle: &'a str,
    },
    Read {
        handle: &'a str,
        offset: u64,
        length: u32,
    },
    Write {
        handle: &'a str,
        offset: u64,
        data: &'a [u8],
    },
    /// `follow` is whether to report the target of a link.
    Stat {
        path: &'a [u8],
        follow: bool,
    },
    StatHandle {
        handle: &'a str,
    },
    SetAttributes {
        path: &'a [u8],
        attributes: FileAttributes,
    },
    SetHandleAttributes {
        handle: &'a str,
        attributes: FileAttributes,
    },
    OpenDirectory {
        path: &'a [u8],
    },
    ReadDirectory {
        handle: &'a str,
    },
    Remove {
        path: &'a [u8],
    },
    MakeDirectory {
        path: &'a [u8],
        attributes: FileAttributes,
    },
    RemoveDirectory {
        path: &'a [u8],
    },
    RealPath {
        path: &'a [u8],
    },
    Rename {
        from: &'a [u8],
        to: &'a [u8],
    },
    ReadLink {
        path: &'a [u8],
    },
    Link {
        target: &'a [u8],
        path: &'a [u8],
    },
    Extended {
        name: &'a str,
        data: Fields<'a>,
    },
}

/// The kind and the id of a request, and what follows them.
pub(super) struct Head<'a> {
    kind: u8,
    /// For `SSH_FXP_INIT`, which has no id, the version.
    pub(super) id: u32,
    rest: Fields<'a>,
}

impl<'a> Head<'a> {
    pub(super) fn parse(packet: &'a [u8]) -> Result<Self, SftpError> {
        let mut rest = Fields(packet);
        Ok(Self {
            kind: rest.read_u8()?,
            id: rest.read_u32()?,
            rest,
        })
    }

    /// Parses the rest of the request.
    pub(super) fn parse_request(self) -> Result<Request<'a>, SftpError> {
        let mut rest = self.rest;
        // The packet types of draft-ietf-secsh-filexfer-02, section 3.
        Ok(match self.kind {
            1 => Request::Init,
            3 => Request::Open {
                path: rest.read_string()?,
                flags: OpenFlags::from_bits_truncate(rest.read_u32()?),
                attributes: rest.read_attributes()?,
            },
            4 => Request::Close {
                handle: rest.read_text()?,
            },
            5 => Request::Read {
                handle: rest.read_text()?,
                offset: rest.read_u64()?,
                length: rest.read_u32()?,
            },
            6 => Request::Write {
                handle: rest.read_text()?,
                offset: rest.read_u64()?,
                data: rest.read_string()?,
            },
            7 => Request::Stat {
                path: rest.read_string()?,
                follow: false,
            },
            8 => Request::StatHandle {
                handle: rest.read_text()?,
            },
            9 => Request::SetAttributes {
                path: rest.read_string()?,
                attributes: rest.read_attributes()?,
            },
            10 => Request::SetHandleAttributes {
                handle: rest.read_text()?,
                attributes: rest.read_attributes()?,
            },
            11 => Request::OpenDirectory {
                path: rest.read_string()?,
            },
            12 => Request::ReadDirectory {
                handle: rest.read_text()?,
            },
            13 => Request::Remove {
                path: rest.read_string()?,
            },
            14 => Request::MakeDirectory {
                path: rest.read_string()?,
                attributes: rest.read_attributes()?,
            },
            15 => Request::RemoveDirectory {
                path: rest.read_string()?,
            },
            16 => Request::RealPath {
                path: rest.read_string()?,
            },
            17 => Request::Stat {
                path: rest.read_string()?,
                follow: true,
            },
            18 => Request::Rename {
                from: rest.read_string()?,
                to: rest.read_string()?,
            },
            19 => Request::ReadLink {
                path: rest.read_string()?,
            },
            // The draft has the link first. OpenSSH sends the target first, and all clients do the
            // same.
            20 => Request::Link {
                target: rest.read_string()?,
                path: rest.read_string()?,
            },
            200 => Request::Extended {
                name: rest.read_text()?,
                data: rest,
            },
            _ => return Err(SftpError::unsupported("the operation")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_bytes() {
        let packet = b"\x12\0\0\0\x07\0\0\0\x04caf\xe9\0\0\0\x01\xff";
        let head = Head::parse(packet).unwrap();
        assert_eq!(head.id, 7);
        assert!(matches!(
            head.parse_request(),
            Ok(Request::Rename {
                from: b"caf\xe9",
                to: b"\xff"
            })
        ));
    }

    #[test]
    fn requests_without_all_fields_are_refused() {
        for kind in (3..=20).chain([200]) {
            let packet = [kind, 0, 0, 0, 1, 0, 0, 0, 9, b'x'];
            for length in 0..=packet.len() {
                let parsed = Head::parse(&packet[..length]).and_then(Head::parse_request);
                assert!(parsed.is_err(), "{kind} {length}");
            }
        }
    }
}
