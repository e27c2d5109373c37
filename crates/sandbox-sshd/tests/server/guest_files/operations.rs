//! What each operation does.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use sandbox_core::guest::{Done, EntryKind, SandboxRequest, Usage};

use super::*;

#[tokio::test]
async fn a_file_is_described() {
    let guest = Guest::new().await;
    std::fs::write(guest.path("f"), "hello").unwrap();
    let mode = std::fs::Permissions::from_mode(0o4750);
    std::fs::set_permissions(guest.path("f"), mode).unwrap();
    for path in ["f", "~/f", "./f", guest.path("f").to_str().unwrap()] {
        let path = path.into();
        let entry: FileEntry = guest.call(FileRequest::Stat { path }).await.unwrap();
        assert_eq!(entry.name, "f");
        assert_eq!(entry.path, guest.path("f").to_str().unwrap());
        assert_eq!((entry.kind, entry.size), (EntryKind::File, 5));
        assert_eq!(entry.mode, 0o4750);
        let found = std::fs::metadata(guest.path("f")).unwrap();
        let modified = found.mtime() * 1_000_000_000 + found.mtime_nsec();
        assert_eq!(entry.modified_ns, modified);
        if found.uid() == 0 {
            assert_eq!((&*entry.owner, &*entry.group), ("root", "root"));
        }
        assert_eq!(entry.target, None);
    }
}

#[tokio::test]
async fn a_link_is_described_with_its_target() {
    let guest = Guest::new().await;
    std::fs::create_dir(guest.path("d")).unwrap();
    symlink("d", guest.path("to-d")).unwrap();
    symlink("to-d", guest.path("far")).unwrap();
    symlink("none", guest.path("dangling")).unwrap();
    symlink("loop", guest.path("loop")).unwrap();
    for (name, path, kind) in [
        ("to-d", guest.path("d"), EntryKind::Directory),
        ("far", guest.path("d"), EntryKind::Directory),
        ("dangling", "none".into(), EntryKind::Unknown),
        ("loop", "loop".into(), EntryKind::Unknown),
    ] {
        let request = FileRequest::Stat { path: name.into() };
        let entry: FileEntry = guest.call(request).await.unwrap();
        assert_eq!(entry.kind, EntryKind::Symlink);
        let target = entry.target.unwrap();
        assert_eq!((target.path, target.kind), (path.into(), kind), "{name}");
    }
}

#[tokio::test]
async fn a_directory_is_listed_in_order_and_links_are_not_entered() {
    let guest = Guest::new().await;
    std::fs::create_dir_all(guest.path("d/b/x")).unwrap();
    for file in ["d/a", "d/b/y", "d/b/x/z", "d/b-", "d/c"] {
        std::fs::write(guest.path(file), "").unwrap();
    }
    symlink("b", guest.path("d/to-b")).unwrap();
    symlink("d", guest.path("to-d")).unwrap();
    let list = async |path: &str, depth| {
        let request = FileRequest::List {
            path: path.into(),
            depth,
        };
        let entries: Vec<FileEntry> = guest.list(request).await;
        let top = format!("{}/", guest.path(path).display());
        entries
            .iter()
            .map(|entry| {
                entry
                    .path
                    .to_str()
                    .unwrap()
                    .strip_prefix(&top)
                    .unwrap()
                    .to_owned()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(list("d", 0).await, ["a", "b", "b-", "c", "to-b"]);
    assert_eq!(list("d", 1).await, list("to-d", 1).await);
    assert_eq!(
        list("d", 2).await,
        ["a", "b", "b/x", "b/y", "b-", "c", "to-b"]
    );
    assert_eq!(
        list("to-d", u32::MAX).await,
        ["a", "b", "b/x", "b/x/z", "b/y", "b-", "c", "to-b"]
    );
    assert!(list("d/b/x/../../b/x", 1).await == ["z"]);
    let code = async |path: &str| {
        let path = path.into();
        guest.code(FileRequest::List { path, depth: 1 }).await
    };
    assert_eq!(code("none").await, RefusalCode::NotFound);
    assert_eq!(code("d/a").await, RefusalCode::NotADirectory);
}

#[tokio::test]
async fn a_large_directory_is_listed_as_a_whole() {
    let guest = Guest::new().await;
    for index in 0..1000 {
        std::fs::write(guest.path(&format!("{index:04}")), "").unwrap();
    }
    let request = FileRequest::List {
        path: "".into(),
        depth: 1,
    };
    let entries: Vec<FileEntry> = guest.list(request).await;
    assert_eq!(entries.len(), 1000);
    assert!(entries.is_sorted_by(|a, b| a.name < b.name));
}

#[tokio::test]
async fn directories_are_created_with_their_parents() {
    let guest = Guest::new().await;
    let make = |path: &str| FileRequest::MakeDir { path: path.into() };
    let entry: FileEntry = guest.call(make("a/b/c")).await.unwrap();
    assert_eq!((entry.kind, entry.mode), (EntryKind::Directory, 0o755));
    let parent = std::fs::metadata(guest.path("a")).unwrap();
    assert_eq!(parent.permissions().mode() & 0o777, 0o755);
    std::fs::write(guest.path("f"), "").unwrap();
    symlink("a", guest.path("to-a")).unwrap();
    for (path, code) in [
        ("a/b", RefusalCode::AlreadyExists),
        ("to-a", RefusalCode::AlreadyExists),
        ("f", RefusalCode::NotADirectory),
        ("f/x", RefusalCode::NotADirectory),
        ("~nobody/x", RefusalCode::Invalid),
    ] {
        assert_eq!(guest.code(make(path)).await, code, "{path}");
    }
}

#[tokio::test]
async fn files_are_moved_as_by_rename() {
    let guest = Guest::new().await;
    let rename = |from: &str, to: &str| FileRequest::Move {
        from: from.into(),
        to: to.into(),
    };
    std::fs::write(guest.path("f"), "new").unwrap();
    std::fs::write(guest.path("g"), "old").unwrap();
    let entry: FileEntry = guest.call(rename("f", "g")).await.unwrap();
    assert_eq!((entry.name, entry.size), ("g".into(), 3));
    let entry: FileEntry = guest.call(rename("g", "a/b/g")).await.unwrap();
    assert_eq!(entry.path, guest.path("a/b/g").to_str().unwrap());
    std::fs::create_dir(guest.path("d")).unwrap();
    for (from, to, code) in [
        ("none", "x/y", RefusalCode::NotFound),
        ("d", "a", RefusalCode::AlreadyExists),
        ("d", "a/b/g", RefusalCode::NotADirectory),
        ("a/b/g", "d", RefusalCode::IsADirectory),
        ("a", "a/b/c", RefusalCode::Invalid),
    ] {
        assert_eq!(guest.code(rename(from, to)).await, code, "{from} {to}");
    }
    assert!(
        !guest.path("x").exists(),
        "no parent was created for nothing"
    );
}

#[tokio::test]
async fn a_removal_is_recursive_and_may_be_repeated() {
    let guest = Guest::new().await;
    std::fs::create_dir_all(guest.path("d/e")).unwrap();
    std::fs::write(guest.path("d/e/f"), "").unwrap();
    std::fs::write(guest.path("kept"), "").unwrap();
    symlink(guest.path("kept"), guest.path("d/link")).unwrap();
    let remove = |path: &str| FileRequest::Remove { path: path.into() };
    for _ in 0..2 {
        let Done { .. } = guest.call(remove("d")).await.unwrap();
        assert!(!guest.path("d").exists() && guest.path("kept").exists());
    }
    let home = guest.path("").to_str().unwrap().to_owned();
    for path in ["", "/", "..", "~", "./", &home, "d/.."] {
        assert_eq!(
            guest.code(remove(path)).await,
            RefusalCode::Invalid,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_file_is_read_to_its_end_or_in_part() {
    let guest = Guest::new().await;
    let content: Vec<u8> = (0..3_000_001_u32).map(|index| (index / 7) as u8).collect();
    std::fs::write(guest.path("f"), &content).unwrap();
    symlink("f", guest.path("link")).unwrap();
    let (entry, read) = guest.read(read_request("link", 0, None)).await;
    assert_eq!((entry.kind, entry.size), (EntryKind::File, 3_000_001));
    assert!(read == content);
    for (offset, length, expected) in [
        (5, Some(3), &content[5..8]),
        (2_999_999, None, &content[2_999_999..]),
        (70_000, Some(300_000), &content[70_000..370_000]),
        (0, Some(0), &[]),
        (3_000_001, None, &[]),
        (u64::from(u32::MAX) * 9, Some(9), &[]),
    ] {
        let (_, read) = guest.read(read_request("f", offset, length)).await;
        assert!(read == expected, "{offset} {length:?}");
    }
    // Its size is 0.
    let path = "/proc/sys/kernel/random/boot_id";
    let (entry, read) = guest.read(read_request(path, 0, None)).await;
    assert_eq!((entry.size, read.len()), (0, 37));
    let (_, part) = guest
        .read(read_request("/dev/zero", 0, Some(200_000)))
        .await;
    assert!(part == [0; 200_000]);
}

#[tokio::test]
async fn what_has_no_content_is_not_read() {
    let guest = Guest::new().await;
    nix::unistd::mkfifo(&guest.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(guest.path("socket")).unwrap();
    for (path, code) in [
        ("none", RefusalCode::NotFound),
        ("", RefusalCode::IsADirectory),
        ("fifo", RefusalCode::Invalid),
        ("socket", RefusalCode::Invalid),
    ] {
        assert_eq!(
            guest.code(read_request(path, 0, None)).await,
            code,
            "{path}"
        );
        assert_eq!(
            guest
                .write(path, b"x")
                .await
                .err()
                .map(|refusal| refusal.code),
            (path != "none").then_some(code),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_file_is_written_in_place() {
    let guest = Guest::new().await;
    let written = guest.write("a/b/f", b"hello").await.unwrap();
    assert_eq!((written.bytes, written.entry.size), (5, 5));
    assert_eq!(written.entry.path, guest.path("a/b/f").to_str().unwrap());
    assert_eq!(written.entry.mode & !0o022, 0o644 & !0o022);
    let before = std::fs::metadata(guest.path("a/b/f")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(guest.path("a/b/f"), mode).unwrap();
    // The same file gets the new content, also through a link.
    symlink("a/b/f", guest.path("link")).unwrap();
    let content = vec![7; 1_000_000];
    let written = guest.write("link", &content).await.unwrap();
    assert_eq!((written.bytes, written.entry.mode), (1_000_000, 0o600));
    let after = std::fs::metadata(guest.path("a/b/f")).unwrap();
    assert_eq!(after.ino(), before.ino());
    assert!(std::fs::read(guest.path("a/b/f")).unwrap() == content);
    let written = guest.write("a/b/f", b"").await.unwrap();
    assert_eq!((written.bytes, written.entry.size), (0, 0));
    // A dangling link leads to the new file.
    symlink("target", guest.path("dangling")).unwrap();
    guest.write("dangling", b"x").await.unwrap();
    assert_eq!(std::fs::read(guest.path("target")).unwrap(), b"x");
    guest.write("/dev/null", b"x").await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_reported_as_such() {
    let guest = Guest::new().await;
    let refusal = guest.write("/dev/full", b"x").await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::NoSpace, "{refusal}");
}

#[tokio::test]
async fn what_has_arrived_stays_if_the_client_leaves() {
    let guest = Guest::new().await;
    let mut operation = guest.begin(write_request("f")).await;
    operation.send(FrameKind::Content, b"some").await;
    let arrived = async {
        while std::fs::read(guest.path("f")).unwrap_or_default() != b"some" {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, arrived).await.unwrap();
    operation.channel.close().await.unwrap();
    // The server has carried out what came before this.
    guest.write("g", b"x").await.unwrap();
    assert_eq!(std::fs::read(guest.path("f")).unwrap(), b"some");
}

#[tokio::test]
async fn attributes_are_set_replaced_and_returned() {
    let guest = Guest::new().await;
    let request = |attributes: &[(&str, &str)], prefix: &str| FileRequest::Write {
        path: "f".into(),
        attributes: attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        replace_attributes: prefix.to_owned(),
    };
    let first = request(&[("e2b.a", "1"), ("e2b.b", "2"), ("own", "é")], "");
    let written = match guest.write_with(first, b"x").await {
        Err(refusal) if refusal.code == RefusalCode::Unsupported => {
            eprintln!("skipped: {refusal}");
            return;
        }
        written => written.unwrap(),
    };
    assert_eq!(written.entry.attributes.len(), 3);
    let second = request(&[("e2b.b", "3")], "e2b.");
    let written = guest.write_with(second, b"y").await.unwrap();
    let expected = [("e2b.b", "3"), ("own", "é")];
    let found: Vec<_> = written
        .entry
        .attributes
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(found, expected);
    let stat = FileRequest::Stat { path: "f".into() };
    let entry: FileEntry = guest.call(stat).await.unwrap();
    assert_eq!(entry.attributes, written.entry.attributes);
    // What cannot be set is refused before the content is replaced.
    let long = "x".repeat(300);
    let refused = guest.write_with(request(&[(&long, "1")], ""), b"z").await;
    refused.unwrap_err();
    assert_eq!(std::fs::read(guest.path("f")).unwrap(), b"y");
}

#[tokio::test]
async fn the_use_of_resources_and_the_environment_are_returned() {
    let sandbox = TestSandbox::new(|config| config.with_env([("A".into(), "b".into())]));
    let client = sandbox.connect_as_sdk().await;
    let guest = Guest { sandbox, client };
    let request = GuestRequest::Sandbox(SandboxRequest::Usage);
    let usage: Usage = guest.begin_any(&request).await.reply().await.unwrap();
    assert!(usage.memory_total > 0 && usage.disk_total >= usage.disk_used);
    assert!(usage.cpu_count > 0 && usage.at_ms > 0);
    std::fs::create_dir(guest.path(".sandbox")).unwrap();
    std::fs::write(guest.path(".sandbox/environment"), "B=c\n").unwrap();
    let request = GuestRequest::Sandbox(SandboxRequest::Environment);
    let mut operation = guest.begin_any(&request).await;
    let variables: std::collections::BTreeMap<String, String> = operation.reply().await.unwrap();
    assert_eq!((&*variables["A"], &*variables["B"]), ("b", "c"));
    assert_eq!(
        variables["HOME"],
        guest.path("").to_str().unwrap().trim_end_matches('/')
    );
    assert!(variables.contains_key("PATH") && variables.contains_key("SHELL"));
}
