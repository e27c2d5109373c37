//! Upstreams that a sandbox reaches with credentials that stay outside.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result, bail};
use sandbox::{NamedUpstream, UpstreamKind};

/// The largest file with a secret or with certificates, in bytes.
const MAX_FILE: u64 = 1 << 20;

const SECRET_FORM: &str = "write NAME=env:VARIABLE, NAME=file:PATH or NAME=none; other users of this machine can see arguments";

/// Options about upstreams.
#[derive(clap::Args)]
pub(crate) struct UpstreamOptions {
    /// Let the sandbox reach an HTTPS service with a secret that stays in this program; can be repeated
    ///
    /// Programs find it by variables, such as OPENAI_BASE_URL; whatever they send in place of the secret is replaced. The
    /// names openai, anthropic, pypi, npm and git have usual addresses and are kinds, which decide the variables and how
    /// the secret is sent. Options after the address, each with a comma before it: kind=KIND, header=HEADER
    /// (instead of Authorization: Bearer), user=USER (for Basic), variable=VARIABLE (gets the address inside),
    /// key-variable=VARIABLE (gets a placeholder), ca=FILE (certificates to trust, in PEM format).
    #[arg(long = "egress-upstream", value_name = "NAME[=URL][,OPTION=VALUE]")]
    upstreams: Vec<String>,
    /// Where the secret of an upstream or of a transform is: in a variable of this program or in a file; can be repeated
    ///
    /// Without it, that of the upstreams `openai` and `anthropic` at their usual addresses is in OPENAI_API_KEY and
    /// ANTHROPIC_API_KEY, and others have none. That of a transform is in the variable of this program that has the name of the
    /// sandbox's.
    // Not parsed by clap, which repeats what it cannot read.
    #[arg(
        long = "egress-secret",
        value_name = "NAME|HOST=env:VARIABLE|file:PATH|none"
    )]
    secrets: Vec<String>,
}

impl UpstreamOptions {
    pub(super) fn is_empty(&self) -> bool {
        self.upstreams.is_empty()
    }

    /// Returns the files that the options name, without reading them.
    ///
    /// # Errors
    ///
    /// If an option cannot be read.
    pub(super) fn find_files(&self) -> Result<Vec<&str>> {
        let mut files = Vec::new();
        for text in &self.secrets {
            if let (_, Source::File(path)) = parse_secret(text)? {
                files.push(path);
            }
        }
        for text in &self.upstreams {
            files.extend(Description::parse(text)?.authorities);
        }
        Ok(files)
    }

    /// Reads the options, and the secrets and certificates where they say. Secrets may also be for something else, of these names.
    ///
    /// # Errors
    ///
    /// If an option cannot be read, a secret is not where it should be, or one is for nothing.
    pub(super) fn read_besides(&self, others: &[&str]) -> Result<Vec<NamedUpstream>> {
        let secrets: Vec<(&str, Source<'_>)> = self
            .secrets
            .iter()
            .map(|text| parse_secret(text))
            .collect::<Result<_>>()?;
        let described: Vec<Description<'_>> = self
            .upstreams
            .iter()
            .map(|text| Description::parse(text))
            .collect::<Result<_>>()?;
        for (index, (name, _)) in secrets.iter().enumerate() {
            let is_for_upstream = described.iter().any(|one| one.name == *name);
            match (is_for_upstream, others.contains(name)) {
                (true, false) | (false, true) => {}
                (true, true) => bail!(
                    "--egress-secret {name}=… is for an upstream and for a transform; give the upstream another name"
                ),
                (false, false) => bail!(
                    "--egress-secret {name}=… is for no upstream and no transform; add --egress-upstream {name} or \
                     --egress-transform {name}"
                ),
            }
            if secrets[..index].iter().any(|(other, _)| other == name) {
                bail!("--egress-secret {name}=… is given twice; leave one out");
            }
        }
        let find = |name: &str| secrets.iter().find(|(other, _)| *other == name);
        described
            .iter()
            .map(|one| one.complete(find(one.name).map(|(_, source)| *source)))
            .collect()
    }

    /// Returns where the secret of this name is, if an option says so.
    ///
    /// # Errors
    ///
    /// If an option cannot be read.
    pub(super) fn find_secret(&self, name: &str) -> Result<Option<Source<'_>>> {
        for text in &self.secrets {
            let (found, source) = parse_secret(text)?;
            if found == name {
                return Ok(Some(source));
            }
        }
        Ok(None)
    }
}

/// Where a secret is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    Variable(&'a str),
    File(&'a str),
    Nowhere,
}

/// Reads `NAME=SOURCE`. The text is not repeated in the error: people write the secret itself there.
fn parse_secret(text: &str) -> Result<(&str, Source<'_>)> {
    let Some((name, source)) = text.split_once('=') else {
        bail!("--egress-secret cannot be read; {SECRET_FORM}");
    };
    let source = match source.split_once(':') {
        Some(("env", variable)) if !variable.is_empty() => Source::Variable(variable),
        Some(("file", path)) if !path.is_empty() => Source::File(path),
        None if source == "none" => Source::Nowhere,
        Some(_) | None => bail!("--egress-secret cannot be read; {SECRET_FORM}"),
    };
    Ok((name, source))
}

impl Source<'_> {
    /// Returns the secret of this name, without a line break at its end.
    pub(super) fn read(self, name: &str) -> Result<Option<String>> {
        match self {
            Self::Variable(variable) => match std::env::var(variable) {
                Ok(secret) => Ok(Some(secret)),
                Err(_) => bail!(
                    "the secret of {name} is not in {variable}, which is not set or not text; set it, or use --egress-secret \
                     {name}=file:PATH"
                ),
            },
            Self::File(path) => {
                let mut text = read_file(path)?;
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
                Ok(Some(text))
            }
            Self::Nowhere => Ok(None),
        }
    }
}

/// An upstream as it was written.
#[derive(Debug)]
struct Description<'a> {
    name: &'a str,
    base: Option<&'a str>,
    kind: Option<UpstreamKind>,
    header: Option<&'a str>,
    user: Option<&'a str>,
    variables: Vec<&'a str>,
    key_variables: Vec<&'a str>,
    authorities: Option<&'a str>,
}

impl<'a> Description<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let (name, base) = match first.split_once('=') {
            Some((name, base)) => (name, Some(base)),
            None => (first, None),
        };
        let mut described = Self {
            name,
            base,
            kind: None,
            header: None,
            user: None,
            variables: Vec::new(),
            key_variables: Vec::new(),
            authorities: None,
        };
        for part in parts {
            let (option, value) = part.split_once('=').unwrap_or((part, ""));
            match option {
                "kind" => described.kind = Some(value.parse()?),
                "header" => described.header = Some(value),
                "user" => described.user = Some(value),
                "variable" => described.variables.push(value),
                "key-variable" => described.key_variables.push(value),
                "ca" => described.authorities = Some(value),
                _ => bail!(
                    "--egress-upstream {name} has no option {option:?}; there are kind, header, user, variable, key-variable and ca"
                ),
            }
        }
        if described.header.is_some() && described.user.is_some() {
            bail!("--egress-upstream {name} has both header and user; leave one out");
        }
        Ok(described)
    }

    /// Creates the upstream, with its secret.
    fn complete(&self, source: Option<Source<'_>>) -> Result<NamedUpstream> {
        let name = self.name;
        // The name may be a kind.
        let kind = self.kind.or_else(|| name.parse().ok());
        let usual = kind.and_then(UpstreamKind::default_base);
        let Some(base) = self.base.or(usual) else {
            bail!(
                "--egress-upstream {name} needs an address; write {name}=https://HOST[:PORT][/PATH]"
            );
        };
        let mut upstream = NamedUpstream::new(name, base)?;
        if let Some(kind) = kind {
            upstream = upstream.kind(kind);
        }
        for variable in &self.variables {
            upstream = upstream.variable(*variable)?;
        }
        for variable in &self.key_variables {
            upstream = upstream.key_variable(*variable)?;
        }
        if let Some(path) = self.authorities {
            upstream = upstream.authorities(read_file(path)?.as_bytes())?;
        }
        let source = match (source, kind.and_then(UpstreamKind::key_variable)) {
            (Some(source), _) => source,
            // A key of the public service is not for another one.
            (None, Some(variable)) if self.base.is_none() => Source::Variable(variable),
            (None, Some(_)) => bail!(
                "--egress-upstream {name} has no secret; add --egress-secret {name}=env:VARIABLE, {name}=file:PATH or {name}=none"
            ),
            (None, None) => Source::Nowhere,
        };
        let Some(secret) = source.read(name)? else {
            if self.header.is_some() || self.user.is_some() {
                bail!(
                    "--egress-upstream {name} says how its secret is sent, but has none; add --egress-secret {name}=env:VARIABLE"
                );
            }
            return Ok(upstream);
        };
        Ok(match (self.header, self.user) {
            (Some(header), _) => upstream.header(header, secret)?,
            (None, Some(user)) => upstream.basic(user, secret)?,
            (None, None) => upstream.secret(secret)?,
        })
    }
}

/// Reads a text file.
pub(super) fn read_file(path: &str) -> Result<String> {
    let read = || {
        let mut text = String::new();
        File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
        std::io::Result::Ok(text)
    };
    read().with_context(|| format!("cannot read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(upstreams: &[&str], secrets: &[&str]) -> Result<Vec<NamedUpstream>> {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        UpstreamOptions {
            upstreams: own(upstreams),
            secrets: own(secrets),
        }
        .read_besides(&[])
    }

    #[test]
    fn upstreams_are_read_with_their_options() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "0123456789\r\n").unwrap();
        let secret = format!("models=file:{}", file.display());
        let described = "models=https://m.example:8443/v2,kind=openai,header=x-key,variable=M_URL,key-variable=M_KEY";
        let read_all = read(&[described, "pypi", "npm=https://npm.example/"], &[&secret]).unwrap();
        let shown = format!("{read_all:?}");
        for part in [
            "https://m.example:8443/v2",
            "https://pypi.org/simple",
            "kind: Npm",
            "kind: OpenAi",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        let with: Vec<bool> = read_all.iter().map(NamedUpstream::has_credential).collect();
        assert_eq!(with, [true, false, false]);
        assert!(!shown.contains("0123"), "{shown}");
    }

    #[test]
    fn mistakes_are_explained_without_secrets() {
        for (upstreams, secrets, message) in [
            (&["models"][..], &[][..], "needs an address"),
            (&["a=http://a.example"], &[], "is not https"),
            (&["A=https://a.example"], &[], "name of an upstream"),
            (
                &["a=https://a.example,color=red"],
                &[],
                "no option \"color\"",
            ),
            (&["a=https://a.example,kind=red"], &[], "there are openai"),
            (
                &["a=https://a.example,header=x,user=y"],
                &[],
                "both header and user",
            ),
            (&["a=https://a.example,header=x"], &[], "but has none"),
            (
                &["a=https://a.example,ca=/nonexistent"],
                &[],
                "cannot read /nonexistent",
            ),
            (&["openai=https://a.example"], &[], "has no secret"),
            (&["git"], &["git=sk-live-0123"], "write NAME=env:VARIABLE"),
            (&["git"], &["sk-live-0123"], "write NAME=env:VARIABLE"),
            (&["git"], &["git=env:"], "write NAME=env:VARIABLE"),
            (
                &["git"],
                &["git=env:SANDBOX_TEST_UNSET"],
                "is not in SANDBOX_TEST_UNSET",
            ),
            (
                &["git"],
                &["git=file:/nonexistent"],
                "cannot read /nonexistent",
            ),
            (&["git"], &["npm=none"], "is for no upstream"),
            (&["git"], &["git=none", "git=none"], "given twice"),
        ] {
            let error = format!("{:#}", read(upstreams, secrets).unwrap_err());
            assert!(
                error.contains(message),
                "{upstreams:?} {secrets:?}: {error}"
            );
            assert!(!error.contains("0123"), "{error}");
        }
        assert!(read(&["openai=https://a.example"], &["openai=none"]).is_ok());
    }
}
