//! Decides what a request is for, from its head alone.

mod headers;
mod host;

use http::HeaderMap;
use sandbox::SandboxId;

use self::headers::{parse_id_header, parse_port_header};
use self::host::{label_below, parse_label};
use crate::api_error::ApiError;

/// The port that stands for E2B's daemon. Nothing listens on it: the gateway answers itself.
pub(crate) const ENVD_PORT: u16 = 49983;
/// The port that stands for E2B's code interpreter.
pub(crate) const INTERPRETER_PORT: u16 = 49999;

/// Names the sandbox.
pub(crate) const SANDBOX_ID: &str = "e2b-sandbox-id";
/// The token of a sandbox.
pub(crate) const ACCESS_TOKEN: &str = "x-access-token";
/// Names its port.
pub(crate) const SANDBOX_PORT: &str = "e2b-sandbox-port";

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// The REST API.
    Control,
    /// The daemon of a sandbox.
    Envd(SandboxRef),
    /// The code interpreter of a sandbox.
    Interpreter(SandboxRef),
    /// Any other port of a sandbox.
    Port(SandboxRef),
    /// Whether the gateway itself is alive.
    Liveness,
    /// The page for people.
    Page,
    /// Nothing.
    Unknown,
}

/// The sandbox that a request names. Whether it exists, and whether the caller may use it, is not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SandboxRef {
    /// Its id. `None` is possible for [`Route::Envd`] only: the signature of a signed URL says which sandbox it is for.
    pub(crate) id: Option<SandboxId>,
    /// The port inside.
    pub(crate) port: u16,
    /// Where the request names it.
    pub(crate) named_by: NamedBy,
}

/// Where a request names its sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamedBy {
    /// The host `{port}-{id}.{domain}`: from a browser, possibly, so cookies are of this host.
    Host,
    /// The headers `E2b-Sandbox-Id` and `E2b-Sandbox-Port`: from a program.
    Headers,
    /// Nothing: the URL is signed, or the request is invalid.
    Nothing,
}

/// Decides what a request is for. The host of a sandbox decides before anything else, so that a page which a sandbox
/// serves reaches only that sandbox, whatever paths and headers it requests.
///
/// `host` is the authority of the request: `Host`, or `:authority` in HTTP/2. `domain` is the one whose labels are sandboxes.
pub(crate) fn route(
    path: &str,
    headers: &HeaderMap,
    host: Option<&str>,
    domain: Option<&str>,
) -> Result<Route, ApiError> {
    if let (Some(host), Some(domain)) = (host, domain)
        && let Some(label) = label_below(host, domain)?
    {
        let (port, id) = parse_label(label)?;
        let target = SandboxRef {
            id: Some(id),
            port,
            named_by: NamedBy::Host,
        };
        return Ok(match port {
            ENVD_PORT => Route::Envd(target),
            INTERPRETER_PORT => Route::Interpreter(target),
            _other_port => Route::Port(target),
        });
    }
    let port = parse_port_header(headers)?;
    if let Some(port) = port.filter(|port| *port != ENVD_PORT) {
        let id = parse_id_header(headers)?.ok_or_else(|| {
            ApiError::bad_request("the header E2b-Sandbox-Port needs E2b-Sandbox-Id; send both")
        })?;
        let target = SandboxRef {
            id: Some(id),
            port,
            named_by: NamedBy::Headers,
        };
        return Ok(match port {
            INTERPRETER_PORT => Route::Interpreter(target),
            _other_port => Route::Port(target),
        });
    }
    // Old SDKs send the headers of a sandbox to the REST API, too.
    if is_control(path) {
        return Ok(Route::Control);
    }
    // The oldest ones send only its token.
    let names_sandbox = headers.contains_key(SANDBOX_ID) || headers.contains_key(ACCESS_TOKEN);
    if is_envd(path) || (path == "/health" && names_sandbox) {
        let id = parse_id_header(headers)?;
        let named_by = if id.is_some() {
            NamedBy::Headers
        } else {
            NamedBy::Nothing
        };
        return Ok(Route::Envd(SandboxRef {
            id,
            port: ENVD_PORT,
            named_by,
        }));
    }
    Ok(match path {
        "/health" => Route::Liveness,
        "/" => Route::Page,
        other if other == "/ui" || other.starts_with("/ui/") => Route::Page,
        _other_path => Route::Unknown,
    })
}

/// The first segments of the paths of the REST API.
const CONTROL: &[&str] = &[
    "sandboxes",
    "v2",
    "v3",
    "templates",
    "snapshots",
    "volumes",
    "volumecontent",
    "secrets",
    "teams",
    "api-keys",
    "default-templates",
    "nodes",
    "access-tokens",
];

fn is_control(path: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|rest| rest.split('/').next())
        .is_some_and(|segment| CONTROL.contains(&segment))
}

fn is_envd(path: &str) -> bool {
    matches!(path, "/files" | "/files/compose" | "/envs" | "/metrics")
        || path.starts_with("/process.Process/")
        || path.starts_with("/filesystem.Filesystem/")
}

/// Digits only: no sign, no spaces.
fn parse_port(text: &str) -> Option<u16> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_digits && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    type Headers<'a> = &'a [(&'a str, &'a str)];

    const ID: &str = "k3v9q2xw7dabcdefghij";

    fn decide(
        path: &str,
        headers: Headers<'_>,
        host: &str,
        domain: Option<&str>,
    ) -> Result<Route, ApiError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        route(path, &map, Some(host), domain)
    }

    fn target(id: Option<&str>, port: u16, named_by: NamedBy) -> SandboxRef {
        SandboxRef {
            id: id.map(|id| id.parse().unwrap()),
            port,
            named_by,
        }
    }

    #[test]
    fn paths_and_headers_of_one_port() {
        let by_headers = |port| target(Some(ID), port, NamedBy::Headers);
        let unnamed = || target(None, ENVD_PORT, NamedBy::Nothing);
        let envd_headers: Headers<'_> = &[("E2b-Sandbox-Id", ID), ("E2b-Sandbox-Port", "49983")];
        let port_headers: Headers<'_> = &[("e2b-sandbox-id", ID), ("e2b-sandbox-port", "8000")];
        let run_headers: Headers<'_> = &[("e2b-sandbox-id", ID), ("e2b-sandbox-port", "49999")];
        let cases: &[(&str, Headers<'_>, Route)] = &[
            ("/sandboxes", &[], Route::Control),
            ("/sandboxes/abc/connect", envd_headers, Route::Control),
            ("/v2/sandboxes", &[], Route::Control),
            ("/v3/templates", &[], Route::Control),
            ("/templates/a%2Fb", &[], Route::Control),
            ("/volumecontent/x/dir", &[], Route::Control),
            ("/sandboxesx", &[], Route::Unknown),
            ("//sandboxes", &[], Route::Unknown),
            ("/files", envd_headers, Route::Envd(by_headers(ENVD_PORT))),
            ("/files", &[], Route::Envd(unnamed())),
            (
                "/files/compose",
                envd_headers,
                Route::Envd(by_headers(ENVD_PORT)),
            ),
            ("/filesx", envd_headers, Route::Unknown),
            (
                "/filesystem.Filesystem/Stat",
                envd_headers,
                Route::Envd(by_headers(ENVD_PORT)),
            ),
            (
                "/process.Process/Start",
                envd_headers,
                Route::Envd(by_headers(ENVD_PORT)),
            ),
            (
                "/process.Process/Start",
                &[("e2b-sandbox-id", ID)],
                Route::Envd(by_headers(ENVD_PORT)),
            ),
            ("/metrics", envd_headers, Route::Envd(by_headers(ENVD_PORT))),
            ("/envs", envd_headers, Route::Envd(by_headers(ENVD_PORT))),
            ("/health", envd_headers, Route::Envd(by_headers(ENVD_PORT))),
            ("/health", &[], Route::Liveness),
            (
                "/health",
                run_headers,
                Route::Interpreter(by_headers(49999)),
            ),
            (
                "/execute",
                run_headers,
                Route::Interpreter(by_headers(49999)),
            ),
            ("/sandboxes", port_headers, Route::Port(by_headers(8000))),
            ("/", port_headers, Route::Port(by_headers(8000))),
            ("/", &[], Route::Page),
            ("/ui/app.js", &[], Route::Page),
            ("/uix", &[], Route::Unknown),
            ("/init", envd_headers, Route::Unknown),
            ("/freeze", envd_headers, Route::Unknown),
        ];
        for (path, headers, expected) in cases {
            for domain in [None, Some("sbx.test")] {
                let found = decide(path, headers, "127.0.0.1:3000", domain).unwrap();
                assert_eq!(&found, expected, "{path} {headers:?} {domain:?}");
            }
        }
    }

    #[test]
    fn the_host_decides_before_path_and_headers() {
        let domain = Some("sbx.test:8443");
        let by_host = |id, port| target(Some(id), port, NamedBy::Host);
        let other: Headers<'_> = &[("e2b-sandbox-id", "other"), ("e2b-sandbox-port", "1")];
        let host = format!("8000-{ID}.sbx.test:8443");
        for path in ["/", "/sandboxes", "/files", "/health", "/ui/x"] {
            let expected = Route::Port(by_host(ID, 8000));
            assert_eq!(
                decide(path, other, &host, domain).unwrap(),
                expected,
                "{path}"
            );
        }
        let cases = [
            (
                format!("49983-{ID}.sbx.test"),
                Route::Envd(by_host(ID, ENVD_PORT)),
            ),
            (
                format!("49999-{ID}.SBX.test."),
                Route::Interpreter(by_host(ID, 49999)),
            ),
            (
                "80-sbx-n16yneacer.sbx.test".to_owned(),
                Route::Port(by_host("sbx-n16yneacer", 80)),
            ),
            ("api.sbx.test".to_owned(), Route::Control),
            ("sandbox.sbx.test".to_owned(), Route::Control),
            ("sbx.test".to_owned(), Route::Control),
            ("xsbx.test".to_owned(), Route::Control),
            (format!("a.8000-{ID}.sbx.test"), Route::Control),
            (format!("8000-{ID}.other.test"), Route::Control),
            ("[::1]:3000".to_owned(), Route::Control),
        ];
        for (host, expected) in cases {
            assert_eq!(
                decide("/sandboxes", &[], &host, domain).unwrap(),
                expected,
                "{host}"
            );
        }
        // Without a domain no host is that of a sandbox.
        assert_eq!(
            decide("/sandboxes", &[], &host, None).unwrap(),
            Route::Control
        );
    }

    #[test]
    fn what_is_ambiguous_or_malformed_is_refused() {
        let cases: &[(Headers<'_>, &str)] = &[
            (&[("e2b-sandbox-port", "8000")], "127.0.0.1"),
            (
                &[("e2b-sandbox-id", ID), ("e2b-sandbox-port", "0")],
                "127.0.0.1",
            ),
            (
                &[("e2b-sandbox-id", ID), ("e2b-sandbox-port", "+80")],
                "127.0.0.1",
            ),
            (
                &[("e2b-sandbox-id", ID), ("e2b-sandbox-port", "65536")],
                "127.0.0.1",
            ),
            (
                &[("e2b-sandbox-id", ID), ("e2b-sandbox-port", "")],
                "127.0.0.1",
            ),
            (
                &[("e2b-sandbox-id", "../x"), ("e2b-sandbox-port", "80")],
                "127.0.0.1",
            ),
            (&[("e2b-sandbox-id", "UPPER")], "127.0.0.1"),
            (
                &[("e2b-sandbox-id", ID), ("e2b-sandbox-id", "other")],
                "127.0.0.1",
            ),
            (
                &[
                    ("e2b-sandbox-id", ID),
                    ("e2b-sandbox-port", "80"),
                    ("e2b-sandbox-port", "81"),
                ],
                "127.0.0.1",
            ),
            (&[], "70000-abc.sbx.test"),
            (&[], "0-abc.sbx.test"),
            (&[], "80-.sbx.test"),
            (&[], "80-9abc.sbx.test"),
            (&[], "user@80-abc.sbx.test"),
            (&[], "80-abc.sbx.test/x"),
        ];
        for (headers, host) in cases {
            let refused = decide("/files", headers, host, Some("sbx.test")).unwrap_err();
            assert_eq!(
                refused.status(),
                http::StatusCode::BAD_REQUEST,
                "{headers:?} {host}"
            );
        }
    }
}
