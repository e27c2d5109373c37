//! Watches of directories.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use sandbox_core::guest::Done;

use super::*;

/// Carries out an operation that replies with an entry.
async fn change(guest: &Guest, request: FileRequest) {
    let _entry: FileEntry = guest.call(request).await.unwrap();
}

fn make_dir(path: &str) -> FileRequest {
    FileRequest::MakeDir { path: path.into() }
}

#[tokio::test]
async fn a_small_new_file_is_three_events_at_once() {
    let guest = Guest::new().await;
    for (watched, directory) in [("d", "d"), ("e", "e/nested")] {
        change(&guest, make_dir(directory)).await;
        let watcher = guest.create_watcher(recursive(watched)).await;
        assert_eq!(guest.take_events(&watcher).await, []);
        let path = format!("{directory}/f");
        guest.write(&path, b"content").await.unwrap();
        let name = path.strip_prefix(&format!("{watched}/")).unwrap();
        let expected = ["Created", "Attributes", "Written"].map(|kind| format!("{kind} {name}"));
        assert_eq!(described(&guest.take_events(&watcher).await), expected);
        assert_eq!(guest.take_events(&watcher).await, []);
    }
}

#[tokio::test]
async fn each_change_is_reported() {
    let guest = Guest::new().await;
    std::fs::create_dir_all(guest.path("d/sub")).unwrap();
    let watcher = guest.create_watcher(WatchOptions::new("d")).await;
    let path = |name: &str| guest.path(&format!("d/{name}"));
    std::fs::write(path("a"), "1").unwrap();
    std::fs::set_permissions(path("a"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(path("a"), path("b")).unwrap();
    std::fs::rename(path("b"), guest.path("outside")).unwrap();
    std::fs::rename(guest.path("outside"), path("c")).unwrap();
    std::fs::remove_file(path("c")).unwrap();
    std::fs::write(path("sub/f"), "").unwrap();
    std::fs::remove_dir_all(path("sub")).unwrap();
    assert_eq!(
        described(&guest.take_events(&watcher).await),
        [
            "Created a",
            "Written a",
            "Attributes a",
            "Renamed a",
            "Created b",
            "Renamed b",
            "Created c",
            "Removed c",
            "Removed sub",
        ]
    );
}

#[tokio::test]
async fn events_are_streamed_with_entries() {
    let guest = Guest::new().await;
    std::fs::create_dir(guest.path("d")).unwrap();
    let mut options = WatchOptions::new("d");
    options.with_entries = true;
    let mut watch = guest.begin(FileRequest::Watch(options)).await;
    let Done { .. } = watch.reply().await.unwrap();
    guest.write("d/f", b"12345").await.unwrap();
    for kind in [
        FileEventKind::Created,
        FileEventKind::Attributes,
        FileEventKind::Written,
    ] {
        let event: FileEvent = watch.reply().await.unwrap();
        assert_eq!((event.kind, &event.name), (kind, &"f".into()));
        let entry = event.entry.unwrap();
        assert_eq!(entry.path, guest.path("d/f").to_str().unwrap());
    }
    std::fs::remove_file(guest.path("d/f")).unwrap();
    let event: FileEvent = watch.reply().await.unwrap();
    assert_eq!((event.kind, event.entry), (FileEventKind::Removed, None));
    std::fs::remove_dir(guest.path("d")).unwrap();
    let event: FileEvent = watch.reply().await.unwrap();
    assert_eq!(
        (event.kind, event.name),
        (FileEventKind::Removed, "".into())
    );
    let end = watch.next().await.unwrap();
    assert_eq!(end.kind, FrameKind::ContentEnd);
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn new_directories_are_watched_without_losing_files() {
    let guest = Guest::new().await;
    std::fs::create_dir(guest.path("d")).unwrap();
    let watcher = guest.create_watcher(recursive("d")).await;
    let top = guest.path("d");
    let creating = tokio::task::spawn_blocking(move || {
        for index in 0..200 {
            let directory = top.join(format!("{index}/a/b"));
            std::fs::create_dir_all(&directory).unwrap();
            for file in ["x", "y"] {
                std::fs::write(directory.join(file), "1").unwrap();
            }
        }
    });
    creating.await.unwrap();
    let events = described(&guest.take_events(&watcher).await);
    let mut created: Vec<_> = events
        .iter()
        .filter_map(|event| event.strip_prefix("Created "))
        .collect();
    created.sort_unstable();
    let mut expected: Vec<String> = (0..200)
        .flat_map(|index| {
            ["", "/a", "/a/b", "/a/b/x", "/a/b/y"].map(|path| format!("{index}{path}"))
        })
        .collect();
    expected.sort_unstable();
    assert_eq!(created, expected, "each of them once");
    assert!(!events.iter().any(|event| event.starts_with("Overflow")));
}

#[tokio::test]
async fn a_directory_is_followed_when_it_is_moved() {
    let guest = Guest::new().await;
    std::fs::create_dir_all(guest.path("d/a/sub")).unwrap();
    std::fs::create_dir_all(guest.path("d/other")).unwrap();
    let watcher = guest.create_watcher(recursive("d")).await;
    std::fs::rename(guest.path("d/a"), guest.path("d/other/b")).unwrap();
    std::fs::write(guest.path("d/other/b/sub/f"), "").unwrap();
    assert_eq!(
        described(&guest.take_events(&watcher).await),
        ["Renamed a", "Created other/b", "Created other/b/sub/f"]
    );
    // Out of the watched directory, and back with what was created there.
    std::fs::rename(guest.path("d/other/b"), guest.path("out")).unwrap();
    assert_eq!(
        described(&guest.take_events(&watcher).await),
        ["Renamed other/b"]
    );
    std::fs::write(guest.path("out/unseen"), "").unwrap();
    assert_eq!(guest.take_events(&watcher).await, []);
    std::fs::rename(guest.path("out"), guest.path("d/back")).unwrap();
    assert_eq!(
        described(&guest.take_events(&watcher).await),
        [
            "Created back",
            "Created back/sub",
            "Created back/unseen",
            "Created back/sub/f"
        ]
    );
    let mut file = std::fs::File::options()
        .append(true)
        .open(guest.path("d/back/sub/f"))
        .unwrap();
    file.write_all(b"1").unwrap();
    assert_eq!(
        described(&guest.take_events(&watcher).await),
        ["Written back/sub/f"]
    );
}

#[tokio::test]
async fn two_watches_of_one_directory_are_independent() {
    let guest = Guest::new().await;
    std::fs::create_dir(guest.path("d")).unwrap();
    let first = guest.create_watcher(WatchOptions::new("d")).await;
    std::fs::write(guest.path("d/a"), "").unwrap();
    let second = guest.create_watcher(recursive("")).await;
    std::fs::write(guest.path("d/b"), "").unwrap();
    assert_eq!(
        described(&guest.take_events(&second).await),
        ["Created d/b"],
        "what happened before is not reported"
    );
    assert_eq!(
        described(&guest.take_events(&first).await),
        ["Created a", "Created b"]
    );
    let remove = FileRequest::RemoveWatcher {
        watcher: first.clone(),
    };
    let Done { .. } = guest.call(remove.clone()).await.unwrap();
    assert_eq!(guest.code(remove).await, RefusalCode::NotFound);
    let take = FileRequest::TakeEvents { watcher: first };
    assert_eq!(guest.code(take).await, RefusalCode::NotFound);
    std::fs::write(guest.path("d/c"), "").unwrap();
    assert_eq!(
        described(&guest.take_events(&second).await),
        ["Created d/c"]
    );
}

#[tokio::test]
async fn any_client_takes_the_events_of_a_watcher() {
    let guest = Guest::new().await;
    std::fs::create_dir(guest.path("d")).unwrap();
    let watcher = guest.create_watcher(WatchOptions::new("d")).await;
    guest
        .client
        .disconnect(russh::Disconnect::ByApplication, "", "")
        .await
        .unwrap();
    std::fs::write(guest.path("d/f"), "").unwrap();
    let client = guest.sandbox.connect_as_sdk().await;
    let guest = Guest { client, ..guest };
    assert_eq!(described(&guest.take_events(&watcher).await), ["Created f"]);
}

#[tokio::test]
async fn what_is_no_directory_is_not_watched() {
    let guest = Guest::new().await;
    std::fs::write(guest.path("f"), "").unwrap();
    for (path, code) in [
        ("none", RefusalCode::NotFound),
        ("f", RefusalCode::NotADirectory),
        ("~root", RefusalCode::Invalid),
    ] {
        let options = WatchOptions::new(path);
        let watch = FileRequest::Watch(options.clone());
        assert_eq!(guest.code(watch).await, code, "{path}");
        let create = FileRequest::CreateWatcher(options);
        assert_eq!(guest.code(create).await, code, "{path}");
    }
}

#[tokio::test]
async fn more_events_than_are_kept_are_reported_as_lost() {
    let guest = Guest::new().await;
    std::fs::create_dir(guest.path("d")).unwrap();
    let watcher = guest.create_watcher(recursive("d")).await;
    let top = guest.path("d");
    let creating = tokio::task::spawn_blocking(move || {
        for index in 0..20_000 {
            std::fs::write(top.join(format!("{index}")), "").unwrap();
        }
        std::fs::create_dir(top.join("last")).unwrap();
    });
    creating.await.unwrap();
    let events = guest.take_events(&watcher).await;
    assert!(events.len() < 20_000);
    let last = events.last().unwrap();
    assert_eq!(
        (last.kind, &last.name),
        (FileEventKind::Overflow, &"".into())
    );
    // The watch goes on, also in directories whose creation was lost.
    std::fs::write(guest.path("d/last/f"), "").unwrap();
    assert_eq!(
        described(&guest.take_events(&watcher).await),
        ["Created last/f"]
    );
}

#[tokio::test]
async fn the_number_of_watches_is_limited() {
    let guest = Guest::new().await;
    let mut watchers = Vec::new();
    let refusal = loop {
        let request = FileRequest::CreateWatcher(WatchOptions::new(""));
        match guest.call::<String>(request).await {
            Ok(watcher) => watchers.push(watcher),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(
        (refusal.code, watchers.len()),
        (RefusalCode::LimitReached, 64)
    );
    let watcher = watchers.pop().unwrap();
    let Done { .. } = guest
        .call(FileRequest::RemoveWatcher { watcher })
        .await
        .unwrap();
    let watch = FileRequest::Watch(WatchOptions::new(""));
    let mut watch = guest.begin(watch).await;
    let Done { .. } = watch.reply().await.unwrap();
    // A watch ends when its channel is closed.
    watch.channel.close().await.unwrap();
    let create = async {
        loop {
            let request = FileRequest::CreateWatcher(WatchOptions::new(""));
            if guest.call::<String>(request).await.is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, create).await.unwrap();
}
