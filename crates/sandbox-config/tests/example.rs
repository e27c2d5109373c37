//! `.env.example` agrees with the table of variables.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::path::Path;
use std::sync::LazyLock;

use sandbox_config::{Settings, VARIABLES, Variable};

const HEAD: &str = "\
# Settings of the sandbox SDK and of the command `sandbox`. Copy what you need into a file and
# name that file: `sandbox --env-file .env …`, or Settings::from_dotenv(\".env\"). Files are never
# searched for. Variables of the real environment override the file; an empty one means the default.
# Each line shows the default, if there is one.
";

const ENVIRONMENT_ONLY: &str = "
# The following variables are read only from the real environment. They choose a program to run,
# how strictly to isolate, or whose credentials to use, and a file may come with a cloned repository:
# setting one of them in a file is an error.
";

/// The content of the file, which `SANDBOX_TEST_BLESS` regenerates first.
static EXAMPLE: LazyLock<String> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.env.example");
    if std::env::var_os("SANDBOX_TEST_BLESS").is_some() {
        std::fs::write(&path, render()).unwrap();
    }
    std::fs::read_to_string(path).unwrap_or_default()
});

fn render() -> String {
    let lines = |from_file: bool| {
        VARIABLES
            .iter()
            .filter(move |variable| variable.from_file == from_file)
            .map(|variable| {
                let Variable {
                    name,
                    doc,
                    accepted,
                    default,
                    ..
                } = variable;
                let absent = if default.is_none() {
                    "; not set by default"
                } else {
                    ""
                };
                format!(
                    "\n# {doc}\n# Takes {accepted}{absent}.\n#{name}={}\n",
                    default.unwrap_or("")
                )
            })
    };
    [HEAD.to_owned()]
        .into_iter()
        .chain(lines(true))
        .chain([ENVIRONMENT_ONLY.to_owned()])
        .chain(lines(false))
        .collect()
}

#[test]
fn the_example_lists_every_variable_and_no_other() {
    assert_eq!(
        *EXAMPLE,
        render(),
        ".env.example is out of date: regenerate it with SANDBOX_TEST_BLESS=1 cargo test -p sandbox-config"
    );
}

#[test]
fn the_example_with_all_its_lines_in_force_is_the_default() {
    let (file_part, _) = EXAMPLE.split_once(ENVIRONMENT_ONLY).unwrap();
    let in_force = file_part.replace("\n#SANDBOX_", "\nSANDBOX_");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), in_force).unwrap();
    // The environment of the test may override some, so only the acceptance is checked.
    Settings::from_dotenv(file.path()).unwrap();
}
