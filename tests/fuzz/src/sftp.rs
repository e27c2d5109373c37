//! An SFTP server (draft-ietf-secsh-filexfer-02) whose responses the input of a case describes:
//! mostly well-formed with arbitrary content, sometimes malformed.

use sha2::{Digest, Sha256};

use crate::input::Input;

// Packet types.
const INIT: u8 = 1;
const OPEN: u8 = 3;
const READ: u8 = 5;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REALPATH: u8 = 16;
const STAT: u8 = 17;
const READLINK: u8 = 19;
const EXTENDED: u8 = 200;
const VERSION: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;

/// SSH_FX_OK, SSH_FX_EOF.
const OK: u32 = 0;
const EOF: u32 = 1;

const EXTENSIONS: [&str; 7] = [
    "posix-rename@openssh.com",
    "limits@openssh.com",
    "statvfs@openssh.com",
    "hardlink@openssh.com",
    "fsync@openssh.com",
    "lsetstat@openssh.com",
    "check-file",
];
/// The longest range whose hash is correct.
const MAX_HASHED: u64 = 1 << 20;

/// One session.
#[derive(Debug, Default)]
pub(crate) struct Sftp {
    received: Vec<u8>,
    /// The size of every file, if the server sends the true one.
    size: u64,
    is_listed: bool,
}

impl Sftp {
    /// The requests that are complete with these bytes.
    pub(crate) fn complete_requests(&mut self, data: &[u8]) -> Vec<Vec<u8>> {
        self.received.extend_from_slice(data);
        let mut packets = Vec::new();
        while let Some(length) = self
            .received
            .first_chunk::<4>()
            .map(|head| u32::from_be_bytes(*head) as usize)
        {
            if self.received.len() < 4 + length {
                break;
            }
            let rest = self.received.split_off(4 + length);
            packets.push(self.received.split_off(4));
            self.received = rest;
        }
        packets
    }

    /// The response to a request; `None` closes the channel.
    pub(crate) fn respond(&mut self, packet: &[u8], input: &mut Input) -> Option<Vec<u8>> {
        let kind = *packet.first()?;
        let id = packet.get(1..5).unwrap_or(&[0; 4]).to_vec();
        if kind == INIT {
            self.size = input.number() % 200;
            let bits = input.byte();
            if bits & 0x80 != 0 {
                self.size *= 400;
            }
            let mut body = vec![VERSION, 0, 0, 0, 3];
            for (bit, name) in EXTENSIONS
                .iter()
                .enumerate()
                .filter(|(bit, _)| bits & (1 << bit) != 0)
            {
                let version: &[u8] = if bit == 4 { b"x" } else { b"1" };
                body.extend([string(name.as_bytes()), string(version)].concat());
            }
            return Some(framed(&body));
        }
        if input.is_empty() {
            return Some(framed(
                &[
                    &[STATUS][..],
                    &id,
                    &status(if kind == READDIR { EOF } else { 4 }, b""),
                ]
                .concat(),
            ));
        }
        let (reply, body) = match input.byte() {
            0..=223 if kind == EXTENDED && is_hash(packet) => (201, hash(packet, input)),
            0..=223 => self.expected_response(kind, packet, input),
            224..=231 => (STATUS, status(input.number32() % 12, &input.text())),
            232..=239 => (
                [STATUS, HANDLE, DATA, NAME, ATTRS, 201][usize::from(input.choice(6))],
                input.take(60),
            ),
            240..=243 => (input.byte(), input.text()),
            244..=249 => (STATUS, status(input.number32(), &input.text())),
            // A response to another request.
            250..=252 => {
                let other = input.number32().to_be_bytes();
                let body = [&[STATUS][..], &other, &status(OK, b"")].concat();
                return Some(framed(&body));
            }
            // Bytes that are no frame.
            253 | 254 => return Some(input.text()),
            _ => return None,
        };
        Some(framed(&[&[reply][..], &id, &body].concat()))
    }

    /// A response of the expected type.
    fn expected_response(&mut self, kind: u8, packet: &[u8], input: &mut Input) -> (u8, Vec<u8>) {
        match kind {
            OPEN | OPENDIR => {
                self.is_listed = false;
                (
                    HANDLE,
                    string(&if input.choice(8) == 7 {
                        input.text()
                    } else {
                        b"h".to_vec()
                    }),
                )
            }
            LSTAT | FSTAT | STAT => (ATTRS, self.attributes(input)),
            READDIR if std::mem::replace(&mut self.is_listed, input.choice(8) != 7) => {
                (STATUS, status(EOF, b""))
            }
            READDIR => {
                let count = u32::from(input.choice(5));
                let announced = if input.choice(16) == 15 {
                    input.number32()
                } else {
                    count
                };
                let mut body = announced.to_be_bytes().to_vec();
                for _ in 0..count {
                    let name = input.name();
                    body.extend([string(&name), string(b"-"), self.attributes(input)].concat());
                }
                (NAME, body)
            }
            READ => {
                let offset = packet
                    .len()
                    .checked_sub(12)
                    .and_then(|at| packet.get(at..at + 8));
                let offset = offset.map_or(0, |bytes| {
                    u64::from_be_bytes(bytes.try_into().unwrap_or_default())
                });
                let rest = self.size.saturating_sub(offset);
                match input.choice(16) {
                    15 => (DATA, string(&vec![b'x'; usize::from(input.byte()) * 100])),
                    14 => (DATA, string(b"")),
                    _ if rest == 0 => (STATUS, status(EOF, b"")),
                    _ => (
                        DATA,
                        string(&vec![b'x'; usize::try_from(rest).unwrap_or(0)]),
                    ),
                }
            }
            REALPATH | READLINK => {
                let count = if input.choice(16) == 15 {
                    input.number32()
                } else {
                    1
                };
                let mut name = input.name();
                for _ in 0..input.choice(4) {
                    name = [name, b"/".to_vec(), input.name()].concat();
                }
                (
                    NAME,
                    [
                        &count.to_be_bytes()[..],
                        &string(&name),
                        &string(b""),
                        &[0; 4],
                    ]
                    .concat(),
                )
            }
            EXTENDED if input.choice(2) == 1 => {
                let numbers: Vec<u8> = (0..11).flat_map(|_| input.number().to_be_bytes()).collect();
                (201, numbers)
            }
            _ => (STATUS, status(OK, b"")),
        }
    }

    /// Attributes of a small file, a directory, or something else.
    fn attributes(&self, input: &mut Input) -> Vec<u8> {
        let regular = 0o100_644_u32;
        let (size, mode) = match input.byte() {
            0..=99 => (self.size, regular),
            100..=149 => (0, 0o040_755),
            150..=189 => (1, 0o120_777),
            190..=219 => (self.size, regular | 0o7000),
            220..=229 => (input.number(), regular),
            230..=239 => (0, u32::from(input.choice(16)) << 12 | 0o644),
            // No attributes, or unknown flags.
            240..=247 => return vec![0; 4],
            _ => return [&input.number32().to_be_bytes()[..], &input.take(40)].concat(),
        };
        let time = input.number32().to_be_bytes();
        [
            &0b1101_u32.to_be_bytes()[..],
            &size.to_be_bytes(),
            &mode.to_be_bytes(),
            &time,
            &time,
        ]
        .concat()
    }
}

fn is_hash(packet: &[u8]) -> bool {
    packet.get(9..24) == Some(b"check-file-name")
}

/// The hash of a range of equal bytes, or a false one. The request ends with the start and length
/// of the range and the size of a block.
fn hash(packet: &[u8], input: &mut Input) -> Vec<u8> {
    let length = packet
        .len()
        .checked_sub(12)
        .and_then(|at| packet[at..].first_chunk::<8>());
    let length = length
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
        .min(MAX_HASHED);
    let mut hash = match input.choice(8) {
        7 => input.take(40),
        6 => Sha256::digest(input.take(8)).to_vec(),
        _ => Sha256::digest(vec![b'x'; usize::try_from(length).unwrap_or(0)]).to_vec(),
    };
    if input.choice(16) == 15 {
        hash.extend(input.take(4));
    }
    [string(b"check-file"), string(b"sha256"), hash].concat()
}

fn status(code: u32, message: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &string(message), &string(b"")].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    framed(bytes)
}

/// The bytes after their length.
fn framed(bytes: &[u8]) -> Vec<u8> {
    [
        &u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes()[..],
        bytes,
    ]
    .concat()
}
