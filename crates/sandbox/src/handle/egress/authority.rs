//! The authority that programs inside have to trust, because the certificates of intercepted hosts are by it.

use std::io::Cursor;

use bytes::Bytes;
use sandbox_core::{DownloadRequest, Env, Error, Result, Session, UploadRequest};
use sandbox_egress::machine_authorities;

use crate::memory::MemoryWriter;

/// The certificate of the authority, relative to the home directory.
const CERTIFICATE: &str = ".sandbox/egress-ca.pem";
/// That certificate, and those of the authorities that programs trust otherwise.
const BUNDLE: &str = ".sandbox/egress-bundle.pem";

/// Where systems keep the authorities that their programs trust: Debian and Alpine, Fedora, RHEL, openSUSE, and others.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The largest that is read from a sandbox, in bytes. Those of systems have less than 1 MiB.
const MAX_BUNDLE: u64 = 4 << 20;

/// What each certificate begins with (RFC 7468 §5).
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Variables with the bundle, for programs that trust nothing else then. OpenSSL (with Python, Ruby, curl, uv, httpx) and Go read the first; then
/// Python's requests, curl, pip, git, cargo, and AWS's programs.
const BUNDLE_VARIABLES: [&str; 7] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
];
/// Variables with the certificate alone, for programs that trust it in addition to what they bring: Node.js and Deno.
const CERTIFICATE_VARIABLES: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// The variables by which programs find what to trust.
///
/// # Errors
///
/// [`Error::Invalid`] if the home directory is no text, and those of [`Session`].
pub(super) async fn variables(session: &dyn Session) -> Result<Env> {
    let home = session.canonicalize(&".".into()).await?;
    let Some(directory) = home.to_str() else {
        return Err(Error::invalid(
            "home directory of the sandbox",
            home.to_string(),
            "it is not UTF-8, as variables have to be",
        ));
    };
    let directory = directory.trim_end_matches('/');
    let mut env = Env::default();
    for (names, path) in [
        (&BUNDLE_VARIABLES[..], BUNDLE),
        (&CERTIFICATE_VARIABLES, CERTIFICATE),
    ] {
        for name in names {
            env.set(*name, format!("{directory}/{path}"))?;
        }
    }
    Ok(env)
}

/// Writes the files that the variables name.
///
/// # Errors
///
/// Those of an upload.
pub(super) async fn store(session: &dyn Session, certificate: &str) -> Result<()> {
    let trusted = match read_system_bundle(session).await? {
        Some(bundle) => bundle,
        None => machine_authorities().into(),
    };
    let mut bundle = trusted.to_vec();
    if !matches!(bundle.last(), None | Some(b'\n')) {
        bundle.push(b'\n');
    }
    bundle.extend_from_slice(certificate.as_bytes());
    session.create_dir(&".sandbox".into(), true).await?;
    for (path, content) in [
        (CERTIFICATE, certificate.as_bytes().to_vec()),
        (BUNDLE, bundle),
    ] {
        let mut file = UploadRequest::new(path);
        // Commands may run as other users.
        file.mode = Some(0o644);
        session.upload(file, Box::new(Cursor::new(content))).await?;
    }
    Ok(())
}

/// Reads the authorities that programs of the sandbox trust, if it has any at a usual place. They are only written back.
async fn read_system_bundle(session: &dyn Session) -> Result<Option<Bytes>> {
    for path in SYSTEM_BUNDLES {
        let (writer, content) = MemoryWriter::new();
        let mut request = DownloadRequest::new(path);
        request.max_size = Some(MAX_BUNDLE);
        match session.download(request, Box::new(writer)).await {
            Ok(_) => {
                let content = content.take();
                if content.windows(BEGIN.len()).any(|part| part == BEGIN) {
                    return Ok(Some(content));
                }
            }
            // It is not there, or nothing that can be read.
            Err(Error::Transfer(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
