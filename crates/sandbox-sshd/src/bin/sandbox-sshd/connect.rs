//! A connection through the sandbox's way out, on standard input and output: a ProxyCommand for ssh, which knows no proxies.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, Shutdown, TcpStream};
use std::thread;

use sandbox_core::Escaped;

/// The variables that may name the proxy, the most specific one first.
const VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// The longest head of the proxy's response, and the most of its reason that is printed, in bytes.
const MAX_HEAD: usize = 32 << 10;
const MAX_REASON: u64 = 4 << 10;
/// How much is copied at once, in bytes.
const BUFFER: usize = 32 << 10;

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Connects standard input and output to the target, until the other side has ended.
///
/// # Errors
///
/// A message with what the proxy says.
pub(crate) fn connect(target: &Target) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot connect to {}: {error}", target.authority());
    let stream = open(target)?;
    let mut writer = stream.try_clone().map_err(failed)?;
    // This thread may wait for input for ever. It ends with the process.
    thread::spawn(move || {
        let copied = copy(&mut io::stdin().lock(), &mut writer);
        // The other side may have closed the connection already.
        drop(copied.and_then(|()| writer.shutdown(Shutdown::Write)));
    });
    copy(&mut &stream, &mut io::stdout().lock()).map_err(failed)
}

impl Target {
    /// The host and the port as in a request (RFC 9110 §7.2).
    fn authority(&self) -> String {
        match self.host.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]:{}", self.port),
            Err(_name) => format!("{}:{}", self.host, self.port),
        }
    }

    fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

/// Opens the connection, through the proxy unless it leads to the sandbox itself.
fn open(target: &Target) -> Result<TcpStream, String> {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if target.host.is_empty() || !target.host.bytes().all(is_usual) {
        return Err(format!("{:?} is no name of a host", target.host));
    }
    let authority = target.authority();
    if target.is_loopback() {
        return TcpStream::connect((target.host.as_str(), target.port))
            .map_err(|error| format!("cannot connect to {authority}: {error}"));
    }
    let Some(proxy) = VARIABLES.iter().find_map(|name| std::env::var(name).ok()) else {
        return Err(format!(
            "cannot connect to {authority}: there is no way out; HTTPS_PROXY is not set"
        ));
    };
    let address = proxy
        .strip_prefix("http://")
        .unwrap_or(&proxy)
        .trim_end_matches('/');
    let through = |error: io::Error| {
        format!("cannot connect to {authority} through the proxy at {address}: {error}")
    };
    let mut stream = TcpStream::connect(address).map_err(through)?;
    write!(
        stream,
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"
    )
    .map_err(through)?;
    let head = read_head(&mut stream).map_err(through)?;
    let mut words = head.split(' ');
    let is_http = words
        .next()
        .is_some_and(|version| version.starts_with("HTTP/1."));
    if is_http && words.next() == Some("200") {
        return Ok(stream);
    }
    // What is refused is explained in the body, on several lines.
    let mut reason = Vec::new();
    let mut body = stream.take(content_length(&head).min(MAX_REASON));
    let text = match body.read_to_end(&mut reason) {
        Ok(1..) => String::from_utf8_lossy(&reason),
        Ok(0) | Err(_) => head.lines().next().unwrap_or_default().into(),
    };
    let lines: Vec<String> = text
        .lines()
        .map(|line| Escaped::new(line).to_string())
        .collect();
    Err(lines.join("; "))
}

/// Reads up to the empty line, and nothing behind it.
fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return Err(io::Error::other("the head of its response is too long"));
        }
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    String::from_utf8(head).map_err(io::Error::other)
}

fn content_length(head: &str) -> u64 {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

/// Copies, and writes each piece at once.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return to.flush(),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&buffer[..read])?;
        to.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_written_as_in_a_request() {
        for (host, authority, is_loopback) in [
            ("git.example", "git.example:22", false),
            ("2001:db8::1", "[2001:db8::1]:22", false),
            ("127.0.0.1", "127.0.0.1:22", true),
            ("::1", "[::1]:22", true),
            ("localhost", "localhost:22", true),
        ] {
            let target = Target {
                host: host.into(),
                port: 22,
            };
            assert_eq!(
                (target.authority().as_str(), target.is_loopback()),
                (authority, is_loopback)
            );
        }
        for host in ["", "a b", "a\r\nX: y", "-a\u{1b}"] {
            let target = Target {
                host: host.into(),
                port: 22,
            };
            assert!(open(&target).unwrap_err().contains("no name of a host"));
        }
        assert_eq!(
            content_length("HTTP/1.1 403 No\r\nContent-Length: 12\r\n\r\n"),
            12
        );
    }
}
