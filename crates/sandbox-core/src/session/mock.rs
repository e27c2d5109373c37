//! A mock of [`Session`] and [`FileSystem`], for the unit tests of programs that use them.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::{
    AttachOptions, ClaimRequest, DownloadRequest, ExecRequest, FileInfo, FileSystem, GuestChannel,
    Output, PortListener, PortProbe, Process, Reader, Session, UploadRequest, Writer,
};
use crate::protocol::JobRecord;
use crate::{ByteStream, FilePath, JobId, Result};

mockall::mock! {
    /// A mock of [`Session`](crate::Session) and [`FileSystem`](crate::FileSystem).
    #[derive(Debug)]
    pub Session {}

    #[async_trait]
    impl FileSystem for Session {
        async fn stat(&self, path: &FilePath, follow: bool) -> Result<FileInfo>;
        async fn list(&self, path: &FilePath) -> Result<Vec<FileInfo>>;
        async fn create_dir(&self, path: &FilePath, parents: bool) -> Result<()>;
        async fn rename(&self, from: &FilePath, to: &FilePath) -> Result<()>;
        async fn remove_file(&self, path: &FilePath) -> Result<()>;
        async fn remove_dir(&self, path: &FilePath) -> Result<()>;
        async fn set_mode(&self, path: &FilePath, mode: u32) -> Result<()>;
        async fn set_attributes(
            &self,
            path: &FilePath,
            mode: Option<u32>,
            modified: Option<SystemTime>,
        ) -> Result<()>;
        async fn symlink(&self, target: &FilePath, path: &FilePath) -> Result<()>;
        async fn read_link(&self, path: &FilePath) -> Result<FilePath>;
        async fn canonicalize(&self, path: &FilePath) -> Result<FilePath>;
        async fn append(&self, path: &FilePath, from: Reader) -> Result<u64>;
        async fn sha256(&self, path: &FilePath, range: Range<u64>) -> Result<Option<[u8; 32]>>;
    }

    #[async_trait]
    impl Session for Session {
        async fn exec(&self, request: ExecRequest) -> Result<Process>;
        async fn upload(&self, request: UploadRequest, from: Reader) -> Result<u64>;
        async fn download(&self, request: DownloadRequest, to: Writer) -> Result<u64>;
        async fn open_stream(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>>;
        async fn open_unix_stream(&self, path: &str) -> Result<Box<dyn ByteStream>>;
        async fn start_job(&self, id: &JobId, request: ExecRequest) -> Result<()>;
        async fn attach_job(&self, id: &JobId, options: AttachOptions) -> Result<Process>;
        async fn output(&self, request: ExecRequest, cap: usize) -> Result<Output>;
        async fn jobs(&self) -> Result<Vec<JobRecord>>;
        async fn extend(&self, ttl: Duration) -> Result<Duration>;
        async fn start_ttl(&self, ttl: Duration) -> Result<Duration>;
        async fn claim(&self, request: ClaimRequest) -> Result<bool>;
        async fn open_guest(&self) -> Result<GuestChannel>;
        async fn listen(&self, port: Option<u16>) -> Result<PortListener>;
        async fn probe_port(&self, host: &str, port: u16, silence: Duration) -> Result<PortProbe>;
    }
}
