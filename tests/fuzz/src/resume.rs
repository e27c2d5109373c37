//! Transfers that are resumed, and appended bytes, while the server sends false sizes and hashes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use sandbox::{Sandbox, TransferReport};

use crate::world::{World, check_error, temporary_directory};

/// The files of the server consist of this byte; see [`Sftp`](crate::sftp::Sftp).
const SERVER_BYTE: u8 = b'x';
/// A byte that no file of the server has.
const OTHER_BYTE: u8 = b'y';
/// The content of the file that is replaced.
const PREVIOUS: &str = "previous";

pub(crate) fn target(bytes: &[u8]) {
    let target = TargetDirectory::new();
    World::run(bytes, |case, world| {
        let paths = target.paths();
        async move {
            let (call, is_sandbox_sshd, length, wrong) = {
                let input = &mut case.lock().unwrap().input;
                let length = usize::from(input.byte()) * if input.choice(4) == 3 { 400 } else { 1 };
                (
                    input.choice(5),
                    input.choice(2) == 1,
                    length,
                    usize::from(input.byte()),
                )
            };
            let sandbox = world.new_sandbox(is_sandbox_sshd).await;
            let mut content = vec![SERVER_BYTE; length];
            if let Some(byte) = content.get_mut(wrong) {
                *byte = OTHER_BYTE;
            }
            match call {
                0 | 1 => download(&sandbox, &paths, &content).await,
                2 | 3 => upload(&sandbox, &paths, &content).await,
                _ => {
                    let from = Box::new(std::io::Cursor::new(content));
                    match sandbox.session().append(&"f".into(), from).await {
                        Ok(added) => assert_eq!(added, length as u64),
                        Err(error) => check_error(&error),
                    }
                }
            }
        }
    });
    target.check();
}

/// The partial file is kept only as far as the server has proved its hash, and the file appears
/// only when it is complete.
async fn download(sandbox: &Sandbox, paths: &Paths, partial: &[u8]) {
    fs::write(&paths.partial, partial).unwrap();
    fs::set_permissions(&paths.partial, fs::Permissions::from_mode(0o600)).unwrap();
    let report = sandbox
        .transfer()
        .resume(true)
        .download("f", &paths.file)
        .await;
    let Some(report) = check_report(report) else {
        assert_eq!(
            fs::read_to_string(&paths.file).unwrap(),
            PREVIOUS,
            "a partial file was taken for a complete one"
        );
        return;
    };
    let content = fs::read(&paths.file).unwrap();
    assert_eq!(
        content.len() as u64,
        report.bytes,
        "the reported size is wrong"
    );
    let kept = usize::try_from(report.resumed_at).unwrap();
    assert!(
        kept <= partial.len() && content[..kept] == partial[..kept],
        "the kept bytes are not those of the partial file"
    );
    assert!(
        !content[..kept].contains(&OTHER_BYTE),
        "bytes with another hash were kept"
    );
    assert!(!paths.partial.exists());
}

/// Bytes that the server claims to have are skipped only if it has sent their hash.
async fn upload(sandbox: &Sandbox, paths: &Paths, content: &[u8]) {
    fs::write(&paths.partial, content).unwrap();
    let report = sandbox
        .transfer()
        .resume(true)
        .upload(&paths.partial, "f")
        .await;
    fs::remove_file(&paths.partial).unwrap();
    if let Some(report) = check_report(report) {
        assert_eq!(report.bytes, content.len() as u64);
        assert!(report.resumed_at <= report.bytes);
        let proved = usize::try_from(report.resumed_at).unwrap();
        assert!(
            !content[..proved].contains(&OTHER_BYTE),
            "bytes were skipped that the server did not have"
        );
    }
}

fn check_report(report: sandbox::Result<TransferReport>) -> Option<TransferReport> {
    report.map_err(|error| check_error(&error)).ok()
}

/// A directory with the file that is replaced, and the partial file.
struct TargetDirectory(tempfile::TempDir);

struct Paths {
    file: PathBuf,
    partial: PathBuf,
}

impl TargetDirectory {
    fn new() -> Self {
        let directory = Self(temporary_directory());
        fs::write(&directory.paths().file, PREVIOUS).unwrap();
        directory
    }

    fn paths(&self) -> Arc<Paths> {
        let file = self.0.path().join("f");
        let partial = self.0.path().join(sandbox::partial_name("f"));
        Arc::new(Paths { file, partial })
    }

    fn check(&self) {
        let paths = self.paths();
        for entry in fs::read_dir(self.0.path()).unwrap() {
            let path = entry.unwrap().path();
            assert!(
                path == paths.file || path == paths.partial,
                "{} was created",
                path.display()
            );
        }
    }
}
