//! Which job of a sandbox somebody means.

use anyhow::{Result, bail};
use sandbox::{Job, JobRecord, Sandbox};

/// The job that is meant: by its id, by the beginning of it, or the latest.
///
/// # Errors
///
/// When there is none such, or more than one.
pub(crate) async fn find_job(sandbox: &Sandbox, text: Option<&str>) -> Result<Job> {
    let jobs = sandbox.jobs().await?;
    let Some(text) = text else {
        let Some(latest) = jobs.last() else {
            bail!(
                "sandbox {} has no jobs: `sandbox exec --detach` starts one",
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
            "sandbox {} has no job {text:?}: see `sandbox jobs`",
            sandbox.id()
        ),
        several => {
            bail!(
                "{text:?} is the beginning of {} jobs of sandbox {}",
                several.len(),
                sandbox.id()
            )
        }
    }
}
