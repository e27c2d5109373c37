//! Cookies: that of the gateway, which no sandbox sees, and those of sandboxes, which no other host gets.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

/// The cookie that a signed URL is exchanged for. With this prefix a browser accepts it only over HTTPS and for this
/// very host (RFC 6265bis, section 4.1.3.2).
pub(super) const COOKIE_NAME: &str = "__Host-sandbox-preview";

/// Returns the header that sets the gateway's cookie for so many seconds.
pub(super) fn set_cookie(token: &str, seconds: u64) -> Option<HeaderValue> {
    let text =
        format!("{COOKIE_NAME}={token}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax");
    HeaderValue::try_from(text).ok()
}

/// Takes the gateway's cookies out of a request, and returns their values.
pub(super) fn take_cookies(headers: &mut HeaderMap) -> Vec<String> {
    let mut taken = Vec::new();
    let lines: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for line in lines {
        let mut rest: Vec<&[u8]> = Vec::new();
        for pair in line.as_bytes().split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            let end = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = pair.split_at(end.unwrap_or(pair.len()));
            // Browsers compare the prefix without regard to case.
            if name
                .trim_ascii()
                .eq_ignore_ascii_case(COOKIE_NAME.as_bytes())
            {
                let value = value.strip_prefix(b"=").unwrap_or(value);
                taken.extend(String::from_utf8(value.trim_ascii().to_vec()));
            } else if !pair.is_empty() {
                rest.push(pair);
            }
        }
        // Joining what was split from a header value gives a valid one.
        if !rest.is_empty()
            && let Ok(line) = HeaderValue::from_bytes(&rest.join(&b"; "[..]))
        {
            headers.append(COOKIE, line);
        }
    }
    taken
}

/// Confines the cookies that a sandbox sets: they are for its host alone, because other sandboxes are below the same
/// domain, and none of them is the gateway's.
pub(super) fn confine_cookies(headers: &mut HeaderMap) {
    let lines: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    for line in lines {
        let mut parts = line.as_bytes().split(|byte| *byte == b';');
        let pair = parts.next().unwrap_or_default();
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        // A cookie without a name could be read as one with it (RFC 6265bis, section 5.7).
        let is_forged = [
            name,
            pair.trim_ascii().strip_prefix(b"=").unwrap_or_default(),
        ]
        .into_iter()
        .any(|text| {
            let text = text.trim_ascii();
            text.len() >= COOKIE_NAME.len()
                && text[..COOKIE_NAME.len()].eq_ignore_ascii_case(COOKIE_NAME.as_bytes())
        });
        if is_forged {
            continue;
        }
        let mut kept = vec![pair];
        kept.extend(parts.filter(|attribute| {
            let name = attribute.split(|byte| *byte == b'=').next();
            !name
                .unwrap_or_default()
                .trim_ascii()
                .eq_ignore_ascii_case(b"domain")
        }));
        if let Ok(line) = HeaderValue::from_bytes(&kept.join(&b";"[..])) {
            headers.append(SET_COOKIE, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, lines: &[&str]) -> HeaderMap {
        let values = lines.iter().map(|line| line.parse().unwrap());
        values.map(|value| (name.clone(), value)).collect()
    }

    fn lines(headers: &HeaderMap, name: http::HeaderName) -> Vec<&str> {
        let values = headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn the_gateways_cookie_is_taken_out_wherever_it_is() {
        let mut sent = headers(
            COOKIE,
            &[
                "a=1; __Host-sandbox-preview=t1;b=2",
                "__HOST-Sandbox-Preview = t2",
                "c=__Host-sandbox-preview=no; __Host-sandbox-preview2=x",
            ],
        );
        assert_eq!(take_cookies(&mut sent), ["t1", "t2"]);
        assert_eq!(
            lines(&sent, COOKIE),
            [
                "a=1; b=2",
                "c=__Host-sandbox-preview=no; __Host-sandbox-preview2=x"
            ]
        );
    }

    #[test]
    fn a_sandbox_sets_cookies_for_its_own_host_only() {
        let mut set = headers(
            SET_COOKIE,
            &[
                "sid=1; Domain=.sbx.example; Path=/",
                "a=b; dOmain = sbx.example",
                "plain=1; Path=/; HttpOnly",
                "__Host-sandbox-preview=forged; Path=/; Secure",
                "__host-SANDBOX-preview=forged",
                "=__Host-sandbox-preview=forged",
                " __Host-sandbox-preview =forged",
            ],
        );
        confine_cookies(&mut set);
        assert_eq!(
            lines(&set, SET_COOKIE),
            ["sid=1; Path=/", "a=b", "plain=1; Path=/; HttpOnly"]
        );
    }
}
