//! The sandbox and the port that a host names: `{port}-{id}.{domain}`.

use http::uri::Authority;
use sandbox::SandboxId;

use super::parse_port;
use crate::api_error::ApiError;

/// The one label in front of the domain, if it can be that of a sandbox: digits, then a dash. Labels such as `api` are not.
pub(super) fn label_below<'a>(host: &'a str, domain: &str) -> Result<Option<&'a str>, ApiError> {
    // Only to refuse what is no authority at all, such as one with user information.
    let is_valid = host.parse::<Authority>().is_ok() && !host.contains('@');
    if !is_valid {
        return Err(ApiError::bad_request("the header Host is invalid"));
    }
    let name = strip_port(host);
    let domain = strip_port(domain);
    let name = name.strip_suffix('.').unwrap_or(name);
    let Some(split) = name.len().checked_sub(domain.len()) else {
        return Ok(None);
    };
    // `get` is `None` inside a character; a valid authority has none of several bytes.
    let (Some(front), Some(end)) = (name.get(..split), name.get(split..)) else {
        return Ok(None);
    };
    if !end.eq_ignore_ascii_case(domain) {
        return Ok(None);
    }
    let Some(label) = front.strip_suffix('.') else {
        return Ok(None);
    };
    let starts_with_port = label.split_once('-').is_some_and(|(port, _)| {
        !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
    });
    Ok(Some(label).filter(|_| starts_with_port))
}

/// A host without its port. The port of an IPv6 address is left, because no domain looks like that.
fn strip_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// Splits `{port}-{id}` at the first dash. Hosts are compared without case.
pub(super) fn parse_label(label: &str) -> Result<(u16, SandboxId), ApiError> {
    let label = label.to_ascii_lowercase();
    let parsed = label
        .split_once('-')
        .and_then(|(port, id)| Some((parse_port(port)?, id.parse().ok()?)));
    parsed.ok_or_else(|| {
        ApiError::bad_request("the host names no port and sandbox; it must be {port}-{id}.{domain}")
    })
}
