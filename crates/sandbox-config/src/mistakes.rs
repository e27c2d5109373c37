//! Collects all mistakes into one error.

use sandbox_core::Error;

/// A list of mistakes, each one sentence.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(Vec<String>);

impl Mistakes {
    pub(crate) fn add(&mut self, sentence: String) {
        self.0.push(sentence);
    }

    /// Returns `value` if there are no mistakes, else the error with all of them.
    pub(crate) fn into_result<T>(self, value: T) -> Result<T, Error> {
        match self.0.as_slice() {
            [] => Ok(value),
            [one] => Err(Error::Config {
                message: one.clone(),
            }),
            many => {
                let lines: String = many
                    .iter()
                    .map(|mistake| format!("\n  {mistake}"))
                    .collect();
                Err(Error::Config {
                    message: format!("{} settings are wrong:{lines}", many.len()),
                })
            }
        }
    }
}
