//! Hosts whose requests get secrets that stay outside.

use anyhow::{Result, bail};
use sandbox::HostTransform;

use super::upstream::{Source, UpstreamOptions, read_file};

/// Options about hosts that are intercepted.
#[derive(clap::Args)]
pub(crate) struct TransformOptions {
    /// Let the sandbox use a secret with one HTTPS host, which stays in this program; can be repeated
    ///
    /// For programs that have the address of the host built in. The proxy ends TLS for this host alone, with a certificate that
    /// programs in the sandbox trust through SSL_CERT_FILE and similar variables, and puts the secret into requests.
    /// Options after the host, each with a comma before it: variable=VARIABLE (gets a random placeholder, in whose place the
    /// secret is put), header=HEADER (is set in each request), user=USER (for Basic), ca=FILE (certificates to trust, in PEM
    /// format). Without variable, header and user, it is set as Authorization: Bearer. Not with the presets internet and open.
    #[arg(long = "egress-transform", value_name = "HOST[:PORT][,OPTION=VALUE]")]
    transforms: Vec<String>,
}

impl TransformOptions {
    pub(super) fn is_empty(&self) -> bool {
        self.transforms.is_empty()
    }

    /// The hosts as they were written, which are the names of their secrets.
    pub(super) fn hosts(&self) -> Vec<&str> {
        let host = |text: &String| text.find(',').unwrap_or(text.len());
        let hosts = self.transforms.iter().map(|text| &text[..host(text)]);
        hosts.collect()
    }

    /// Returns the files that the options name, without reading them.
    ///
    /// # Errors
    ///
    /// If an option cannot be read.
    pub(super) fn find_files(&self) -> Result<Vec<&str>> {
        let mut files = Vec::new();
        for text in &self.transforms {
            files.extend(Description::parse(text)?.authorities);
        }
        Ok(files)
    }

    /// Reads the options, and the secrets and certificates where they say.
    ///
    /// # Errors
    ///
    /// If an option cannot be read, or if a secret is not where it should be.
    pub(super) fn read(&self, secrets: &UpstreamOptions) -> Result<Vec<HostTransform>> {
        let read = |text: &String| {
            let described = Description::parse(text)?;
            let source = secrets.find_secret(described.host)?;
            described.complete(source)
        };
        self.transforms.iter().map(read).collect()
    }
}

/// A transform as it was written.
#[derive(Debug)]
struct Description<'a> {
    host: &'a str,
    variables: Vec<&'a str>,
    header: Option<&'a str>,
    user: Option<&'a str>,
    authorities: Option<&'a str>,
}

impl<'a> Description<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let mut parts = text.split(',');
        let mut described = Self {
            host: parts.next().unwrap_or_default(),
            variables: Vec::new(),
            header: None,
            user: None,
            authorities: None,
        };
        let host = described.host;
        for part in parts {
            let (option, value) = part.split_once('=').unwrap_or((part, ""));
            match option {
                "variable" => described.variables.push(value),
                "header" => described.header = Some(value),
                "user" => described.user = Some(value),
                "ca" => described.authorities = Some(value),
                _ => bail!(
                    "--egress-transform {host} has no option {option:?}; there are variable, header, user and ca"
                ),
            }
        }
        if described.header.is_some() && described.user.is_some() {
            bail!("--egress-transform {host} has both header and user; leave one out");
        }
        Ok(described)
    }

    /// Creates the transform, with its secret.
    fn complete(&self, source: Option<Source<'_>>) -> Result<HostTransform> {
        let host = self.host;
        let mut transform = HostTransform::new(host)?;
        if let Some(path) = self.authorities {
            transform = transform.authorities(read_file(path)?.as_bytes())?;
        }
        let source = source.or(self.variables.first().copied().map(Source::Variable));
        let secret = source.map(|source| source.read(host)).transpose()?;
        let Some(secret) = secret.flatten() else {
            bail!(
                "--egress-transform {host} has no secret; add --egress-secret {host}=env:VARIABLE or {host}=file:PATH"
            );
        };
        for variable in &self.variables {
            transform = transform.placeholder(*variable, secret.as_str())?;
        }
        Ok(match (self.header, self.user) {
            (Some(header), _) => transform.header(header, secret)?,
            (None, Some(user)) => transform.basic(user, secret)?,
            (None, None) if self.variables.is_empty() => transform.bearer(secret)?,
            (None, None) => transform,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Options {
        #[command(flatten)]
        upstreams: UpstreamOptions,
        #[command(flatten)]
        transforms: TransformOptions,
    }

    fn read(arguments: &[&str]) -> Result<Vec<HostTransform>> {
        let options = Options::try_parse_from([&["sandbox"], arguments].concat())?;
        options
            .upstreams
            .read_besides(&options.transforms.hosts())?;
        options.transforms.read(&options.upstreams)
    }

    #[test]
    fn transforms_are_read_with_their_options() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "0123456789\n").unwrap();
        let secret = |host: &str| format!("--egress-secret={host}=file:{}", file.display());
        for (text, shown) in [
            (
                "api.example.com",
                "headers: [\"authorization\"], placeholders: []",
            ),
            (
                "api.example.com:8443,variable=KEY,variable=OTHER",
                "headers: [], placeholders: [\"KEY\", \"OTHER\"]",
            ),
            (
                "api.example.com,header=X-Key,variable=KEY",
                "headers: [\"x-key\"], placeholders: [\"KEY\"]",
            ),
            (
                "api.example.com,user=ada",
                "headers: [\"authorization\"], placeholders: []",
            ),
        ] {
            let host = text.split(',').next().unwrap();
            let transforms = read(&["--egress-transform", text, &secret(host)]).unwrap();
            let text = format!("{transforms:?}");
            assert!(text.contains(shown), "{text}");
            assert!(!text.contains("0123"), "{text}");
        }
    }

    #[test]
    fn mistakes_are_explained_without_secrets() {
        for (arguments, message) in [
            (&["--egress-transform", "a.example"][..], "has no secret"),
            (
                &[
                    "--egress-transform",
                    "a.example",
                    "--egress-secret",
                    "a.example=none",
                ],
                "has no secret",
            ),
            (
                &[
                    "--egress-transform",
                    "a.example,variable=SANDBOX_TEST_UNSET",
                ],
                "is not in SANDBOX_TEST_UNSET",
            ),
            (
                &["--egress-transform", "a.example,color=red"],
                "no option \"color\"",
            ),
            (
                &["--egress-transform", "a.example,header=x,user=y"],
                "both header and user",
            ),
            (
                &[
                    "--egress-transform",
                    "a.example,variable=A-B",
                    "--egress-secret",
                    "a.example=env:PATH",
                ],
                "variable of the transform",
            ),
            (
                &[
                    "--egress-transform",
                    "10.0.0.1",
                    "--egress-secret",
                    "10.0.0.1=env:PATH",
                ],
                "write HOST or HOST:PORT",
            ),
            (
                &["--egress-transform", "a.example,ca=/nonexistent"],
                "cannot read /nonexistent",
            ),
            (
                &[
                    "--egress-transform",
                    "a.example",
                    "--egress-secret",
                    "a.example=sk-live-0123",
                ],
                "write NAME=env:VARIABLE",
            ),
            (
                &[
                    "--egress-transform",
                    "a.example",
                    "--egress-secret",
                    "b.example=none",
                ],
                "no upstream and no transform",
            ),
            (
                &[
                    "--egress-transform",
                    "localhost",
                    "--egress-upstream",
                    "localhost=https://a.example",
                    "--egress-secret",
                    "localhost=none",
                ],
                "for an upstream and for a transform",
            ),
        ] {
            let error = format!("{:#}", read(arguments).unwrap_err());
            assert!(error.contains(message), "{arguments:?}: {error}");
            assert!(!error.contains("0123"), "{error}");
        }
    }
}
