//! The first message of TLS, as far as it says whom the client wants to reach (RFC 8446 §4.1.2, RFC 6066 §3).

/// What a ClientHello says about the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientHello {
    pub(super) server_name: Option<String>,
    /// It has the extension of Encrypted Client Hello: another name may be encrypted in it (RFC 9849).
    pub(super) may_be_encrypted: bool,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FirstBytes {
    /// The beginning of a ClientHello.
    Incomplete,
    Hello(ClientHello),
    NotTls,
    /// TLS, but no usual ClientHello.
    Malformed,
}

/// The longest ClientHello that is read, with the headers of its records. Those of browsers have less than 3 KiB.
pub(super) const MAX_HELLO: usize = 32 * 1024;

/// The most records that one is spread over. All of them are joined again each time that more arrives.
const MAX_RECORDS: usize = 256;

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const MAX_RECORD: usize = 1 << 14;
const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// Reads the first bytes of a connection.
pub(super) fn read_first_bytes(bytes: &[u8]) -> FirstBytes {
    match bytes.first() {
        None => return FirstBytes::Incomplete,
        Some(&HANDSHAKE_RECORD) => {}
        Some(_) => return FirstBytes::NotTls,
    }
    match join_records(bytes) {
        Some(message) => match read_message(&message) {
            Some(Some(hello)) => FirstBytes::Hello(hello),
            Some(None) if bytes.len() < MAX_HELLO => FirstBytes::Incomplete,
            Some(None) | None => FirstBytes::Malformed,
        },
        None => FirstBytes::Malformed,
    }
}

/// Joins the contents of the records, as far as they have arrived; a message may be spread over many.
fn join_records(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let mut rest = bytes;
    let mut count = 0;
    while let [kind, major, _minor, high, low, content @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        count += 1;
        let is_usual =
            *kind == HANDSHAKE_RECORD && *major == 3 && (1..=MAX_RECORD).contains(&length);
        if !is_usual || count > MAX_RECORDS {
            // Once the ClientHello is complete, other records may follow: early data, for example.
            return is_complete(&message).then_some(message);
        }
        let available = content.len().min(length);
        message.extend_from_slice(&content[..available]);
        rest = &content[available..];
    }
    // The header of a record may be incomplete, but not wrong.
    let is_expected = matches!(rest, [] | [HANDSHAKE_RECORD] | [HANDSHAKE_RECORD, 3, ..]);
    (is_expected || is_complete(&message)).then_some(message)
}

fn is_complete(message: &[u8]) -> bool {
    matches!(read_message(message), Some(Some(_)))
}

/// Reads a message: `None` if it is no usual ClientHello, `Some(None)` if it is incomplete.
fn read_message(message: &[u8]) -> Option<Option<ClientHello>> {
    match message {
        [] => Some(None),
        [CLIENT_HELLO, rest @ ..] => {
            let [a, b, c, body @ ..] = rest else {
                return Some(None);
            };
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if length > MAX_HELLO {
                return None;
            }
            match body.get(..length) {
                Some(body) => read_body(body).map(Some),
                None => Some(None),
            }
        }
        [..] => None,
    }
}

fn read_body(body: &[u8]) -> Option<ClientHello> {
    let mut fields = Fields(body);
    fields.take(2 + 32)?; // the version and the random bytes
    let session = fields.take_sized(1)?;
    let ciphers = fields.take_sized(2)?;
    let compressions = fields.take_sized(1)?;
    if session.len() > 32 || ciphers.len() < 2 || compressions.is_empty() {
        return None;
    }
    let mut hello = ClientHello {
        server_name: None,
        may_be_encrypted: false,
    };
    if fields.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = Fields(fields.take_sized(2)?);
    if !fields.0.is_empty() {
        return None;
    }
    while !extensions.0.is_empty() {
        let kind = extensions.take(2)?;
        let content = extensions.take_sized(2)?;
        match u16::from_be_bytes([kind[0], kind[1]]) {
            // Servers differ in which one of two they take.
            SERVER_NAME if hello.server_name.is_some() => return None,
            SERVER_NAME => hello.server_name = Some(read_server_name(content)?),
            ENCRYPTED_CLIENT_HELLO => hello.may_be_encrypted = true,
            _other => {}
        }
    }
    Some(hello)
}

/// Reads a list of exactly one name.
fn read_server_name(content: &[u8]) -> Option<String> {
    let mut fields = Fields(content);
    let mut list = Fields(fields.take_sized(2)?);
    let kind = list.take(1)?;
    let name = list.take_sized(2)?;
    if kind != [0] || name.is_empty() || !list.0.is_empty() || !fields.0.is_empty() {
        return None;
    }
    String::from_utf8(name.to_vec()).ok()
}

/// The rest of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes a field that begins with its length, in one or two bytes.
    fn take_sized(&mut self, bytes_of_length: usize) -> Option<&'a [u8]> {
        let length = self.take(bytes_of_length)?;
        let length = length
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        self.take(length)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes a ClientHello with these extensions.
    fn write_hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        let mut all = Vec::new();
        for (kind, content) in extensions {
            all.extend(kind.to_be_bytes());
            all.extend((content.len() as u16).to_be_bytes());
            all.extend(content);
        }
        body.extend((all.len() as u16).to_be_bytes());
        body.extend(all);
        let mut message = vec![CLIENT_HELLO, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        message
    }

    fn write_name(names: &[&str]) -> (u16, Vec<u8>) {
        let mut list = Vec::new();
        for name in names {
            list.push(0);
            list.extend((name.len() as u16).to_be_bytes());
            list.extend(name.as_bytes());
        }
        let mut content = (list.len() as u16).to_be_bytes().to_vec();
        content.extend(list);
        (SERVER_NAME, content)
    }

    /// Writes records with at most this much content each.
    fn write_records(message: &[u8], size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in message.chunks(size) {
            bytes.extend([HANDSHAKE_RECORD, 3, 1]);
            bytes.extend((part.len() as u16).to_be_bytes());
            bytes.extend(part);
        }
        bytes
    }

    fn name_of(first: FirstBytes) -> Option<String> {
        match first {
            FirstBytes::Hello(hello) => hello.server_name,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_name_is_found_however_the_message_is_spread() {
        let message = write_hello(&[(10, vec![0, 1]), write_name(&["a.example"])]);
        for size in [1, 2, 7, 1000] {
            let bytes = write_records(&message, size);
            for end in 0..bytes.len() {
                assert_eq!(
                    read_first_bytes(&bytes[..end]),
                    FirstBytes::Incomplete,
                    "{size} {end}"
                );
            }
            assert_eq!(
                name_of(read_first_bytes(&bytes)).as_deref(),
                Some("a.example")
            );
            let more = [&bytes[..], &[20, 3, 3, 0, 1, 1]].concat();
            assert_eq!(
                name_of(read_first_bytes(&more)).as_deref(),
                Some("a.example")
            );
        }
    }

    #[test]
    fn a_hello_may_lack_a_name_and_may_be_encrypted() {
        let first = read_first_bytes(&write_records(&write_hello(&[]), 1000));
        assert_eq!(name_of(first), None);
        let hello = write_hello(&[
            write_name(&["outer.example"]),
            (ENCRYPTED_CLIENT_HELLO, vec![0; 9]),
        ]);
        let FirstBytes::Hello(hello) = read_first_bytes(&write_records(&hello, 1000)) else {
            panic!("no hello");
        };
        assert!(hello.may_be_encrypted);
    }

    #[test]
    fn unusual_messages_are_refused() {
        for extensions in [
            vec![write_name(&["a.example"]), write_name(&["b.example"])],
            vec![write_name(&["a.example", "b.example"])],
            vec![write_name(&[])],
            vec![write_name(&[""])],
            vec![(SERVER_NAME, vec![0, 9, 0, 0, 1, b'a'])],
            vec![(SERVER_NAME, vec![])],
        ] {
            let bytes = write_records(&write_hello(&extensions), 1000);
            assert_eq!(
                read_first_bytes(&bytes),
                FirstBytes::Malformed,
                "{extensions:?}"
            );
        }
        for bytes in [
            &[22, 2, 0, 0, 5][..],
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0xff, 0xff],
            &[22, 3, 1, 0, 4, 2, 0, 0, 0],
            &[22, 3, 1, 0, 4, 1, 0xff, 0, 0],
            &[22, 3, 1, 0, 1, 1, 23, 3, 3, 0, 1],
            &[22, 9],
        ] {
            assert_eq!(read_first_bytes(bytes), FirstBytes::Malformed, "{bytes:?}");
        }
        assert_eq!(read_first_bytes(b"SSH-2.0-"), FirstBytes::NotTls);
        let endless = write_records(
            &[&[CLIENT_HELLO, 0, 0x7f, 0xff][..], &vec![0; MAX_HELLO]].concat(),
            1,
        );
        assert_eq!(
            read_first_bytes(&endless[..MAX_HELLO]),
            FirstBytes::Malformed
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            read_first_bytes(&bytes);
            read_first_bytes(&write_records(&[&[CLIENT_HELLO, 0, 0][..], &bytes].concat(), 50));
        }

        #[test]
        fn a_changed_hello_is_read_without_a_panic(at in 0_usize..80, value: u8) {
            let mut bytes = write_records(&write_hello(&[write_name(&["a.example"])]), 1000);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            read_first_bytes(&bytes);
        }
    }
}
