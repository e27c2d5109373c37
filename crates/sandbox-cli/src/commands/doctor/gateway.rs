//! Checks of a gateway.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sandbox::Check;
use sandbox_gateway::GatewayCheck;

use super::Args;

/// The variable in which E2B's SDKs expect the key.
const KEY_VARIABLE: &str = "E2B_API_KEY";
/// The largest file with a key that is read.
const MAX_KEY_FILE: u64 = 64 << 10;

pub(super) async fn run_checks(url: &str, args: &Args) -> Vec<Check> {
    let key = match &args.key_file {
        Some(path) => match read_key(path) {
            Ok(key) => Some(key),
            Err(error) => {
                let detail = format!("cannot read {}: {error}", path.display());
                let remedy = "write what `sandbox serve keys add` has printed to a file, and name that one: the file of \
                              the gateway itself has only hashes";
                return vec![Check::failed("key", detail).with_remedy(remedy)];
            }
        },
        None => std::env::var(KEY_VARIABLE).ok(),
    };
    let mut check = GatewayCheck::new(url);
    if let Some(key) = key.as_deref().map(str::trim).filter(|key| !key.is_empty()) {
        check = check.key(key);
    }
    if args.create_sandbox {
        check = check.try_template(&args.template);
    }
    check.run().await
}

/// Reads the one line of a file.
fn read_key(path: &Path) -> io::Result<String> {
    let mut content = String::new();
    File::open(path)?
        .take(MAX_KEY_FILE)
        .read_to_string(&mut content)?;
    let content = content.trim();
    if content.is_empty() || content.contains(char::is_whitespace) {
        let message = "it does not consist of one key";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(content.to_owned())
}
