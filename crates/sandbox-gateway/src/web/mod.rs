//! The page for people: a list of sandboxes, a terminal, logs and files in the browser.
//!
//! It is static and knows nothing. Its scripts use the same API, with the key of the person who looks at it, as any SDK.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, StatusCode};

use crate::api_error::ApiError;
use crate::app::App;

/// Only what this server serves runs, and no other page may frame it. xterm.js writes its own style elements.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; \
                      img-src 'self' data:; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The files of the page: path, type and content.
const FILES: [(&str, &str, &str); 12] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/ui/style.css", CSS, include_str!("page/style.css")),
    ("/ui/main.js", SCRIPT, include_str!("page/main.js")),
    ("/ui/api.js", SCRIPT, include_str!("page/api.js")),
    ("/ui/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/ui/envd.js", SCRIPT, include_str!("page/envd.js")),
    ("/ui/files.js", SCRIPT, include_str!("page/files.js")),
    ("/ui/terminal.js", SCRIPT, include_str!("page/terminal.js")),
    (
        "/ui/vendor/xterm.mjs",
        SCRIPT,
        include_str!("page/vendor/xterm.mjs"),
    ),
    (
        "/ui/vendor/addon-fit.mjs",
        SCRIPT,
        include_str!("page/vendor/addon-fit.mjs"),
    ),
    (
        "/ui/vendor/xterm.css",
        CSS,
        include_str!("page/vendor/xterm.css"),
    ),
    (
        "/ui/vendor/LICENSE.xterm",
        TEXT,
        include_str!("page/vendor/LICENSE.xterm"),
    ),
];

/// Answers a request for the page or one of its files.
pub(crate) async fn handle(app: Arc<App>, request: Request<Body>) -> Response {
    if !app.config.page {
        return ApiError::not_found("this server has no page").into_response();
    }
    serve(request.method(), request.uri().path())
}

fn serve(method: &Method, path: &str) -> Response {
    let Some((_, content_type, content)) = FILES.iter().find(|(name, ..)| *name == path) else {
        return ApiError::not_found("the page has no such file").into_response();
    };
    if !matches!(*method, Method::GET | Method::HEAD) {
        let error = ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "the page can only be read: use GET",
        );
        return ([(ALLOW, HeaderValue::from_static("GET, HEAD"))], error).into_response();
    }
    // hyper leaves out the body for HEAD, and keeps its length.
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        // It belongs to the version of the server, which may be replaced at any time.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, *content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_served_with_its_type_and_policy() {
        for (path, content_type, content) in FILES {
            let response = serve(&Method::GET, path);
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            let headers = response.headers();
            assert_eq!(headers[CONTENT_TYPE], content_type);
            assert_eq!(headers[CONTENT_SECURITY_POLICY], POLICY);
            assert!(!content.is_empty());
        }
    }

    #[test]
    fn nothing_else_is_served() {
        for path in [
            "/ui",
            "/ui/",
            "/ui/../Cargo.toml",
            "/ui/vendor/",
            "/UI/main.js",
        ] {
            assert_eq!(
                serve(&Method::GET, path).status(),
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
        let refused = serve(&Method::POST, "/");
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(refused.headers()[ALLOW], "GET, HEAD");
    }

    #[test]
    fn the_page_names_only_files_that_exist() {
        let is_file = |name: &str| FILES.iter().any(|(path, ..)| *path == name);
        let page = include_str!("page/index.html");
        let named: Vec<_> = page
            .split(['"', '\''])
            .filter(|text| text.starts_with("/ui/"))
            .collect();
        assert_eq!(named.len(), 3, "{named:?}");
        assert!(named.iter().all(|name| is_file(name)), "{named:?}");
        for (path, content_type, content) in FILES {
            if content_type != SCRIPT || path.contains("/vendor/") {
                continue;
            }
            for import in content.split("from \"./").skip(1) {
                let name = import.split('"').next().unwrap();
                assert!(is_file(&format!("/ui/{name}")), "{path} imports {name}");
            }
        }
    }

    #[test]
    fn the_scripts_make_no_markup_of_text() {
        for (path, content_type, content) in FILES {
            if content_type == SCRIPT && !path.contains("/vendor/") {
                for unsafe_use in [
                    "innerHTML",
                    "outerHTML",
                    "insertAdjacentHTML",
                    "document.write",
                    "eval(",
                ] {
                    assert!(!content.contains(unsafe_use), "{path}: {unsafe_use}");
                }
            }
        }
    }
}
