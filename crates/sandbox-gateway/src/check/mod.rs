//! Checks a gateway from where its clients are, as E2B's SDKs reach it.

mod connection;
mod http_client;
mod origin;
mod trial;

use std::fmt;

use http::{Method, StatusCode};
use sandbox::Check;
use serde_json::Value;

use self::connection::Dialer;
use self::http_client::{Answer, HttpClient};
use self::origin::Origin;

/// The templates that E2B's SDKs ask for unless a program names another one.
const USUAL_TEMPLATES: [&str; 2] = ["base", "code-interpreter-v1"];
/// How many templates are listed.
const MAX_LISTED: usize = 10;
const ADD_KEY: &str =
    "`sandbox serve keys add NAME --keys FILE` prints a new key for the gateway that reads FILE";

/// Checks a gateway over the network: that it is reachable, its certificate, a key, templates, and, if asked for, a
/// sandbox.
#[derive(Clone)]
pub struct GatewayCheck {
    url: String,
    key: Option<String>,
    template: Option<String>,
}

impl GatewayCheck {
    /// Checks the gateway at this address, as in `E2B_API_URL`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            key: None,
            template: None,
        }
    }

    /// Checks this key, too, and what it may do.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Creates a sandbox from this template, runs a command in it, and ends it. It needs a key.
    #[must_use]
    pub fn try_template(mut self, template: impl Into<String>) -> Self {
        self.template = Some(template.into());
        self
    }

    /// Runs the checks, in the order in which each needs those before it, and ends with the first that fails.
    ///
    /// If the future is dropped, a sandbox that was created lives for a minute at most.
    pub async fn run(&self) -> Vec<Check> {
        let mut passed = Vec::new();
        match self.run_until_failure(&mut passed).await {
            Ok(()) => {}
            Err(failed) => passed.push(failed),
        }
        passed
    }

    async fn run_until_failure(&self, checks: &mut Vec<Check>) -> Result<(), Check> {
        let origin = Origin::parse(&self.url)?;
        checks.push(Check::passed("address", origin.to_string()));
        let dialer = Dialer::new(origin);
        checks.push(dialer.check_reachable().await?);
        if let Some(tls) = dialer.check_tls().await? {
            checks.push(tls);
        }
        let client = HttpClient::new(dialer, self.key.clone());
        checks.push(check_health(&client).await?);
        if self.key.is_none() {
            let reason = "no key; set E2B_API_KEY, or name a file with --key-file";
            checks.push(Check::skipped("key", reason));
            return Ok(());
        }
        checks.push(check_key(&client).await?);
        checks.push(check_templates(&client).await?);
        match &self.template {
            Some(template) => checks.extend(trial::run(&client, template).await?),
            None => checks.push(Check::skipped("a sandbox", "use --try to create one")),
        }
        Ok(())
    }
}

async fn check_health(client: &HttpClient) -> Result<Check, Check> {
    const NAME: &str = "health";
    let answer = client.send(NAME, Method::GET, "/health", None).await?;
    if answer.status == StatusCode::OK && answer.body.trim_ascii() == b"ok" {
        return Ok(Check::passed(NAME, "the gateway answers"));
    }
    let detail = format!("what answers there is no gateway: {}", answer.describe());
    let remedy = "check the address, and that proxies before the gateway pass every path on; 502 and 503 mean that a \
                  proxy reaches no gateway";
    Err(Check::failed(NAME, detail).with_remedy(remedy))
}

async fn check_key(client: &HttpClient) -> Result<Check, Check> {
    const NAME: &str = "key";
    let path = "/v2/sandboxes?limit=100";
    let answer = client.send(NAME, Method::GET, path, None).await?;
    let failed = |detail: String| Check::failed(NAME, detail);
    match (answer.status, answer.json()) {
        (StatusCode::OK, Some(Value::Array(sandboxes))) => {
            let more = if answer.headers.contains_key("x-next-token") {
                "more than "
            } else {
                ""
            };
            let count = sandboxes.len();
            Ok(Check::passed(
                NAME,
                format!("accepted; its sandboxes: {more}{count}"),
            ))
        }
        (StatusCode::UNAUTHORIZED, _) => {
            Err(failed("the gateway does not accept it".to_owned()).with_remedy(ADD_KEY))
        }
        (StatusCode::TOO_MANY_REQUESTS, _) => {
            let remedy = "run this again later, or raise limits.requests-per-second in the gateway's configuration";
            Err(failed(answer.describe()).with_remedy(remedy))
        }
        (status, _) => {
            let remedy = if status.is_server_error() {
                "the gateway cannot use its backend: run `sandbox doctor` where the gateway runs, with its account"
            } else {
                "check that proxies before the gateway pass the header X-API-Key on"
            };
            Err(failed(answer.describe()).with_remedy(remedy))
        }
    }
}

async fn check_templates(client: &HttpClient) -> Result<Check, Check> {
    const NAME: &str = "templates";
    let answer = client.send(NAME, Method::GET, "/templates", None).await?;
    let names = (answer.status == StatusCode::OK)
        .then(|| template_names(&answer))
        .flatten();
    let Some(names) = names else {
        return Err(Check::failed(NAME, answer.describe()));
    };
    let missing: Vec<&str> = USUAL_TEMPLATES
        .into_iter()
        .filter(|usual| !names.iter().any(|name| name == usual))
        .collect();
    if !missing.is_empty() {
        let detail = format!("there is no {}", missing.join(", no "));
        let remedy =
            "name it under `templates` in the gateway's configuration: the SDKs ask for it";
        return Ok(Check::warning(NAME, detail).with_remedy(remedy));
    }
    let mut listed = names[..names.len().min(MAX_LISTED)].join(", ");
    if names.len() > MAX_LISTED {
        listed.push_str(", …");
    }
    Ok(Check::passed(NAME, listed))
}

/// The names of all templates, aliases included.
fn template_names(answer: &Answer) -> Option<Vec<String>> {
    let templates = answer.json()?;
    let mut names = Vec::new();
    for template in templates.as_array()? {
        for name in template["names"].as_array()? {
            names.push(name.as_str()?.to_owned());
        }
    }
    Some(names)
}

/// The key is a secret.
impl fmt::Debug for GatewayCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayCheck")
            .field("url", &self.url)
            .field("has_key", &self.key.is_some())
            .field("template", &self.template)
            .finish()
    }
}
