//! Who may reach a port.

use std::sync::Arc;

use crate::Outcome;
use crate::fixture::{DOMAIN, Fixture, Response};

crate::cases![
    a_private_port_needs_a_token,
    a_signed_url_becomes_a_cookie_in_a_browser,
    a_program_uses_a_signed_url_as_it_is,
    a_token_opens_nothing_else,
    pages_of_other_sandboxes_cannot_use_the_cookie,
    a_sandbox_that_does_not_exist_is_not_found,
];

/// Sends `GET /echo` with more headers, each with its end of line.
async fn get(fixture: &Fixture, host: &str, target: &str, headers: &str) -> Outcome<Response> {
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n");
    fixture.send(&request).await
}

async fn a_private_port_needs_a_token(fixture: Arc<Fixture>) -> Outcome {
    let host = fixture.host();
    let missing = get(&fixture, &host, "/echo", "").await?;
    assert_eq!(missing.status, 403);
    let expected = serde_json::json!({
        "sandboxId": fixture.sandbox.id().as_str(), "code": 403,
        "message": "Sandbox is secured with traffic access token. Token header 'e2b-traffic-access-token' is missing",
    });
    assert_eq!(missing.json(), expected);
    for wrong in ["x", "", &"0".repeat(64)] {
        let header = format!("E2b-Traffic-Access-Token: {wrong}\r\n");
        let response = get(&fixture, &host, "/echo", &header).await?;
        assert_eq!(response.status, 403);
        assert!(response.body.contains("is invalid"), "{response:?}");
    }
    let page = get(&fixture, &host, "/echo", "Accept: text/html\r\n").await?;
    assert_eq!(page.status, 403);
    assert!(page.body.starts_with("<!doctype html>") && page.body.contains("signed address"));
    Ok(())
}

async fn a_signed_url_becomes_a_cookie_in_a_browser(fixture: Arc<Fixture>) -> Outcome {
    let (host, token) = (fixture.host(), fixture.token());
    let target = format!("/path?a=1&sandbox-token={token}&b=2");
    let response = get(&fixture, &host, &target, "Accept: text/html,*/*;q=0.8\r\n").await?;
    assert_eq!(response.status, 302);
    assert_eq!(response.header("location"), Some("/path?a=1&b=2"));
    assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
    let cookie = response.header("set-cookie").unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert!(attributes.starts_with("Path=/; Max-Age="));
    assert!(
        attributes.ends_with("; Secure; HttpOnly; SameSite=Lax"),
        "{attributes}"
    );
    assert!(!attributes.to_lowercase().contains("domain"));
    let followed = get(
        &fixture,
        &host,
        "/path?a=1&b=2",
        &format!("Cookie: {pair}\r\n"),
    )
    .await?;
    assert_eq!(followed.status, 200);
    assert_eq!(followed.json()["path"], "/path?a=1&b=2");
    assert!(!followed.body.contains("sandbox-preview"));
    // What looks like a path to another host stays here.
    let target = format!("//evil.example/?sandbox-token={token}");
    let response = get(&fixture, &host, &target, "Accept: text/html\r\n").await?;
    assert_eq!(response.header("location"), Some("/evil.example/"));
    Ok(())
}

async fn a_program_uses_a_signed_url_as_it_is(fixture: Arc<Fixture>) -> Outcome {
    let (host, token) = (fixture.host(), fixture.token());
    let response = get(&fixture, &host, &format!("/echo?sandbox-token={token}"), "").await?;
    assert_eq!(response.status, 200);
    assert_eq!(response.json()["path"], "/echo");
    Ok(())
}

async fn a_token_opens_nothing_else(fixture: Arc<Fixture>) -> Outcome {
    let host = fixture.host();
    let other_host = format!("{}-{}.{DOMAIN}", fixture.other_port, fixture.other.id());
    let own = fixture.token();
    let cases = [
        ("another sandbox", &other_host, own.clone()),
        (
            "another port",
            &host,
            fixture.token_for(&fixture.sandbox, 1, 60),
        ),
        (
            "of another sandbox",
            &host,
            fixture.token_for(&fixture.other, fixture.port, 60),
        ),
        (
            "expired",
            &host,
            fixture.token_for(&fixture.sandbox, fixture.port, 0),
        ),
        ("changed", &host, format!("9{own}")),
    ];
    for (what, host, token) in cases {
        let target = format!("/echo?sandbox-token={token}");
        assert_eq!(
            get(&fixture, host, &target, "").await?.status,
            403,
            "{what}"
        );
        let cookie = format!("Cookie: __Host-sandbox-preview={token}\r\n");
        assert_eq!(
            get(&fixture, host, "/echo", &cookie).await?.status,
            403,
            "{what}"
        );
        let header = format!("E2b-Traffic-Access-Token: {token}\r\n");
        assert_eq!(
            get(&fixture, host, "/echo", &header).await?.status,
            403,
            "{what}"
        );
    }
    Ok(())
}

async fn pages_of_other_sandboxes_cannot_use_the_cookie(fixture: Arc<Fixture>) -> Outcome {
    let (host, cookie) = (fixture.host(), fixture.cookie());
    let other = format!("{}-{}.{DOMAIN}", fixture.other_port, fixture.other.id());
    for (headers, status) in [
        (format!("Origin: https://{other}\r\n"), 403),
        ("Origin: null\r\n".to_owned(), 403),
        (
            "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: no-cors\r\n".to_owned(),
            403,
        ),
        (format!("Origin: https://{host}\r\n"), 200),
        (
            "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n".to_owned(),
            200,
        ),
    ] {
        let headers = format!("{cookie}\r\n{headers}");
        let response = get(&fixture, &host, "/echo", &headers).await?;
        assert_eq!(response.status, status, "{headers}");
    }
    Ok(())
}

async fn a_sandbox_that_does_not_exist_is_not_found(fixture: Arc<Fixture>) -> Outcome {
    let response = get(&fixture, &format!("80-nosuchsandbox.{DOMAIN}"), "/", "").await?;
    assert_eq!(response.status, 502);
    let expected = serde_json::json!({
        "sandboxId": "nosuchsandbox", "code": 502, "message": "The sandbox was not found",
    });
    assert_eq!(response.json(), expected);
    Ok(())
}
