//! The request to sandbox-sshd to claim a sandbox, and its response.

use sandbox_core::protocol::{self, ClaimRefusal};
use sandbox_core::{
    ClaimRequest, CommandCause, ConnectionStage, Error, ExitStatus, Output, Result,
};

use crate::jobs::whole_seconds;
use crate::text::escape;

/// The variables of a claim.
pub(crate) fn claim_variables(request: &ClaimRequest) -> Vec<(&'static str, String)> {
    let mut control = vec![(protocol::CLAIM_KEY, request.authorized.as_str().to_owned())];
    for (name, limit) in [
        (protocol::CLAIM_ATTACH_SECONDS, request.attach_timeout),
        (protocol::TTL_SECONDS, request.ttl),
        (protocol::CLAIM_MAX_SECONDS, request.max_lifetime),
    ] {
        control.extend(limit.map(|limit| (name, whole_seconds(limit))));
    }
    control
}

/// Returns whether the server accepted the claim: `false` if another client was faster.
pub(crate) fn parse_claimed(output: Result<Output>) -> Result<bool> {
    let output = output.map_err(|error| match error {
        // A server that knows claims starts each, and reports a refusal by the exit code.
        Error::Command {
            cause: CommandCause::NotStarted { .. },
            ..
        } => older_server_error(),
        other => other,
    })?;
    let refusal = match output.status {
        ExitStatus::Code(0) => return Ok(true),
        ExitStatus::Code(code) => ClaimRefusal::from_exit(code),
        _ => None,
    };
    match refusal {
        Some(ClaimRefusal::AlreadyClaimed) => Ok(false),
        Some(ClaimRefusal::NotClaimable) => Err(Error::unsupported_because(
            "being claimed",
            "the sandbox",
            "it was not created for a pool",
            "connect to it, or create another",
        )),
        Some(_) | None => {
            let reason = match output.stderr_lossy().trim() {
                "" => output.status.to_string(),
                text => escape(text),
            };
            let message = format!("its server did not accept the claim: {reason}");
            Err(Error::connection(ConnectionStage::Channel, message, None))
        }
    }
}

fn older_server_error() -> Error {
    Error::unsupported_because(
        "being claimed",
        "the sandbox",
        "its server is of a version that cannot be claimed",
        "fill the pool with this version of the SDK (sandbox pool run) and its server's image",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_core::KeyPair;
    use std::time::Duration;

    #[test]
    fn only_requested_limits_are_sent() {
        let key = KeyPair::generate().unwrap().public;
        let mut request = ClaimRequest::new(key.clone());
        let of_key = (protocol::CLAIM_KEY, key.as_str().to_owned());
        assert_eq!(claim_variables(&request), std::slice::from_ref(&of_key));
        request.ttl = Some(Duration::from_millis(1500));
        request.attach_timeout = Some(Duration::from_secs(60));
        let expected = [
            of_key,
            (protocol::CLAIM_ATTACH_SECONDS, "60".to_owned()),
            (protocol::TTL_SECONDS, "2".to_owned()),
        ];
        assert_eq!(claim_variables(&request), expected);
    }

    #[test]
    fn the_exit_code_says_what_became_of_the_claim() {
        let parse =
            |code: u32| parse_claimed(Ok(Output::new(ExitStatus::Code(code), "", "why\x1b")));
        assert!(parse(0).unwrap());
        let code = |refusal: ClaimRefusal| u32::from(refusal.exit_code());
        assert!(!parse(code(ClaimRefusal::AlreadyClaimed)).unwrap());
        let error = parse(code(ClaimRefusal::NotClaimable)).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
        for other in [code(ClaimRefusal::Malformed), 1, 255] {
            let message = parse(other).unwrap_err().to_string();
            assert!(
                message.contains("why") && !message.contains('\x1b'),
                "{message}"
            );
        }
    }
}
