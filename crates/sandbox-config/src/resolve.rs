//! Turns names and values into settings. It is a pure function, so tests need no environment.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use sandbox_core::{Result, nearest};

use crate::duration::format_duration;
use crate::mistakes::Mistakes;
use crate::settings::Settings;
use crate::value::Value;
use crate::variables::{PREFIX, RESERVED_PREFIXES, SECRETS, VARIABLES, Variable};

/// A variable of the environment, or an entry of a file.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// A variable of the environment.
    Environment { name: String, value: OsString },
    /// A variable of a file; `place` has the file's name and the line.
    File {
        name: String,
        value: OsString,
        place: String,
    },
    /// The message about a line of a file that is not a variable.
    Mistake(String),
}

/// Returns the settings, or an error with every mistake, beginning with those of the file.
pub(crate) fn resolve(entries: impl IntoIterator<Item = Entry>) -> Result<Settings> {
    // Sort the entries by where they come from.
    let mut environment = BTreeMap::new();
    let mut file = Vec::new();
    let mut unknown = BTreeSet::new();
    let mut places = BTreeMap::new();
    for entry in entries {
        match entry {
            Entry::Mistake(sentence) => file.push(Err(sentence)),
            Entry::Environment { name, value } if is_setting(&name) => {
                match Variable::by_name(&name) {
                    Some(variable) => _ = environment.insert(variable.name, value),
                    None if SECRETS.contains(&name.as_str()) => {}
                    None => _ = unknown.insert(name),
                }
            }
            Entry::File { name, value, place } if is_setting(&name) => {
                file.push(
                    accept(&name, &place, &mut places).map(|variable| (variable, value, place)),
                );
            }
            Entry::Environment { .. } | Entry::File { .. } => {}
        }
    }

    // The file comes first. The environment overrides its variables.
    let mut settings = Settings::default();
    let mut mistakes = Mistakes::default();
    for entry in file {
        match entry {
            Err(sentence) => mistakes.add(sentence),
            Ok((variable, ..)) if environment.contains_key(variable.name) => {}
            Ok((variable, value, place)) => {
                // The value is not shown, because it may contain another line, after a missing
                // quote.
                if !set(variable, &mut settings, &value) {
                    mistakes.add(format!(
                        "{place}: {} is not valid: use {}",
                        variable.name, variable.accepted
                    ));
                }
            }
        }
    }

    for variable in VARIABLES {
        if let Some(value) = environment.get(variable.name)
            && !set(variable, &mut settings, value)
        {
            mistakes.add(format!(
                "{}={value:?} is not valid: use {}",
                variable.name, variable.accepted
            ));
        }
    }

    // Some settings must fit together.
    let max_lifetime = settings.lifetime.max_lifetime;
    if let Some(ttl) = settings.lifetime.ttl.filter(|ttl| *ttl > max_lifetime) {
        mistakes.add(format!(
            "SANDBOX_TTL={} exceeds SANDBOX_MAX_LIFETIME={}: use a shorter one",
            format_duration(ttl),
            format_duration(max_lifetime),
        ));
    }
    if settings.ssh.authorized_keys_file.is_some()
        && settings.ssh.authorized_keys_variable.is_some()
    {
        mistakes.add(
            "SANDBOX_SSH_AUTHORIZED_KEYS_FILE and SANDBOX_SSH_AUTHORIZED_KEYS_VARIABLE are both set: use the one \
             that the image reads"
                .into(),
        );
    }

    settings.unknown = unknown.into_iter().collect();
    mistakes.into_result(settings)
}

fn is_setting(name: &str) -> bool {
    name.starts_with(PREFIX)
        && !RESERVED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Returns the variable with this name, if a file may set it, and has not set it before.
fn accept(
    name: &str,
    place: &str,
    places: &mut BTreeMap<&str, String>,
) -> Result<&'static Variable, String> {
    let Some(variable) = Variable::by_name(name) else {
        let candidates = VARIABLES
            .iter()
            .filter(|variable| variable.from_file)
            .map(|variable| variable.name);
        let hint = match nearest(name, candidates) {
            Some(near) => format!("did you mean {near}?"),
            None => "there is no such variable; .env.example lists them all".into(),
        };
        return Err(format!("{place}: {name} is unknown: {hint}"));
    };
    if !variable.from_file {
        return Err(format!(
            "{place}: {name} may not be set in a file, which may come with a cloned repository: export it in the environment"
        ));
    }
    match places.insert(variable.name, place.to_owned()) {
        Some(first) => Err(format!(
            "{place}: {name} is set a second time, after {first}: remove one of them"
        )),
        None => Ok(variable),
    }
}

/// Sets a variable; an empty value means the default. Returns whether the value is valid.
fn set(variable: &Variable, settings: &mut Settings, value: &OsString) -> bool {
    value.is_empty() || (variable.set)(settings, Value(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::BackendKind;
    use sandbox_core::Error;
    use std::os::unix::ffi::OsStringExt;
    use std::time::Duration;

    fn env(name: &str, value: &str) -> Entry {
        Entry::Environment {
            name: name.into(),
            value: value.into(),
        }
    }

    fn file(line: usize, name: &str, value: &str) -> Entry {
        Entry::File {
            name: name.into(),
            value: value.into(),
            place: format!(".env line {line}"),
        }
    }

    fn message(entries: impl IntoIterator<Item = Entry>) -> String {
        match resolve(entries) {
            Err(Error::Config { message }) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(resolve([]).unwrap(), Settings::default());
        assert_eq!(
            resolve([env("SANDBOX_CPU", ""), env("HOME", "/root")]).unwrap(),
            Settings::default()
        );
    }

    #[test]
    fn the_environment_wins_even_over_a_wrong_value() {
        let settings = resolve([
            file(1, "SANDBOX_BACKEND", "k8s"),
            file(2, "SANDBOX_TTL", "30m"),
            file(3, "SANDBOX_PIDS", "many"),
            env("SANDBOX_BACKEND", "local"),
            env("SANDBOX_PIDS", "7"),
            env("SANDBOX_LOCAL_ISOLATION", "none"),
        ])
        .unwrap();
        assert_eq!(settings.backend, BackendKind::Local);
        assert_eq!(settings.resources.pids, Some(7));
        assert_eq!(settings.lifetime.ttl, Some(Duration::from_secs(1800)));
        assert_eq!(settings.local.isolation, "none");
        let blanked = resolve([file(1, "SANDBOX_TTL", "30m"), env("SANDBOX_TTL", "")]).unwrap();
        assert_eq!(blanked.lifetime.ttl, None);
    }

    #[test]
    fn every_variable_refuses_an_invalid_value_and_names_the_accepted_ones() {
        for variable in VARIABLES
            .iter()
            .filter(|variable| variable.name != "SANDBOX_KUBECONFIG")
        {
            let wrong = message([env(variable.name, "\u{1b}[2J !")]);
            assert!(
                wrong.starts_with(&format!(
                    "{}=\"\\u{{1b}}[2J !\" is not valid",
                    variable.name
                )),
                "{wrong}"
            );
            assert!(wrong.ends_with(variable.accepted), "{wrong}");
            let bytes = OsString::from_vec(vec![b'x', 0xff]);
            message([Entry::Environment {
                name: variable.name.into(),
                value: bytes,
            }]);
        }
    }

    #[test]
    fn a_file_may_not_choose_programs_isolation_or_credentials() {
        for name in [
            "LOCAL_SERVER",
            "LOCAL_ISOLATION",
            "STATE_DIR",
            "KUBECONFIG",
            "KUBE_CONTEXT",
            "SECURITY_PROFILE",
        ] {
            let name = format!("SANDBOX_{name}");
            let refused = message([file(4, &name, "/tmp/evil"), env(&name, "none")]);
            assert!(
                refused.contains(&format!(".env line 4: {name} may not be set in a file")),
                "{refused}"
            );
            assert!(!refused.contains("evil"), "{refused}");
        }
    }

    #[test]
    fn the_authorized_key_has_one_destination() {
        let both = message([
            env("SANDBOX_SSH_AUTHORIZED_KEYS_FILE", "/etc/keys"),
            file(1, "SANDBOX_SSH_AUTHORIZED_KEYS_VARIABLE", "PUBLIC_KEY"),
        ]);
        assert!(both.contains("both set"), "{both}");
        let root = message([env("SANDBOX_RUN_AS", "0")]);
        assert!(root.contains("user id from 1"), "{root}");
        assert_eq!(
            resolve([env("SANDBOX_RUN_AS", "none")])
                .unwrap()
                .kubernetes
                .run_as,
            None
        );
    }

    #[test]
    fn unknown_names_matter_in_a_file_and_are_only_listed_in_the_environment() {
        let suggestion = message([file(2, "SANDBOX_MEMROY", "1Gi")]);
        assert_eq!(
            suggestion,
            ".env line 2: SANDBOX_MEMROY is unknown: did you mean SANDBOX_MEMORY?"
        );
        assert!(message([file(2, "SANDBOX_FROBNICATE", "1")]).contains(".env.example"));
        let secret = message([file(2, "SANDBOX_MCP_TOKEN", "hush-hush")]);
        assert!(
            secret.contains("is unknown") && !secret.contains("hush-hush"),
            "{secret}"
        );
        let settings = resolve([
            env("SANDBOX_ZZZ", "1"),
            env("SANDBOX_MEMROY", "1"),
            env("SANDBOX_TEST_REQUIRE", "1"),
            env("SANDBOX_MCP_TOKEN", "hush-hush"),
            file(1, "SANDBOX_SSHD_PORT", "1"),
            file(2, "OTHER", "1"),
        ]);
        assert_eq!(settings.unwrap().unknown, ["SANDBOX_MEMROY", "SANDBOX_ZZZ"]);
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let all = message([
            file(1, "SANDBOX_CPU", "fast"),
            Entry::Mistake(".env line 2: what is this".into()),
            file(3, "SANDBOX_TTL", "2h"),
            file(4, "SANDBOX_TTL", "3h"),
            env("SANDBOX_MAX_LIFETIME", "1h"),
            env("SANDBOX_SSH_PORT", "0"),
        ]);
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.len(), 6, "{all}");
        assert_eq!(lines[0], "5 settings are wrong:");
        assert!(lines[1].contains("SANDBOX_CPU") && !lines[1].contains("fast"));
        assert!(lines[3].contains("second time, after .env line 3"));
        assert!(lines[4].contains("SANDBOX_SSH_PORT=\"0\""));
        assert!(lines[5].contains("SANDBOX_TTL=2h exceeds SANDBOX_MAX_LIFETIME=1h"));
    }
}
