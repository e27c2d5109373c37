//! From names and values to settings: a pure function, so that tests need no environment.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use sandbox_core::{Result, nearest};

use crate::mistakes::Mistakes;
use crate::value::Value;
use crate::variables::{OTHERS, PREFIX, Variable};
use crate::{Settings, VARIABLES, format_duration};

/// What was found in the environment or in a file.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// A variable of the environment.
    Environment { name: String, value: OsString },
    /// A variable of a file; `place` says which file and line.
    File {
        name: String,
        value: OsString,
        place: String,
    },
    /// Something in a file that is no variable: one sentence.
    Mistake(String),
}

/// The settings, or every mistake: those of the file first, in its order.
pub(crate) fn resolve(entries: impl IntoIterator<Item = Entry>) -> Result<Settings> {
    let (mut settings, mut mistakes) = (Settings::default(), Mistakes::default());
    let (mut environment, mut file) = (BTreeMap::new(), Vec::new());
    let (mut unknown, mut places) = (BTreeSet::new(), BTreeMap::new());

    for entry in entries {
        match entry {
            Entry::Mistake(sentence) => file.push(Err(sentence)),
            Entry::Environment { name, value } if is_ours(&name) => {
                match Variable::by_name(&name) {
                    Some(variable) => _ = environment.insert(variable.name, value),
                    None => _ = unknown.insert(name),
                }
            }
            Entry::File { name, value, place } if is_ours(&name) => {
                file.push(
                    accept(&name, &place, &mut places).map(|variable| (variable, value, place)),
                );
            }
            Entry::Environment { .. } | Entry::File { .. } => {}
        }
    }

    for found in file {
        match found {
            Err(sentence) => mistakes.add(sentence),
            Ok((variable, ..)) if environment.contains_key(variable.name) => {}
            // Its value may be the beginning of another line, after a quote too many.
            Ok((variable, value, place)) => {
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
    let longest = settings.lifetime.max_lifetime;
    if let Some(ttl) = settings.lifetime.ttl.filter(|ttl| *ttl > longest) {
        mistakes.add(format!(
            "SANDBOX_TTL={} exceeds SANDBOX_MAX_LIFETIME={}: use a shorter one",
            format_duration(ttl),
            format_duration(longest),
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
    mistakes.none_or(settings)
}

fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) && !OTHERS.iter().any(|other| name.starts_with(other))
}

/// The variable of this name, if a file may set it here.
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
            "{place}: {name} may not be set in a file, which may come with somebody else's repository: export it in the environment"
        ));
    }
    match places.insert(variable.name, place.to_owned()) {
        Some(first) => Err(format!(
            "{place}: {name} is set a second time, after {first}: remove one of them"
        )),
        None => Ok(variable),
    }
}

/// Whether the value was accepted.
fn set(variable: &Variable, settings: &mut Settings, value: &OsString) -> bool {
    value.is_empty() || (variable.set)(settings, Value(value)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BackendKind, LocalIsolation};
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
        assert_eq!(settings.local.isolation, LocalIsolation::None);
        let blanked = resolve([file(1, "SANDBOX_TTL", "30m"), env("SANDBOX_TTL", "")]).unwrap();
        assert_eq!(blanked.lifetime.ttl, None);
    }

    #[test]
    fn every_variable_refuses_nonsense_and_says_what_it_takes() {
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
    fn the_key_gets_in_by_one_way() {
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
        let settings = resolve([
            env("SANDBOX_ZZZ", "1"),
            env("SANDBOX_MEMROY", "1"),
            env("SANDBOX_TEST_REQUIRE", "1"),
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
