//! SFTP requests (draft-ietf-secsh-filexfer-02), mostly well-formed and with arbitrary content.

use crate::input::Input;

/// The largest number of requests in one case.
const MAX_REQUESTS: usize = 48;
/// The longest request that the server accepts.
const MAX_LENGTH: usize = 256 << 10;

/// Files that exist, that do not exist, and that belong to another user.
const NAMES: [&[u8]; 22] = [
    b"f",
    b"d",
    b"d/g",
    b"l",
    b"link",
    b"new",
    b"other",
    b".",
    b"..",
    b"",
    b"../outside",
    b"../outside/secret",
    b"../outside/new",
    b"d/../../outside/secret",
    b"~",
    b"~/f",
    b"~root/x",
    b"a\0b",
    b"\xff\xfe",
    b"\xef\xbf\xbd",
    b"f/x",
    b"/dev/null",
];

const EXTENSIONS: [&[u8]; 12] = [
    b"posix-rename@openssh.com",
    b"hardlink@openssh.com",
    b"fsync@openssh.com",
    b"lsetstat@openssh.com",
    b"statvfs@openssh.com",
    b"fstatvfs@openssh.com",
    b"limits@openssh.com",
    b"expand-path@openssh.com",
    b"check-file-handle",
    b"check-file-name",
    b"copy-data",
    b"nobody@example.org",
];

/// All bytes that the client sends, in the pieces in which it sends them.
pub(crate) fn request_stream(input: &mut Input) -> Vec<Vec<u8>> {
    let mut pieces = vec![framed(&[1, 0, 0, 0, 3])];
    let mut count = 0;
    while !input.is_empty() && count < MAX_REQUESTS {
        count += 1;
        let bytes = match input.byte() {
            0..=223 => framed(&request(input, count)),
            224..=239 => framed(&input.take(40)),
            240..=247 => input.take(20),
            // A frame with a false length.
            _ => [&input.number32().to_be_bytes()[..], &request(input, count)].concat(),
        };
        match pieces.last_mut() {
            Some(last) if input.choice(4) > 0 => last.extend(bytes),
            _ => pieces.push(bytes),
        }
    }
    pieces
}

fn request(input: &mut Input, count: usize) -> Vec<u8> {
    let kind = [
        3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 200, 200, 1,
    ][usize::from(input.choice(22))];
    let id = u32::try_from(count).unwrap().to_be_bytes();
    let body = match kind {
        1 => return [1, 0, 0, 0, input.byte()].to_vec(),
        // SSH_FXP_OPEN: name, flags, attributes.
        3 => [
            name(input),
            u32::from(input.byte()).to_be_bytes().to_vec(),
            attributes(input),
        ]
        .concat(),
        4 | 8 | 12 => handle(input),
        5 => [
            &handle(input)[..],
            &offset(input).to_be_bytes(),
            &input.number32().to_be_bytes(),
        ]
        .concat(),
        6 => [
            &handle(input)[..],
            &offset(input).to_be_bytes(),
            &string(&input.text()),
        ]
        .concat(),
        // SSH_FXP_FSETSTAT.
        10 => [handle(input), attributes(input)].concat(),
        // SSH_FXP_SETSTAT, SSH_FXP_MKDIR.
        9 | 14 => [name(input), attributes(input)].concat(),
        // SSH_FXP_RENAME, SSH_FXP_SYMLINK.
        18 | 20 => [name(input), name(input)].concat(),
        200 => extended(input),
        // The other requests have only a name.
        _ => name(input),
    };
    [&[kind][..], &id, &body].concat()
}

fn extended(input: &mut Input) -> Vec<u8> {
    let which = usize::from(input.choice(12));
    let body = match which {
        0 | 1 => [name(input), name(input)].concat(),
        2 | 5 => handle(input),
        3 => [name(input), attributes(input)].concat(),
        4 | 7 => name(input),
        8 | 9 => {
            let file = if which == 8 {
                handle(input)
            } else {
                name(input)
            };
            let algorithms: &[u8] = if input.choice(8) == 7 {
                b"md5"
            } else {
                b"md5,sha256"
            };
            let start = offset(input).to_be_bytes();
            let length = offset(input).to_be_bytes();
            [
                &file[..],
                &string(algorithms),
                &start,
                &length,
                &input.number32().to_be_bytes(),
            ]
            .concat()
        }
        _ => input.take(24),
    };
    [string(EXTENSIONS[which]), body].concat()
}

/// The server numbers its handles.
fn handle(input: &mut Input) -> Vec<u8> {
    match input.choice(16) {
        15 => string(&input.text()),
        number => string(format!("{:x}", number % 5).as_bytes()),
    }
}

fn name(input: &mut Input) -> Vec<u8> {
    match input.byte() {
        0..=159 => string(NAMES[usize::from(input.choice(8))]),
        160..=239 => string(NAMES[usize::from(input.choice(22))]),
        _ => string(&input.text()),
    }
}

/// An offset that is mostly within a small file, because a large file takes time without any use.
fn offset(input: &mut Input) -> u64 {
    match input.choice(8) {
        7 => input.number(),
        _ => u64::from(input.byte()),
    }
}

fn attributes(input: &mut Input) -> Vec<u8> {
    let flags = input.byte();
    let mut all = u32::from(flags & 0b1111).to_be_bytes().to_vec();
    if flags & 1 != 0 {
        all.extend(offset(input).to_be_bytes());
    }
    if flags & 2 != 0 {
        all.extend(
            [
                input.number32().to_be_bytes(),
                input.number32().to_be_bytes(),
            ]
            .concat(),
        );
    }
    if flags & 4 != 0 {
        all.extend([0, 0, input.byte(), input.byte()]);
    }
    if flags & 8 != 0 {
        all.extend(
            [
                input.number32().to_be_bytes(),
                input.number32().to_be_bytes(),
            ]
            .concat(),
        );
    }
    if flags & 0b1_0000 != 0 {
        // With unknown flags, or truncated.
        all.truncate(usize::from(input.byte()) % (all.len() + 1));
        all.extend(input.take(12));
    }
    all
}

fn string(bytes: &[u8]) -> Vec<u8> {
    framed(bytes)
}

/// The bytes after their length.
fn framed(bytes: &[u8]) -> Vec<u8> {
    [
        &u32::try_from(bytes.len()).unwrap().to_be_bytes()[..],
        bytes,
    ]
    .concat()
}

/// Packets in a stream of bytes.
pub(crate) struct Frames<'a> {
    rest: &'a [u8],
    max_length: usize,
}

impl<'a> Frames<'a> {
    /// The requests that the server can read: it gives up at one that is too long.
    pub(crate) fn of_requests(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            max_length: MAX_LENGTH,
        }
    }

    /// The responses, of any length.
    pub(crate) fn of_responses(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            max_length: usize::MAX,
        }
    }

    /// Whether all bytes were read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
        if length > self.max_length {
            return None;
        }
        let (frame, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(frame)
    }
}
