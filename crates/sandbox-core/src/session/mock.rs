//! A mock of [`Session`] and [`FileSystem`], for the unit tests of programs that use them.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    AttachOptions, DownloadRequest, ExecRequest, FileInfo, FileSystem, Output, Process, Reader,
    Session, UploadRequest, Writer,
};
use crate::protocol::JobRecord;
use crate::{ByteStream, JobId, Result};

mockall::mock! {
    /// A mock of [`Session`](crate::Session) and [`FileSystem`](crate::FileSystem).
    #[derive(Debug)]
    pub Session {}

    #[async_trait]
    impl FileSystem for Session {
        async fn stat(&self, path: &str, follow: bool) -> Result<FileInfo>;
        async fn list(&self, path: &str) -> Result<Vec<FileInfo>>;
        async fn create_dir(&self, path: &str, parents: bool) -> Result<()>;
        async fn rename(&self, from: &str, to: &str) -> Result<()>;
        async fn remove_file(&self, path: &str) -> Result<()>;
        async fn remove_dir(&self, path: &str) -> Result<()>;
        async fn set_mode(&self, path: &str, mode: u32) -> Result<()>;
        async fn symlink(&self, target: &str, path: &str) -> Result<()>;
        async fn read_link(&self, path: &str) -> Result<String>;
        async fn canonicalize(&self, path: &str) -> Result<String>;
        async fn append(&self, path: &str, from: Reader) -> Result<u64>;
        async fn sha256(&self, path: &str, range: Range<u64>) -> Result<Option<[u8; 32]>>;
    }

    #[async_trait]
    impl Session for Session {
        async fn exec(&self, request: ExecRequest) -> Result<Process>;
        async fn upload(&self, request: UploadRequest, from: Reader) -> Result<u64>;
        async fn download(&self, request: DownloadRequest, to: Writer) -> Result<u64>;
        async fn open_stream(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>>;
        async fn start_job(&self, id: &JobId, request: ExecRequest) -> Result<()>;
        async fn attach_job(&self, id: &JobId, options: AttachOptions) -> Result<Process>;
        async fn output(&self, request: ExecRequest, cap: usize) -> Result<Output>;
        async fn jobs(&self) -> Result<Vec<JobRecord>>;
        async fn extend(&self, ttl: Duration) -> Result<Duration>;
    }
}
