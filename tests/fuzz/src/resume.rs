//! Transfers that are continued, and bytes that are added, while the server lies about sizes and
//! hashes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandbox::{Sandbox, TransferReport};

use crate::world::{World, check_error};

/// What the server has, where it tells the truth, is this byte again and again; see
/// [`Sftp`](crate::sftp::Sftp).
const TRUE: u8 = b'x';
const OTHER: u8 = b'y';
/// The file that is to be replaced.
const FORMER: &str = "former";

pub(crate) fn target(bytes: &[u8]) {
    let place = Place::new();
    World::run(bytes, |case, world| {
        let place = place.paths();
        async move {
            let (what, ours, length, wrong) = {
                let input = &mut case.lock().unwrap().input;
                let length = usize::from(input.byte()) * if input.choice(4) == 3 { 400 } else { 1 };
                (
                    input.choice(5),
                    input.choice(2) == 1,
                    length,
                    usize::from(input.byte()),
                )
            };
            let sandbox = world.new_sandbox(ours).await;
            let mut content = vec![TRUE; length];
            if let Some(byte) = content.get_mut(wrong) {
                *byte = OTHER;
            }
            match what {
                0 | 1 => download(&sandbox, &place, &content).await,
                2 | 3 => upload(&sandbox, &place, &content).await,
                _ => {
                    let from = Box::new(std::io::Cursor::new(content));
                    match sandbox.session().append("f", from).await {
                        Ok(added) => assert_eq!(added, length as u64),
                        Err(error) => check_error(&error),
                    }
                }
            }
        }
    });
    place.check();
}

/// The part that is here is kept only as far as the server proved it, and the file appears only
/// when it is all there.
async fn download(sandbox: &Sandbox, place: &Paths, there: &[u8]) {
    fs::write(&place.partial, there).unwrap();
    let report = sandbox
        .transfer()
        .resume(true)
        .download("f", &place.file)
        .await;
    let Some(report) = told(report) else {
        assert_eq!(
            fs::read_to_string(&place.file).unwrap(),
            FORMER,
            "a part was taken for the whole"
        );
        return;
    };
    let content = fs::read(&place.file).unwrap();
    assert_eq!(content.len() as u64, report.bytes, "another size than told");
    let kept = usize::try_from(report.resumed_at).unwrap();
    assert!(
        kept <= there.len() && content[..kept] == there[..kept],
        "what is kept was here"
    );
    assert!(
        !content[..kept].contains(&OTHER),
        "a part was kept whose hash is another"
    );
    assert!(!place.partial.exists());
}

/// What the server says to have is left out only where it knew its hash.
async fn upload(sandbox: &Sandbox, place: &Paths, content: &[u8]) {
    fs::write(&place.partial, content).unwrap();
    let report = sandbox
        .transfer()
        .resume(true)
        .upload(&place.partial, "f")
        .await;
    fs::remove_file(&place.partial).unwrap();
    if let Some(report) = told(report) {
        assert_eq!(report.bytes, content.len() as u64);
        assert!(report.resumed_at <= report.bytes);
        let proved = usize::try_from(report.resumed_at).unwrap();
        assert!(
            !content[..proved].contains(&OTHER),
            "a part was left out that the server did not have"
        );
    }
}

fn told(report: sandbox::Result<TransferReport>) -> Option<TransferReport> {
    report.map_err(|error| check_error(&error)).ok()
}

/// A directory with the file that is replaced, and what there is of the new one.
struct Place(tempfile::TempDir);

struct Paths {
    file: PathBuf,
    partial: PathBuf,
}

impl Place {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let place = Self(tempfile::tempdir_in(parent).unwrap());
        fs::write(&place.paths().file, FORMER).unwrap();
        place
    }

    fn paths(&self) -> Arc<Paths> {
        let (file, partial) = (
            self.0.path().join("f"),
            self.0.path().join(sandbox::partial_name("f")),
        );
        Arc::new(Paths { file, partial })
    }

    fn check(&self) {
        let paths = self.paths();
        for entry in fs::read_dir(self.0.path()).unwrap() {
            let path = entry.unwrap().path();
            assert!(
                path == paths.file || path == paths.partial,
                "{} was made",
                path.display()
            );
        }
    }
}
