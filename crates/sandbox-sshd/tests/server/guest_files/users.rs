//! Files of other users. Most of it needs root.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::unistd::{User, geteuid};
use sandbox_core::guest::{FileEntry, FileRequest, RefusalCode};

use super::{Guest, write_request};

/// A user that every system has, who is not root.
const OTHER: &str = "nobody";

fn for_user(user: &str, request: FileRequest) -> FileRequest {
    FileRequest::AsUser {
        user: user.to_owned(),
        request: Box::new(request),
    }
}

fn stat(path: &str) -> FileRequest {
    FileRequest::Stat { path: path.into() }
}

#[tokio::test]
async fn the_own_user_may_be_named_and_unknown_ones_are_refused() {
    let guest = Guest::new().await;
    let own = geteuid().to_string();
    let written = guest.write_with(for_user(&own, write_request("a/f")), b"x");
    let path = guest.path("a/f");
    assert_eq!(written.await.unwrap().entry.path, path.to_str().unwrap());
    for user in ["no such user", "", "4294967295"] {
        let code = guest.code(for_user(user, stat("a/f"))).await;
        assert_eq!(code, RefusalCode::UnknownUser, "{user:?}");
    }
    let twice = for_user(&own, for_user(&own, stat("a/f")));
    assert_eq!(guest.code(twice).await, RefusalCode::Invalid);
    if !geteuid().is_root() {
        let refusal = guest.refusal(for_user(OTHER, stat("a/f"))).await;
        assert_eq!(refusal.code, RefusalCode::PermissionDenied);
        assert!(refusal.message.contains("not root"), "{}", refusal.message);
    }
}

#[tokio::test]
async fn what_is_created_belongs_to_the_user() {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let guest = Guest::new().await;
    let other = User::from_name(OTHER).unwrap().unwrap();
    let ids = (other.uid.as_raw(), other.gid.as_raw());
    let owner = |name: &str| {
        let found = std::fs::symlink_metadata(guest.path(name)).unwrap();
        (found.uid(), found.gid())
    };
    let path = |name: &str| guest.path(name).to_str().unwrap().to_owned();

    std::fs::create_dir(guest.path("roots")).unwrap();
    std::fs::write(guest.path("roots/kept"), "old").unwrap();
    let requests = ["roots/a/b/f", "roots/kept"].map(|name| write_request(&path(name)));
    for request in requests {
        let written = guest.write_with(for_user(OTHER, request), b"new").await;
        written.unwrap();
    }
    let make = FileRequest::MakeDir {
        path: path("roots/c/d").into(),
    };
    let made: FileEntry = guest.call(for_user(OTHER, make)).await.unwrap();
    assert_eq!(made.owner, OTHER);
    let rename = FileRequest::Move {
        from: path("roots/kept").into(),
        to: path("roots/e/kept").into(),
    };
    let _: FileEntry = guest.call(for_user(OTHER, rename)).await.unwrap();
    for name in [
        "roots/a",
        "roots/a/b",
        "roots/a/b/f",
        "roots/c",
        "roots/c/d",
        "roots/e",
    ] {
        assert_eq!(owner(name), ids, "{name}");
    }
    let created = std::fs::metadata(guest.path("roots/a/b/f")).unwrap();
    assert_eq!(created.permissions().mode() & 0o777, 0o644);
    // What existed stays whose it was.
    for name in ["roots", "roots/e/kept"] {
        assert_eq!(owner(name), (0, 0), "{name}");
    }
    let home: FileEntry = guest
        .call(for_user(OTHER, stat(".")))
        .await
        .unwrap_or_default();
    if other.dir.is_dir() {
        assert_eq!(home.path, other.dir.to_str().unwrap());
    }
}
