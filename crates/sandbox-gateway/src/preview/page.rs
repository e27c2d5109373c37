//! Responses of the gateway itself on the address of a port: a page for people, JSON for programs.

use axum::Json;
use axum::response::{Html, IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::json;

/// A response without anything of a sandbox in it.
pub(super) struct Problem<'a> {
    pub(super) status: StatusCode,
    pub(super) sandbox: &'a str,
    pub(super) port: Option<u16>,
    /// The text that E2B's clients look for.
    pub(super) message: &'a str,
    /// What a person can do about it.
    pub(super) remedy: &'a str,
}

impl Problem<'_> {
    /// Returns the response, as a page if a person has opened the address in a browser.
    pub(super) fn respond(&self, is_for_people: bool) -> Response {
        let mut response = if is_for_people {
            (self.status, Html(self.html())).into_response()
        } else {
            let mut body = json!({
                "sandboxId": self.sandbox,
                "message": self.message,
                "code": self.status.as_u16(),
            });
            if let (Some(port), Some(object)) = (self.port, body.as_object_mut()) {
                object.insert("port".to_owned(), json!(port));
            }
            (self.status, Json(body)).into_response()
        };
        let headers = response.headers_mut();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(
                RETRY_AFTER,
                HeaderValue::from(crate::api_error::RETRY_AFTER),
            );
        }
        // The next request may succeed, and the page runs nothing.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            ),
        );
        response
    }

    fn html(&self) -> String {
        let port = self
            .port
            .map_or_else(String::new, |port| format!(", port {port}"));
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{status}</title>\
             <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:15vh auto;padding:0 1em;\
             color:#222}}h1{{font-size:1.3em}}p{{color:#555}}code{{background:#eee;padding:.1em .3em}}</style></head>\
             <body><h1>{message}</h1><p>{remedy}</p><p><code>{sandbox}{port}</code></p></body></html>\n",
            status = escape(&self.status.to_string()),
            message = escape(self.message),
            remedy = escape(self.remedy),
            sandbox = escape(self.sandbox),
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_no_markup_of_others() {
        let problem = Problem {
            status: StatusCode::BAD_GATEWAY,
            sandbox: "<script>'\"&",
            port: Some(80),
            message: "m",
            remedy: "r",
        };
        let html = problem.html();
        assert!(
            !html.contains("<script>") && html.contains("&lt;script&gt;&#39;&quot;&amp;, port 80")
        );
        let response = problem.respond(true);
        assert_eq!(response.status(), 502);
        assert_eq!(
            response.headers()["content-type"],
            "text/html; charset=utf-8"
        );
        assert_eq!(
            problem.respond(false).headers()["content-type"],
            "application/json"
        );
    }
}
