//! Collects what of a tree could not be copied.

use std::sync::Mutex;

use sandbox_core::{Error, FilePath, Result, TransferReason};

use super::report::{Failed, TreeReport};
use crate::sync::lock;

/// How many failures are kept; the others are only counted. A sandbox may cause any number.
const MAX_KEPT: usize = 1000;

/// What of a tree could not be copied.
#[derive(Default)]
pub(super) struct Failures(Mutex<Found>);

#[derive(Default)]
struct Found {
    failed: Vec<Failed>,
    count: u64,
}

impl Failures {
    /// Records a failure that costs only the file or directory of this name.
    ///
    /// # Errors
    ///
    /// A failure that ends the whole copy: the connection is lost, or a disk is full.
    pub(super) fn record(&self, name: &FilePath, error: Error) -> Result<()> {
        let error = match error {
            Error::Transfer(error) if costs_one_file(error.reason) => error,
            error => return Err(error),
        };
        let mut found = lock(&self.0);
        found.count += 1;
        if found.failed.len() < MAX_KEPT {
            found.failed.push(Failed {
                path: name.clone(),
                direction: error.direction,
                reason: error.reason,
                message: error.message,
            });
        }
        Ok(())
    }

    /// Passes what was recorded to the report.
    pub(super) fn move_to(&self, report: &mut TreeReport) {
        let found = std::mem::take(&mut *lock(&self.0));
        report.failed = found.failed;
        report.failures = found.count;
    }
}

fn costs_one_file(reason: TransferReason) -> bool {
    matches!(
        reason,
        TransferReason::NotFound
            | TransferReason::PermissionDenied
            | TransferReason::AlreadyExists
            | TransferReason::BadName
            | TransferReason::SizeChanged
            | TransferReason::TooLarge
            | TransferReason::Other
    )
}

#[cfg(test)]
mod tests {
    use sandbox_core::Direction;

    use super::*;

    #[test]
    fn failures_of_single_files_are_kept_up_to_a_limit() {
        let failures = Failures::default();
        let error =
            |reason| Error::transfer(Direction::Download, "d/f", reason, "the reason", None);
        for _ in 0..=MAX_KEPT {
            failures
                .record(&"f".into(), error(TransferReason::NotFound))
                .unwrap();
        }
        for reason in [TransferReason::Lost, TransferReason::NoSpace] {
            failures.record(&"f".into(), error(reason)).unwrap_err();
        }
        let mut report = TreeReport::default();
        failures.move_to(&mut report);
        assert_eq!(
            (report.failed.len(), report.failures),
            (MAX_KEPT, MAX_KEPT as u64 + 1)
        );
        let error = report.check().unwrap_err().to_string();
        assert_eq!(
            error,
            r#"could not download "f": the reason; 1000 more of the tree were not copied either"#
        );
        TreeReport::default().check().unwrap();
    }
}
