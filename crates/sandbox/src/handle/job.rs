//! Background jobs: commands that outlive the program that started them.

use std::time::Duration;

use sandbox_core::guest::{Refusal, RefusalCode};
use sandbox_core::protocol::JobRecord;
use sandbox_core::{
    AttachOptions, CommandCause, Error, ExitStatus, JobId, Process, Result, Signal,
};

use super::Sandbox;
use super::job_log::{JobLog, JobLogCollector};

impl Sandbox {
    /// Lists the jobs of this sandbox, oldest first, including those that other processes started.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// for job in sbx.jobs().await? {
    ///     println!("{} {} {:?}", job.id, job.program, job.exit_code);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Connection`](crate::Error::Connection), or
    /// [`Error::Unsupported`](crate::Error::Unsupported) from an SSH server that is not the SDK's
    /// own.
    pub async fn jobs(&self) -> Result<Vec<JobRecord>> {
        self.session().jobs().await
    }

    /// Returns a handle on a job, without a request: whether there is such a job, its methods report.
    pub fn job(&self, id: JobId) -> Job {
        Job::new(self.clone(), id)
    }
}

/// How long a channel is kept open after a signal was sent on it.
const SIGNAL_DELAY: Duration = Duration::from_millis(200);

/// A handle on a background job: a command that outlives the program that started it. Created by
/// [`Command::spawn_detached`](crate::Command::spawn_detached) and [`Sandbox::job`].
///
/// ```no_run
/// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
/// let job = sbx.shell("make 2>&1").spawn_detached().await?;
/// // Later, in any process that knows the id:
/// let job = sbx.job(job.id().clone());
/// println!("{}", job.wait().await?);
/// println!("{}", job.logs().await?.to_string_lossy());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Job {
    sandbox: Sandbox,
    id: JobId,
}

impl Job {
    pub(crate) fn new(sandbox: Sandbox, id: JobId) -> Self {
        Self { sandbox, id }
    }

    /// Returns its id, with which [`Sandbox::job`] finds the job.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// Waits until the job has ended. Dropping the future does not affect the job.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`](crate::Error::Refused) with [`NotFound`](crate::RefusalCode::NotFound) if there is no such
    /// job. [`Error::Connection`](crate::Error::Connection) or [`Error::Command`](crate::Error::Command)
    /// if the connection is lost. The job keeps running.
    pub async fn wait(&self) -> Result<ExitStatus> {
        let process = self.attach(AttachOptions::wait()).await?;
        process.wait().await
    }

    /// Returns the current content of its log: standard output and standard error, in the order in
    /// which they were written. The log keeps the first and the last 32 MiB, and so does the
    /// result, whatever the sandbox sends; [`JobLog::omitted`] says how much is left out.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub async fn logs(&self) -> Result<JobLog> {
        let mut process = self.snapshot().await?;
        let mut log = JobLogCollector::default();
        while let Some(event) = process.next().await {
            log.push(&event?);
        }
        Ok(log.finish())
    }

    /// Streams the current content of its log. [`Notice::Omitted`](crate::Notice::Omitted) is
    /// between the beginning and the end of a long one. The stream of a job that still runs ends
    /// without an [`Exited`](crate::ExecEvent::Exited) event.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub async fn snapshot(&self) -> Result<Process> {
        self.attach(AttachOptions::snapshot()).await
    }

    /// Streams its log from the beginning, then new output as it is written, then the exit status.
    ///
    /// ```no_run
    /// # async fn example(job: sandbox::Job) -> sandbox::Result<()> {
    /// let mut log = job.follow().await?;
    /// while let Some(event) = log.next().await {
    ///     if let sandbox::ExecEvent::Stdout(bytes) = event? {
    ///         print!("{}", String::from_utf8_lossy(&bytes));
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait); that there is no such job may be the first event.
    pub async fn follow(&self) -> Result<Process> {
        self.follow_from(0).await
    }

    /// Like [`follow`](Self::follow), from this byte of the output on. [`JobRecord::log_bytes`] and
    /// [`JobRecord::dropped_bytes`] are together the number of its bytes.
    ///
    /// # Errors
    ///
    /// As [`follow`](Self::follow).
    pub async fn follow_from(&self, offset: u64) -> Result<Process> {
        let mut options = AttachOptions::follow();
        options.offset = offset;
        self.attach(options).await
    }

    /// Sends a signal to its process group. A job that ends at the same moment may not receive it: SSH does not
    /// confirm a signal (RFC 4254, section 6.9).
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), and [`Error::Command`](crate::Error::Command) with [`CommandCause::AlreadyEnded`] if it
    /// has ended.
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        let mut process = self.attach(AttachOptions::wait()).await?;
        self.check_running().await?;
        process.control().signal(signal).await?;
        // SSH does not confirm a signal, and dropping the process closes its channel. So the
        // channel is kept open until the job ends, or long enough for the signal to be sent.
        match tokio::time::timeout(SIGNAL_DELAY, process.next()).await {
            Ok(Some(Err(error))) => Err(error),
            _ => Ok(()),
        }
    }

    /// Fails if it has ended or is missing. What waits for an ended job takes a signal as well, and there is nothing that it
    /// would reach.
    async fn check_running(&self) -> Result<()> {
        let records = self.sandbox.jobs().await?;
        let Some(job) = records.iter().find(|job| job.id == self.id.as_str()) else {
            let message = format!("there is no job {} in the sandbox; list its jobs", self.id);
            let refusal = Refusal::new(RefusalCode::NotFound, message);
            return Err(Error::Refused(Box::new(refusal)));
        };
        if job.exit_code.is_some() || job.exit_signal.is_some() {
            return Err(Error::Command {
                cause: CommandCause::AlreadyEnded,
                source: None,
            });
        }
        Ok(())
    }

    async fn attach(&self, options: AttachOptions) -> Result<Process> {
        let session = self.sandbox.session();
        session.attach_job(&self.id, options).await
    }
}
