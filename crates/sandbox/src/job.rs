//! Background jobs: commands that outlive the program that started them.

use sandbox_core::dialect::JobRecord;
use sandbox_core::{AttachOptions, ExecEvent, ExitStatus, JobId, Process, Result, Signal};

use crate::Sandbox;

impl Sandbox {
    /// The jobs of this sandbox, whoever started them, oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::Connection`](crate::Error::Connection), or [`Error::Unsupported`](crate::Error::Unsupported) by a server that is not ours.
    pub async fn jobs(&self) -> Result<Vec<JobRecord>> {
        self.inner.explained(self.inner.session.jobs().await).await
    }

    /// A handle on a job, which is asked nothing yet.
    pub fn job(&self, id: JobId) -> Job {
        Job::new(self.clone(), id)
    }
}

/// A background job.
#[derive(Debug, Clone)]
pub struct Job {
    sandbox: Sandbox,
    id: JobId,
}

impl Job {
    pub(crate) fn new(sandbox: Sandbox, id: JobId) -> Self {
        Self { sandbox, id }
    }

    /// Its id, to find it again with [`Sandbox::job`].
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// Waits for its end. Dropping the future leaves the job alone.
    ///
    /// # Errors
    ///
    /// [`Error::Connection`](crate::Error::Connection) or [`Error::Command`](crate::Error::Command) when the connection is lost; the job goes on.
    pub async fn wait(&self) -> Result<ExitStatus> {
        let process = self.attach(AttachOptions::wait()).await?;
        self.sandbox.inner.explained(process.wait().await).await
    }

    /// What its log holds now: both outputs, as they were written.
    ///
    /// # Errors
    ///
    /// [`Error::Connection`](crate::Error::Connection) or [`Error::Command`](crate::Error::Command).
    pub async fn logs(&self) -> Result<Vec<u8>> {
        let mut process = self.attach(AttachOptions::snapshot()).await?;
        let mut log = Vec::new();
        while let Some(event) = process.next().await {
            if let ExecEvent::Stdout(bytes) = event? {
                log.extend_from_slice(&bytes);
            }
        }
        Ok(log)
    }

    /// Its log from the beginning, and as it grows; then its end.
    ///
    /// # Errors
    ///
    /// [`Error::Connection`](crate::Error::Connection) or [`Error::Command`](crate::Error::Command).
    pub async fn follow(&self) -> Result<Process> {
        self.follow_from(0).await
    }

    /// The same from a byte of the log on; [`JobRecord::log_bytes`] says how many there are.
    ///
    /// # Errors
    ///
    /// As [`follow`](Self::follow).
    pub async fn follow_from(&self, offset: u64) -> Result<Process> {
        let mut options = AttachOptions::follow();
        options.offset = offset;
        let process = self.attach(options).await?;
        Ok(self.sandbox.inner.explaining(process))
    }

    /// Sends a signal to its process group.
    ///
    /// # Errors
    ///
    /// [`Error::Command`](crate::Error::Command) when it has ended.
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        let mut process = self.attach(AttachOptions::wait()).await?;
        process.control().signal(signal).await?;
        // The channel stays until the signal is on its way: the job's end, or a moment.
        match tokio::time::timeout(std::time::Duration::from_millis(200), process.next()).await {
            Ok(Some(Err(error))) => Err(error),
            _ => Ok(()),
        }
    }

    async fn attach(&self, options: AttachOptions) -> Result<Process> {
        let attached = self.sandbox.inner.session.attach_job(&self.id, options).await;
        self.sandbox.inner.explained(attached).await
    }
}
