//! Resolving host names without a name service. A static binary in an empty root directory has none,
//! not even for `localhost`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Resolves an address, `localhost`, or a name in the file `hosts`.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] for every other name.
pub(crate) fn resolve(host: &str, hosts: &Path) -> io::Result<Vec<IpAddr>> {
    let literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = literal.parse() {
        return Ok(vec![address]);
    }
    let mut found = match std::fs::read(hosts) {
        Ok(table) => find_in_table(&String::from_utf8_lossy(&table), host),
        Err(_) => Vec::new(),
    };
    if found.is_empty() && is_localhost(host) {
        found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{host} is neither an address nor in /etc/hosts: use an address"),
        ));
    }
    Ok(found)
}

/// `localhost` and all names below it are the loopback addresses (RFC 6761 §6.3).
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn find_in_table(table: &str, host: &str) -> Vec<IpAddr> {
    let lines = table
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""));
    lines
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let address = fields.next()?.parse().ok()?;
            fields
                .any(|name| name.eq_ignore_ascii_case(host))
                .then_some(address)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_the_table_are_resolved() {
        let table = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            table.path(),
            "# 9.9.9.9 db\n10.0.0.5 db db.internal # 10.0.0.6 x\nbad db\n",
        )
        .unwrap();
        let resolve = |host| {
            resolve(host, table.path())
                .map(|found| found.iter().map(|a| a.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(resolve("10.1.2.3").unwrap(), ["10.1.2.3"]);
        assert_eq!(resolve("[::1]").unwrap(), ["::1"]);
        assert_eq!(resolve("LocalHost").unwrap(), ["127.0.0.1", "::1"]);
        assert_eq!(resolve("app.localhost.").unwrap(), ["127.0.0.1", "::1"]);
        assert_eq!(resolve("DB").unwrap(), ["10.0.0.5"]);
        assert_eq!(resolve("x").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(super::resolve("localhost", Path::new("/nonexistent")).is_ok());
    }
}
