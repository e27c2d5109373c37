//! The jobs of a sandbox, running and ended.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbox_core::FilePath;
use sandbox_core::protocol::JobRecord;
use tokio::net::unix::pipe;
use tokio::process::Child;

use super::job::Job;
use super::log::JobLog;
use crate::lifetime::{Activity, Lifetime};
use crate::lock::lock;
use crate::process::program::{Program, StartError};
use crate::process::spawn::{Spawner, spawn_in_group};

/// How many jobs are recorded. For one more, the job that ended first is removed.
const MAX_JOBS: usize = 1024;

/// The jobs of a sandbox.
pub(crate) struct Jobs {
    directory: PathBuf,
    log_limit: u64,
    spawner: Arc<Spawner>,
    lifetime: Arc<Lifetime>,
    jobs: Mutex<HashMap<String, Arc<Job>>>,
    /// Held during a start, so that two jobs cannot get the same id.
    starting: tokio::sync::Mutex<()>,
}

impl Jobs {
    pub(crate) fn new(
        home: &Path,
        log_limit: u64,
        spawner: Arc<Spawner>,
        lifetime: Arc<Lifetime>,
    ) -> Arc<Self> {
        Arc::new(Self {
            directory: home.join(".sandbox/jobs"),
            log_limit,
            spawner,
            lifetime,
            jobs: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Job>> {
        lock(&self.jobs).get(id).cloned()
    }

    /// Starts a job.
    ///
    /// # Errors
    ///
    /// If the id is invalid or taken, too many jobs are running, the log cannot be created, or the
    /// program cannot be started.
    pub(crate) async fn start(
        &self,
        id: &str,
        program: Program,
        output_grace: Duration,
    ) -> Result<(), StartError> {
        check_id(id)?;
        let _starting = self.starting.lock().await;
        self.reserve(id)?;
        let log = JobLog::create(&self.directory.join(id), self.log_limit).map_err(|error| {
            server_error(format!("the log of job {id} cannot be created: {error}"))
        })?;
        let (child, leader, output) = self.spawner.start(&program, spawn_with_log).await?;
        let name = program
            .argv
            .first()
            .map_or_else(FilePath::default, |name| name.as_os_str().into());
        let job = Job::new(id, name, log, leader);
        lock(&self.jobs).insert(id.to_owned(), Arc::clone(&job));
        let activity = self.lifetime.begin(Activity::Job);
        tokio::spawn(async move { job.run(child, output, output_grace, activity).await });
        Ok(())
    }

    /// Returns the records of all jobs, the oldest first.
    pub(crate) fn records(&self) -> Vec<JobRecord> {
        let mut records: Vec<JobRecord> =
            lock(&self.jobs).values().map(|job| job.record()).collect();
        records.sort_by(|a, b| (a.started_ms, &a.id).cmp(&(b.started_ms, &b.id)));
        records
    }

    /// Checks that the id is free, and removes an ended job if there are too many.
    fn reserve(&self, id: &str) -> Result<(), StartError> {
        let mut jobs = lock(&self.jobs);
        if jobs.contains_key(id) {
            return Err(server_error(format!("there is a job {id} already")));
        }
        if jobs.len() < MAX_JOBS {
            return Ok(());
        }
        let ended = jobs.values().filter(|job| job.state().log_complete);
        let Some(oldest) = ended
            .min_by_key(|job| job.state().ended_ms)
            .map(|job| job.id().to_owned())
        else {
            return Err(server_error(format!(
                "{MAX_JOBS} jobs are running, which is the limit: wait until one ends"
            )));
        };
        if let Some(job) = jobs.remove(&oldest) {
            job.log().remove(&self.directory.join(&oldest));
        }
        Ok(())
    }
}

/// Starts the program of a job with one pipe for both of its output streams.
fn spawn_with_log(program: &Program) -> io::Result<(Child, pipe::Receiver)> {
    let (output, stdout) = io::pipe()?;
    let stderr = stdout.try_clone()?;
    // Standard input is a pipe without a writer, because the image may have no /dev/null.
    let (stdin, _) = io::pipe()?;
    let child = spawn_in_group(
        program,
        [Stdio::from(stdin), Stdio::from(stdout), Stdio::from(stderr)],
    )?;
    Ok((child, pipe::Receiver::from_owned_fd(OwnedFd::from(output))?))
}

/// Checks that an id can be a file name.
fn check_id(id: &str) -> Result<(), StartError> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if id.is_empty() || id.len() > 64 || !id.bytes().all(is_valid) {
        return Err(server_error(
            "a job's id is 1 to 64 letters, digits, '-' or '_'".into(),
        ));
    }
    Ok(())
}

/// An error that is caused neither by the program nor by the system.
fn server_error(message: String) -> StartError {
    StartError {
        exit_code: 125,
        is_paused: false,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_be_a_path() {
        for valid in ["a", "build-1_B", &"x".repeat(64)] {
            assert!(check_id(valid).is_ok(), "{valid:?}");
        }
        for invalid in ["", ".", "..", "a/b", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert_eq!(check_id(invalid).unwrap_err().exit_code, 125, "{invalid:?}");
        }
    }
}
