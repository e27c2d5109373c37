//! `ExecCredential`: the input and the output of a credential program.
//! <https://kubernetes.io/docs/reference/config-api/client-authentication.v1/>

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// The variable with which a program gets its `ExecCredential`.
pub(super) const INPUT_VARIABLE: &str = "KUBERNETES_EXEC_INFO";

/// Formats the value of [`INPUT_VARIABLE`].
pub(super) fn format_input(
    api_version: &str,
    is_interactive: bool,
    cluster: Option<&Value>,
) -> String {
    let mut spec = json!({"interactive": is_interactive});
    if let Some(cluster) = cluster {
        spec["cluster"] = cluster.clone();
    }
    json!({"apiVersion": api_version, "kind": "ExecCredential", "spec": spec}).to_string()
}

/// The credentials that a program has returned.
pub(super) struct ReturnedCredentials {
    pub(super) token: Option<String>,
    /// A certificate chain and its key, as PEM.
    pub(super) certificate: Option<(String, String)>,
    /// `None` if the credentials are valid until they are refused.
    pub(super) expires: Option<Timestamp>,
}

/// Parses the output of a program, which is JSON or YAML. Returns `None` if it has no credentials.
pub(super) fn parse_output(output: &[u8]) -> Option<ReturnedCredentials> {
    let Output { status } = serde_saphyr::from_slice(output).ok()?;
    let status = status?;
    let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let token = filled(status.token);
    let certificate = match (
        filled(status.client_certificate_data),
        filled(status.client_key_data),
    ) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return None,
    };
    let expires = match filled(status.expiration_timestamp) {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    (token.is_some() || certificate.is_some()).then_some(ReturnedCredentials {
        token,
        certificate,
        expires,
    })
}

#[derive(Deserialize)]
struct Output {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_told_whether_it_has_a_terminal_and_of_which_cluster() {
        let input: Value = serde_json::from_str(&format_input("v", true, None)).unwrap();
        assert_eq!(
            input,
            json!({"apiVersion": "v", "kind": "ExecCredential", "spec": {"interactive": true}})
        );
        let cluster = json!({"server": "https://c"});
        let input: Value = serde_json::from_str(&format_input("v", false, Some(&cluster))).unwrap();
        assert_eq!(
            input["spec"],
            json!({"interactive": false, "cluster": cluster})
        );
    }

    #[test]
    fn json_and_yaml_are_read() {
        for text in [
            r#"{"kind": "ExecCredential", "status": {"token": "t", "expirationTimestamp": "2030-01-01T00:00:00Z"}}"#,
            "kind: ExecCredential\nstatus:\n  token: t\n  expirationTimestamp: \"2030-01-01T00:00:00Z\"\n",
            "\n{\"status\": {\"token\": \"t\", \"expirationTimestamp\": \"2030-01-01T01:00:00+01:00\", \"other\": 1}}\n",
        ] {
            let read = parse_output(text.as_bytes()).unwrap();
            assert_eq!(read.token.as_deref(), Some("t"));
            assert_eq!(read.expires.unwrap().to_string(), "2030-01-01T00:00:00Z");
            assert!(read.certificate.is_none());
        }
        let both =
            r#"{"status": {"clientCertificateData": "c", "clientKeyData": "k", "token": ""}}"#;
        let read = parse_output(both.as_bytes()).unwrap();
        assert_eq!(read.certificate, Some(("c".into(), "k".into())));
        assert!(read.token.is_none() && read.expires.is_none());
    }

    #[test]
    fn output_without_credentials_is_refused() {
        for text in [
            "",
            "secret",
            "{}",
            r#"{"status": {}}"#,
            r#"{"status": {"token": ""}}"#,
            r#"{"status": {"clientCertificateData": "c"}}"#,
            r#"{"status": {"token": "t", "expirationTimestamp": "soon"}}"#,
            r#"{"status": {"token": {"a": 1}}}"#,
        ] {
            assert!(parse_output(text.as_bytes()).is_none(), "{text}");
        }
    }
}
