//! Parses the settings that a backend owns.

use std::str::FromStr;

use sandbox_core::{Error, Result};

/// Parses the text of a setting with the backend's own parser. Text from the environment is valid,
/// because `sandbox-config` has checked it; text that a program has set may not be.
pub(super) fn parse_setting<T: FromStr<Err = Error>>(
    variable: &'static str,
    text: &str,
) -> Result<T> {
    text.parse().map_err(|error| match error {
        Error::Invalid { value, reason, .. } => Error::invalid(variable, value, reason),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_config::VARIABLES;

    /// The words that the settings accept are those that the backend's parser accepts.
    fn check<T: FromStr<Err = Error>>(name: &'static str) {
        let variable = VARIABLES
            .iter()
            .find(|variable| variable.name == name)
            .unwrap();
        for word in variable
            .accepted
            .split(", ")
            .flat_map(|part| part.split(" or "))
        {
            if let Err(error) = parse_setting::<T>(name, word) {
                panic!("{error}");
            }
        }
        match parse_setting::<T>(name, "no such word") {
            Err(Error::Invalid {
                argument, reason, ..
            }) => {
                assert_eq!(argument, name);
                assert_eq!(reason, format!("use {}", variable.accepted));
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{name} accepts anything"),
        }
    }

    #[cfg(feature = "local")]
    #[test]
    fn settings_accept_the_words_of_the_local_backend() {
        check::<sandbox_local::IsolationLevel>("SANDBOX_LOCAL_ISOLATION");
    }

    #[cfg(feature = "k8s")]
    #[test]
    fn settings_accept_the_words_of_the_kubernetes_backend() {
        use sandbox_k8s::options::{Injection, PullPolicy, SecurityProfile, Transport};

        check::<Injection>("SANDBOX_INJECTION");
        check::<PullPolicy>("SANDBOX_IMAGE_PULL_POLICY");
        check::<SecurityProfile>("SANDBOX_SECURITY_PROFILE");
        check::<Transport>("SANDBOX_TRANSPORT");
    }
}
