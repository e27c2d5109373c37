//! The argument `JOB`: an id, the beginning of one, or the latest job.

use anyhow::{Result, bail};
use sandbox::{Job, JobRecord, Sandbox};

/// Finds a job by its id or the beginning of it; without text, the one that was started last.
///
/// # Errors
///
/// If no job matches, or more than one.
pub(crate) async fn find_job(sandbox: &Sandbox, text: Option<&str>) -> Result<Job> {
    let jobs = sandbox.jobs().await?;
    let Some(text) = text else {
        let Some(latest) = jobs.last() else {
            bail!(
                "sandbox {} has no jobs; start one with `sandbox exec --detach`",
                sandbox.id()
            );
        };
        return Ok(sandbox.job(latest.id.parse()?));
    };
    let exact = jobs.iter().filter(|job| job.id == text);
    let mut found: Vec<&JobRecord> = exact.collect();
    if found.is_empty() {
        found = jobs
            .iter()
            .filter(|job| !text.is_empty() && job.id.starts_with(text))
            .collect();
    }
    match found.as_slice() {
        [job] => Ok(sandbox.job(job.id.parse()?)),
        [] => bail!(
            "sandbox {} has no job {text:?}; list its jobs with `sandbox jobs`",
            sandbox.id()
        ),
        several => {
            bail!(
                "{text:?} is ambiguous, {} jobs of sandbox {} begin with it; write more of the id",
                several.len(),
                sandbox.id()
            )
        }
    }
}
