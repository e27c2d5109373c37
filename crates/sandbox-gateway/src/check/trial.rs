//! A sandbox that is created, used and ended, as an SDK does it.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use sandbox::Check;
use serde_json::{Value, json};

use super::http_client::{HttpClient, cut_off, within};
use crate::connect::encode_frame;
use crate::routing::ENVD_PORT;

const NAME: &str = "a sandbox";
/// How long the sandbox lives if it is not ended.
const LIFETIME: Duration = Duration::from_secs(60);
/// The pause between the two lines that the command prints. A proxy that collects responses delivers them together.
const PAUSE: Duration = Duration::from_secs(1);
const OUTPUT: &str = "first\nlast\n";
/// The longest response of the command that is read.
const MAX_RESPONSE: usize = 64 << 10;

/// What the command of the trial did.
struct Ran {
    /// Until its first output.
    first: Duration,
    /// Between its first output and its end.
    rest: Duration,
}

/// Creates a sandbox, runs a command in it, and ends it.
pub(super) async fn run(client: &HttpClient, template: &str) -> Result<Vec<Check>, Check> {
    let begun = Instant::now();
    let body = json!({ "templateID": template, "timeout": LIFETIME.as_secs() });
    let created = client
        .send(NAME, Method::POST, "/v2/sandboxes", Some(body))
        .await?;
    let took = begun.elapsed();
    let sandbox = (created.status == StatusCode::CREATED)
        .then(|| created.json())
        .flatten();
    let text = |name: &str| {
        let value = sandbox.as_ref()?.get(name)?;
        value.as_str().map(str::to_owned)
    };
    let (Some(id), Some(token)) = (text("sandboxID"), text("envdAccessToken")) else {
        let remedy = match created.status {
            StatusCode::NOT_FOUND => {
                "name a template of the gateway's configuration with --template"
            }
            StatusCode::TOO_MANY_REQUESTS => "end sandboxes of this key, or raise its limits",
            _ => "run `sandbox doctor --try` where the gateway runs, with its account",
        };
        return Err(Check::failed(NAME, created.describe()).with_remedy(remedy));
    };
    let ran = within("a command", run_command(client, &id, &token)).await;
    // Whatever the command did, the sandbox ends.
    let ended = end(client, &id).await;
    let mut checks = vec![Check::passed(
        NAME,
        format!("created in {:.2} s", took.as_secs_f64()),
    )];
    checks.push(ran.map_or_else(|failed| failed, describe));
    checks.push(ended.unwrap_or_else(|failed| failed));
    Ok(checks)
}

fn describe(ran: Ran) -> Check {
    const NAME: &str = "a command";
    if ran.rest < PAUSE / 2 {
        return Check::warning(
            NAME,
            "its output did not arrive as it was printed, but at its end",
        )
        .with_remedy("turn off the buffering of responses in proxies before the gateway");
    }
    let detail = format!(
        "its first output arrived after {:.3} s",
        ran.first.as_secs_f64()
    );
    Check::passed(NAME, detail)
}

async fn end(client: &HttpClient, id: &str) -> Result<Check, Check> {
    const NAME: &str = "its end";
    let path = format!("/sandboxes/{id}");
    let answer = client.send(NAME, Method::DELETE, &path, None).await?;
    if answer.status == StatusCode::NO_CONTENT {
        return Ok(Check::passed(NAME, "nothing is left"));
    }
    Err(Check::failed(NAME, answer.describe()))
}

/// Runs a command by the protocol Connect, and checks what it prints.
async fn run_command(client: &HttpClient, id: &str, token: &str) -> Result<Ran, Check> {
    const NAME: &str = "a command";
    let failed = |detail: String| {
        Check::failed(NAME, detail).with_remedy("the image needs bash; read the gateway's log")
    };
    let script = format!("echo first; sleep {}; echo last", PAUSE.as_secs());
    let start =
        json!({ "process": { "cmd": "/bin/bash", "args": ["-l", "-c", script] }, "stdin": false });
    let frame = encode_frame(&start).map_err(|error| failed(format!("{error:?}")))?;
    let request = Request::builder()
        .method(Method::POST)
        .uri("/process.Process/Start")
        .header("content-type", "application/connect+json")
        .header("connect-protocol-version", "1")
        .header("e2b-sandbox-id", id)
        .header("e2b-sandbox-port", ENVD_PORT.to_string())
        .header("x-access-token", token)
        .body(Full::new(frame))
        .map_err(|error| failed(error.to_string()))?;
    let begun = Instant::now();
    let mut arriving = client.exchange(NAME, request).await?;
    let status = arriving.response.status();
    if status != StatusCode::OK {
        return Err(failed(format!("status {status}")));
    }
    let (mut received, mut output) = (BytesMut::new(), Vec::new());
    let mut first = None;
    let mut exit = None;
    let mut total = 0;
    while let Some(part) = arriving.response.body_mut().frame().await {
        let part = part.map_err(|error| cut_off(NAME, &error.to_string()))?;
        let Ok(data) = part.into_data() else {
            continue;
        };
        total += data.len();
        if total > MAX_RESPONSE {
            return Err(failed("the response is far too long".to_owned()));
        }
        received.extend_from_slice(&data);
        while let Some(message) = take_message(&mut received) {
            let message: Value = serde_json::from_slice(&message)
                .map_err(|error| failed(format!("the response is no JSON: {error}")))?;
            if let Some(error) = message["error"]["message"].as_str() {
                return Err(failed(error.to_owned()));
            }
            let event = &message["event"];
            let stdout = event["data"]["stdout"].as_str();
            if let Some(piece) = stdout.and_then(|text| STANDARD.decode(text).ok()) {
                first.get_or_insert_with(|| begun.elapsed());
                output.extend(piece);
            }
            if event["end"].is_object() {
                exit = Some(
                    event["end"]["status"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                );
            }
        }
    }
    // A login shell may print something of its own before.
    match (first, exit) {
        (Some(first), Some(_)) if output.ends_with(OUTPUT.as_bytes()) => Ok(Ran {
            first,
            rest: begun.elapsed().saturating_sub(first),
        }),
        (_, Some(status)) => Err(failed(format!("it ended with {status:?}"))),
        (_, None) => Err(cut_off(NAME, "the end is missing")),
    }
}

/// Removes and returns the JSON of the first frame, if all of it has arrived.
fn take_message(received: &mut BytesMut) -> Option<Bytes> {
    let (&[_flags, ref length @ ..], rest) = received.split_first_chunk::<5>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    if rest.len() < length {
        return None;
    }
    received.advance(5);
    Some(received.split_to(length).freeze())
}
