//! Operations on files, with well-formed and malformed responses.

use sandbox::{DownloadRequest, FileInfo, FileKind, FilePath, Session, UploadRequest};

use crate::world::{World, check_error};

/// The size limit of the downloads.
const MAX_SIZE: u64 = 50_000;

pub(crate) fn target(bytes: &[u8]) {
    World::run(bytes, |case, world| async move {
        let (operation, is_sandbox_sshd) = {
            let mut case = case.lock().unwrap();
            (case.input.choice(13), case.input.choice(2) == 1)
        };
        let sandbox = world.sandbox(is_sandbox_sshd).await;
        let session = sandbox.session().as_ref();
        if let Err(error) = perform(session, operation).await {
            check_error(&error);
        }
        if operation == 12
            && let Err(error) = sandbox.files().remove_dir_all("d").await
        {
            check_error(&error);
        }
    });
}

async fn perform(session: &dyn Session, operation: u8) -> sandbox::Result<()> {
    match operation {
        0 | 1 => session
            .list(&"d".into())
            .await?
            .iter()
            .for_each(check_entry),
        2 => drop(session.stat(&"f".into(), true).await?),
        3 => check_path(&session.read_link(&"l".into()).await?),
        4 => check_path(&session.canonicalize(&".".into()).await?),
        5..=7 => {
            let mut request = DownloadRequest::new("f");
            request.max_size = Some(MAX_SIZE);
            let (near, mut far) = tokio::io::duplex(1 << 20);
            let read = session.download(request, Box::new(near)).await?;
            let mut content = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut far, &mut content)
                .await
                .unwrap();
            assert!(
                read <= MAX_SIZE && content.len() as u64 == read,
                "{read} bytes reported, {} written",
                content.len()
            );
        }
        8 | 9 => {
            let content = vec![7; 70_000];
            let mut request = UploadRequest::new("f");
            request.size = Some(content.len() as u64);
            let written = session
                .upload(request, Box::new(std::io::Cursor::new(content)))
                .await?;
            assert_eq!(written, 70_000);
        }
        10 => session.create_dir(&"a/b".into(), true).await?,
        11 => {
            session.rename(&"a".into(), &"b".into()).await?;
            session.symlink(&"a".into(), &"b".into()).await?;
            session.set_mode(&"a".into(), 0o644).await?;
        }
        _ => {}
    }
    Ok(())
}

fn check_entry(entry: &FileInfo) {
    let FileInfo {
        name, kind, mode, ..
    } = entry;
    assert!(!matches!(name.as_bytes(), b"" | b"." | b".."), "{name:?}");
    let is_part = |byte: &u8| !matches!(byte, b'/' | 0);
    assert!(name.as_bytes().iter().all(is_part), "{name:?}");
    assert!(*mode <= 0o7777, "{mode:o}");
    assert!(matches!(
        kind,
        FileKind::File | FileKind::Directory | FileKind::Symlink | FileKind::Other
    ));
}

fn check_path(path: &FilePath) {
    assert!(
        !path.is_empty() && !path.as_bytes().contains(&0),
        "{path:?}"
    );
}
