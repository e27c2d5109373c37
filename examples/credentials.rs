//! A program that uses an API whose key it never has: `OPENAI_API_KEY=… cargo run --example credentials`.

use sandbox::prelude::*;
use sandbox::{NamedUpstream, UpstreamKind};

/// What the SDK of the API does: it reads the address and the key from variables.
const ASK: &str = r#"
import os, urllib.request
key = os.environ["OPENAI_API_KEY"]
print("the key inside is", key)
request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/models", headers={"Authorization": "Bearer " + key})
try:
    print(urllib.request.urlopen(request, timeout=30).read(300).decode())
except OSError as error:
    print("the answer is", error)
"#;

fn main() -> Result<()> {
    sandbox::local::init(); // first, before any thread
    run()
}

#[tokio::main]
async fn run() -> Result<()> {
    // A secret is anything that becomes a `SecretString`. It stays in this process.
    let key = std::env::var("OPENAI_API_KEY").unwrap_or_else(|_| "no key".into());
    let client = Client::from_env().await?;
    let sbx = client
        .sandbox()
        .upstream(NamedUpstream::from_kind(UpstreamKind::OpenAi)?.secret(key)?)
        .on_egress(|event| eprintln!("{} {}", event.outcome.as_str(), event.host))
        .create()
        .await?;
    let out = sbx.command("python3").args(["-c", ASK]).output().await?;
    print!("{}{}", out.stdout_lossy(), out.stderr_lossy());
    sbx.delete().await
}
