//! A session that adds the backend's diagnosis to the errors of lost connections.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sandbox_core::protocol::JobRecord;
use sandbox_core::{
    AttachOptions, ByteStream, ClaimRequest, Direction, DownloadRequest, Error, ExecRequest,
    FileInfo, FilePath, FileSystem, GuestChannel, JobId, ListBudget, Output, PortListener,
    PortProbe, Process, Reader, Result, SandboxBackend, SandboxId, Session, TreeChannel,
    UploadRequest, Writer,
};

use super::end::EndState;
use crate::diagnosis::add_diagnosis;

/// Wraps a session. If a connection is lost, the error says what happened to the sandbox.
pub(super) struct DiagnosingSession {
    session: Arc<dyn Session>,
    diagnoser: Diagnoser,
}

/// Diagnoses the errors of one sandbox. It does not hold the sandbox's handle, because a running
/// process does not keep a sandbox attached.
#[derive(Clone)]
pub(super) struct Diagnoser {
    backend: Arc<dyn SandboxBackend>,
    id: SandboxId,
    end: Arc<EndState>,
}

impl DiagnosingSession {
    pub(super) fn new(session: Arc<dyn Session>, diagnoser: Diagnoser) -> Self {
        Self { session, diagnoser }
    }

    async fn diagnose<T>(&self, result: Result<T>) -> Result<T> {
        self.diagnoser.diagnose_result(result).await
    }

    /// Diagnoses the error that starts a process, and the one that may end its events.
    async fn diagnose_process(&self, process: Result<Process>) -> Result<Process> {
        let process = self.diagnose(process).await?;
        let diagnoser = self.diagnoser.clone();
        Ok(process.map_error(move |error| async move { diagnoser.diagnose(error).await }))
    }
}

impl Diagnoser {
    pub(super) fn new(backend: Arc<dyn SandboxBackend>, id: SandboxId, end: Arc<EndState>) -> Self {
        Self { backend, id, end }
    }

    /// Adds the backend's diagnosis to the error of a lost connection.
    pub(super) async fn diagnose(&self, error: Error) -> Error {
        let error = add_diagnosis(&*self.backend, &self.id, error).await;
        if matches!(error, Error::NotFound { .. }) {
            self.end.record();
        }
        error
    }

    /// The same for what was done on a channel of the session: a connection that has just been lost shows only there.
    pub(super) async fn diagnose_result<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => Err(self.diagnose(error).await),
        }
    }
}

#[async_trait]
impl FileSystem for DiagnosingSession {
    async fn stat(&self, path: &FilePath, follow: bool) -> Result<FileInfo> {
        self.diagnose(self.session.stat(path, follow).await).await
    }

    async fn list(&self, path: &FilePath) -> Result<Vec<FileInfo>> {
        self.diagnose(self.session.list(path).await).await
    }

    async fn create_dir(&self, path: &FilePath, parents: bool) -> Result<()> {
        self.diagnose(self.session.create_dir(path, parents).await)
            .await
    }

    async fn rename(&self, from: &FilePath, to: &FilePath) -> Result<()> {
        self.diagnose(self.session.rename(from, to).await).await
    }

    async fn remove_file(&self, path: &FilePath) -> Result<()> {
        self.diagnose(self.session.remove_file(path).await).await
    }

    async fn remove_dir(&self, path: &FilePath) -> Result<()> {
        self.diagnose(self.session.remove_dir(path).await).await
    }

    async fn set_mode(&self, path: &FilePath, mode: u32) -> Result<()> {
        self.diagnose(self.session.set_mode(path, mode).await).await
    }

    async fn list_within(&self, path: &FilePath, budget: &ListBudget) -> Result<Vec<FileInfo>> {
        self.diagnose(self.session.list_within(path, budget).await)
            .await
    }

    async fn set_attributes(
        &self,
        path: &FilePath,
        mode: Option<u32>,
        modified: Option<SystemTime>,
    ) -> Result<()> {
        self.diagnose(self.session.set_attributes(path, mode, modified).await)
            .await
    }

    async fn symlink(&self, target: &FilePath, path: &FilePath) -> Result<()> {
        self.diagnose(self.session.symlink(target, path).await)
            .await
    }

    async fn read_link(&self, path: &FilePath) -> Result<FilePath> {
        self.diagnose(self.session.read_link(path).await).await
    }

    async fn canonicalize(&self, path: &FilePath) -> Result<FilePath> {
        self.diagnose(self.session.canonicalize(path).await).await
    }

    async fn append(&self, path: &FilePath, from: Reader) -> Result<u64> {
        self.diagnose(self.session.append(path, from).await).await
    }

    async fn sha256(&self, path: &FilePath, range: Range<u64>) -> Result<Option<[u8; 32]>> {
        self.diagnose(self.session.sha256(path, range).await).await
    }
}

#[async_trait]
impl Session for DiagnosingSession {
    async fn exec(&self, request: ExecRequest) -> Result<Process> {
        self.diagnose_process(self.session.exec(request).await)
            .await
    }

    async fn output(&self, request: ExecRequest, cap: usize) -> Result<Output> {
        self.diagnose(self.session.output(request, cap).await).await
    }

    async fn upload(&self, request: UploadRequest, from: Reader) -> Result<u64> {
        self.diagnose(self.session.upload(request, from).await)
            .await
    }

    async fn download(&self, request: DownloadRequest, to: Writer) -> Result<u64> {
        self.diagnose(self.session.download(request, to).await)
            .await
    }

    async fn open_stream(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>> {
        self.diagnose(self.session.open_stream(host, port).await)
            .await
    }

    async fn open_unix_stream(&self, path: &str) -> Result<Box<dyn ByteStream>> {
        self.diagnose(self.session.open_unix_stream(path).await)
            .await
    }

    async fn probe_port(&self, host: &str, port: u16, silence: Duration) -> Result<PortProbe> {
        self.diagnose(self.session.probe_port(host, port, silence).await)
            .await
    }

    async fn listen(&self, port: Option<u16>) -> Result<PortListener> {
        self.diagnose(self.session.listen(port).await).await
    }

    async fn start_job(&self, id: &JobId, request: ExecRequest) -> Result<()> {
        self.diagnose(self.session.start_job(id, request).await)
            .await
    }

    async fn extend(&self, ttl: Duration) -> Result<Duration> {
        self.diagnose(self.session.extend(ttl).await).await
    }

    async fn start_ttl(&self, ttl: Duration) -> Result<Duration> {
        self.diagnose(self.session.start_ttl(ttl).await).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<bool> {
        self.diagnose(self.session.claim(request).await).await
    }

    async fn open_tree(&self, direction: Direction) -> Result<TreeChannel> {
        self.diagnose(self.session.open_tree(direction).await).await
    }

    async fn open_guest(&self) -> Result<GuestChannel> {
        self.diagnose(self.session.open_guest().await).await
    }

    async fn jobs(&self) -> Result<Vec<JobRecord>> {
        self.diagnose(self.session.jobs().await).await
    }

    async fn attach_job(&self, id: &JobId, options: AttachOptions) -> Result<Process> {
        self.diagnose_process(self.session.attach_job(id, options).await)
            .await
    }
}

impl fmt::Debug for DiagnosingSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.session.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// The methods of the traits in a source, or of their implementations here.
    fn methods(source: &str, begins: &str) -> BTreeSet<String> {
        let (_, body) = source.split_once(begins).unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        let names = body.split("async fn ").skip(1);
        names
            .map(|rest| rest.split('(').next().unwrap().to_owned())
            .collect()
    }

    /// A method with a default body would compile without a diagnosis.
    #[test]
    fn every_method_is_diagnosed() {
        const HERE: &str = include_str!("diagnosing.rs");
        let session = include_str!("../../../sandbox-core/src/session/mod.rs");
        let files = include_str!("../../../sandbox-core/src/session/file_system.rs");
        for (source, name) in [(session, "Session"), (files, "FileSystem")] {
            let expected = methods(source, &format!("\npub trait {name}"));
            assert!(expected.len() > 5, "{expected:?}");
            let found = methods(HERE, &format!("\nimpl {name} for DiagnosingSession"));
            assert_eq!(found, expected, "{name}");
        }
    }
}
