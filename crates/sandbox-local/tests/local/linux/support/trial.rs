//! Tests with a runtime of their own.

use libtest_mimic::{Failed, Trial};

/// Creates a trial from each of these functions, named as the function.
macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        vec![$($crate::linux::support::trial(stringify!($test), $test)),*]
    };
}
pub(crate) use trials;

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Creates a test that runs on a runtime of its own.
pub(crate) fn trial<F>(name: &'static str, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Result>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime
            .block_on(test())
            .map_err(|error| Failed::from(format_chain(&*error)))
    })
}

/// Formats an error with its sources.
fn format_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
