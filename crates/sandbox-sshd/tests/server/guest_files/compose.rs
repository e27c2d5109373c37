//! Files that are joined to one.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sandbox_core::guest::{FileRequest, MAX_COMPOSED, RefusalCode, Written};

use super::Guest;

fn compose(sources: &[&str], destination: &str) -> FileRequest {
    FileRequest::Compose {
        sources: sources.iter().map(|path| (*path).into()).collect(),
        destination: destination.into(),
    }
}

/// The names in the home directory, without the server's own.
fn names(guest: &Guest) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(guest.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".sandbox")
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_content_of_all_is_in_the_destination_and_the_sources_are_gone() {
    let guest = Guest::new().await;
    let large: Vec<u8> = (0..3_000_001_u32).map(|index| (index / 7) as u8).collect();
    std::fs::write(guest.path("a"), &large).unwrap();
    std::fs::write(guest.path("b"), "").unwrap();
    std::fs::write(guest.path("c"), "end").unwrap();
    let request = compose(&["a", "b", "./c"], "new/below/all");
    let written: Written = guest.call(request).await.unwrap();
    assert_eq!((written.bytes, written.entry.size), (3_000_004, 3_000_004));
    let path = guest.path("new/below/all");
    assert_eq!(written.entry.path, path.to_str().unwrap());
    assert!(std::fs::read(&path).unwrap() == [&large[..], b"end"].concat());
    assert_eq!(names(&guest), ["new"]);
    let below = std::fs::read_dir(guest.path("new/below")).unwrap().count();
    assert_eq!(below, 1, "no temporary file is left");
}

#[tokio::test]
async fn a_file_that_was_there_is_replaced_by_another() {
    let guest = Guest::new().await;
    std::fs::write(guest.path("old"), "old").unwrap();
    std::fs::hard_link(guest.path("old"), guest.path("kept")).unwrap();
    std::fs::set_permissions(guest.path("old"), PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(guest.path("a"), "new").unwrap();
    let written: Written = guest.call(compose(&["a"], "old")).await.unwrap();
    assert_eq!(written.entry.mode & 0o777, 0o644);
    assert_eq!(std::fs::read(guest.path("old")).unwrap(), b"new");
    assert_eq!(std::fs::read(guest.path("kept")).unwrap(), b"old");
}

#[tokio::test]
async fn links_are_read_and_removed_themselves() {
    let guest = Guest::new().await;
    std::fs::write(guest.path("target"), "x").unwrap();
    symlink("target", guest.path("link")).unwrap();
    symlink("nowhere", guest.path("destination")).unwrap();
    // The same file may be named twice.
    let request = compose(&["link", "link"], "destination");
    let written: Written = guest.call(request).await.unwrap();
    assert_eq!(written.bytes, 2);
    assert_eq!(names(&guest), ["destination", "target"]);
    let found = std::fs::symlink_metadata(guest.path("destination")).unwrap();
    assert!(found.is_file(), "the link was replaced");
    assert_eq!(found.size(), 2);
}

#[tokio::test]
async fn what_would_lose_content_is_refused_and_nothing_changes() {
    let guest = Guest::new().await;
    for name in ["a", "b"] {
        std::fs::write(guest.path(name), name).unwrap();
    }
    std::fs::create_dir(guest.path("d")).unwrap();
    std::fs::hard_link(guest.path("b"), guest.path("hard")).unwrap();
    symlink("b", guest.path("soft")).unwrap();
    mkfifo(&guest.path("fifo"), Mode::S_IRWXU).unwrap();
    let before = names(&guest);
    let many = vec!["a"; MAX_COMPOSED + 1];
    for (sources, destination, code) in [
        (&["a", "none"][..], "x", RefusalCode::NotFound),
        (&[], "x", RefusalCode::Invalid),
        (&many, "x", RefusalCode::Invalid),
        (&["a", "b"], "b", RefusalCode::Invalid),
        (&["a", "d/../b"], "b", RefusalCode::Invalid),
        (&["a", "hard"], "b", RefusalCode::Invalid),
        (&["a", "soft"], "b", RefusalCode::Invalid),
        (&["a", "d"], "x", RefusalCode::IsADirectory),
        (&["a"], "d", RefusalCode::IsADirectory),
        (&["a"], "d/..", RefusalCode::IsADirectory),
        (&["a"], "/", RefusalCode::IsADirectory),
        (&["a"], "b/x", RefusalCode::NotADirectory),
        (&["a", "fifo"], "x", RefusalCode::Invalid),
        (&["a"], "fifo", RefusalCode::Invalid),
        (&["a", "/dev/zero"], "x", RefusalCode::Invalid),
        (&["a", "~root/f"], "x", RefusalCode::Invalid),
        (&["a", "b\0"], "x", RefusalCode::Invalid),
        (&["a"], "~root/f", RefusalCode::Invalid),
        // Its size is 0, and its content is not.
        (&["a", "/proc/self/status"], "x", RefusalCode::Other),
    ] {
        let refusal = guest.refusal(compose(sources, destination)).await;
        assert_eq!(refusal.code, code, "{destination}: {}", refusal.message);
        assert_eq!(names(&guest), before, "{}", refusal.message);
    }
    assert_eq!(std::fs::read(guest.path("b")).unwrap(), b"b");
}
