//! The arguments of test programs that have no libtest harness.

use libtest_mimic::{Arguments, Conclusion, Trial};

/// As for libtest: how many tests run at once if no argument says so. `.cargo/config.toml` sets it.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";

/// Reads the arguments of this process, and the variable that libtest reads but libtest-mimic does not.
///
/// # Panics
///
/// If the variable is not a number above zero, as libtest does.
pub fn read_arguments() -> Arguments {
    with_threads(
        Arguments::from_args(),
        std::env::var(THREADS_VARIABLE).ok().as_deref(),
    )
}

/// Runs the trials whose names end with one of `alone` one by one, and then all others at once.
pub fn run_trials(arguments: &Arguments, trials: Vec<Trial>, alone: &[&str]) -> [Conclusion; 2] {
    let (alone, others) = trials
        .into_iter()
        .partition(|trial| alone.iter().any(|name| trial.name().ends_with(name)));
    let one_by_one = Arguments {
        test_threads: Some(1),
        ..arguments.clone()
    };
    [
        libtest_mimic::run(&one_by_one, alone),
        libtest_mimic::run(arguments, others),
    ]
}

fn with_threads(mut arguments: Arguments, variable: Option<&str>) -> Arguments {
    if let (None, Some(text)) = (arguments.test_threads, variable) {
        let number = text.parse().ok().filter(|number| *number > 0);
        assert!(
            number.is_some(),
            "{THREADS_VARIABLE} is {text:?}, not a number above zero"
        );
        arguments.test_threads = number;
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_stronger_than_the_variable() {
        for (argument, variable, expected) in [
            (None, None, None),
            (None, Some("8"), Some(8)),
            (Some(1), Some("8"), Some(1)),
        ] {
            let arguments = Arguments {
                test_threads: argument,
                ..Arguments::default()
            };
            let read = with_threads(arguments, variable).test_threads;
            assert_eq!(read, expected);
        }
    }

    #[test]
    #[should_panic(expected = "not a number")]
    fn what_is_no_number_is_refused() {
        with_threads(Arguments::default(), Some("many"));
    }
}
