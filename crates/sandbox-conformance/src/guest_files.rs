//! The file operations that only sandbox-sshd has.

use std::time::Duration;

use sandbox::{
    AttributeChange, EntryKind, Error, FileEvent, FileEventKind, RefusalCode, WatchOptions,
};

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::{patterned_content, with_sandbox};

cases![
    files_are_written_in_place_and_keep_their_mode,
    parts_of_files_are_read,
    attributes_are_set_and_replaced,
    directories_are_listed_moved_and_removed,
    files_are_joined,
    refusals_have_codes,
    events_are_exact,
    events_are_streamed_until_the_directory_is_gone,
    taking_events_waits_for_what_has_happened,
    the_sandbox_reports_its_use_and_environment,
];

/// The cases of servers without these operations.
pub mod without {
    use super::{Error, Outcome, TestedBackend, WatchOptions, with_sandbox};
    use crate::cases;

    cases![they_are_refused_in_words];

    async fn they_are_refused_in_words(backend: TestedBackend) -> Outcome {
        with_sandbox(backend, |sbx| async move {
            let files = sbx.guest_files();
            for refused in [
                files.stat(".").await.map(drop),
                files.write("f", "x").await.map(drop),
                files.watch(WatchOptions::new(".")).await.map(drop),
                files.compose(["f"], "g").await.map(drop),
                sbx.usage().await.map(drop),
                sbx.environment().await.map(drop),
                sbx.pause().await.map(drop),
            ] {
                let error = refused.unwrap_err();
                assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
                assert!(error.to_string().contains("sandbox-sshd"), "{error}");
            }
            // Nothing was changed, and what every server has works.
            assert!(sbx.files().stat("f").await.is_err());
            sbx.files().write("f", "content").await?;
            Ok(())
        })
        .await
    }
}

async fn files_are_written_in_place_and_keep_their_mode(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let files = sbx.guest_files();
        let content = patterned_content(3_000_000);
        files.write("a/b/f", b"old").await?;
        sbx.shell("chmod 640 a/b/f && ln a/b/f other")
            .output()
            .await?
            .check()?;
        let written = files.write("a/b/f", &content).await?;
        assert_eq!(written.bytes, 3_000_000);
        assert_eq!((written.entry.size, written.entry.mode), (3_000_000, 0o640));
        // It is the same file, which has another name.
        assert!(sbx.files().read("other").await? == content);
        let mut writer = files.writer("g", AttributeChange::default()).await?;
        for part in content.chunks(100_000) {
            writer.write(part).await?;
        }
        assert_eq!(writer.finish().await?.entry.size, 3_000_000);
        Ok(())
    })
    .await
}

async fn parts_of_files_are_read(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let files = sbx.guest_files();
        let content = patterned_content(3_000_000);
        files.write("f", &content).await?;
        let mut reader = files.read("f", 1000, Some(2_000_000)).await?;
        assert_eq!(reader.entry().size, 3_000_000);
        let mut read = Vec::new();
        while let Some(part) = reader.next().await? {
            read.extend_from_slice(&part);
        }
        assert!(read == content[1000..2_001_000]);
        // One that is dropped in the middle harms nothing.
        let mut reader = files.read("f", 0, None).await?;
        assert!(reader.next().await?.is_some());
        drop(reader);
        let mut reader = files.read("f", 3_000_000, None).await?;
        assert_eq!(reader.next().await?, None);
        Ok(())
    })
    .await
}

/// Where the file system has no extended attributes, that is said.
async fn attributes_are_set_and_replaced(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let files = sbx.guest_files();
        let change = |pairs: &[(&str, &str)], replaced: &str| {
            let mut change = AttributeChange::default();
            for (name, value) in pairs {
                change.set.insert((*name).to_owned(), (*value).to_owned());
            }
            change.replaced_prefix = replaced.to_owned();
            change
        };
        let write = async |change| {
            let mut writer = files.writer("f", change).await?;
            writer.write(b"content").await?;
            writer.finish().await
        };
        match write(change(
            &[("m.a", "1"), ("m.b", "two words"), ("n", "3")],
            "",
        ))
        .await
        {
            Ok(_) => {}
            Err(Error::Refused(refusal)) if refusal.code == RefusalCode::Unsupported => {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        // Those of the prefix are replaced, and all others stay.
        write(change(&[("m.c", "4")], "m.")).await?;
        let entry = files.stat("f").await?;
        let found: Vec<_> = entry.attributes.iter().collect();
        assert_eq!(found.len(), 2, "{found:?}");
        for (name, value) in [("m.c", "4"), ("n", "3")] {
            assert!(
                found
                    .iter()
                    .any(|(found, content)| found.as_str() == name && content.as_str() == value),
                "{found:?}"
            );
        }
        Ok(())
    })
    .await
}

async fn directories_are_listed_moved_and_removed(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let files = sbx.guest_files();
        let created = files.create_dir("d/e").await?;
        assert_eq!((created.kind, created.mode), (EntryKind::Directory, 0o755));
        files.write("d/e/f", "1").await?;
        sbx.files().symlink("e", "d/link").await?;
        let names = async |depth| -> Outcome<Vec<String>> {
            let listed = files.list("d", depth).await?;
            Ok(listed.iter().map(|entry| entry.name.to_string()).collect())
        };
        assert_eq!(names(1).await?, ["e", "link"]);
        // Links to directories are not entered.
        assert_eq!(names(5).await?, ["e", "f", "link"]);
        let link = files.stat("d/link").await?;
        assert_eq!(link.kind, EntryKind::Symlink);
        assert!(
            link.target
                .is_some_and(|target| target.kind == EntryKind::Directory)
        );

        // The parents of the new path are created, and a file there is replaced.
        assert_eq!(files.rename("d", "x/y").await?.name.as_bytes(), b"y");
        files.write("x/y/g", "2").await?;
        files.rename("x/y/e/f", "x/y/g").await?;
        assert_eq!(sbx.files().read_to_string("x/y/g").await?, "1");

        // A link is removed, and not what it leads to.
        files.create_dir("kept").await?;
        files.write("kept/f", "3").await?;
        sbx.files().symlink("../kept", "x/away").await?;
        files.remove("x").await?;
        files.remove("x").await?;
        assert!(files.stat("x").await.is_err());
        assert_eq!(sbx.files().read_to_string("kept/f").await?, "3");
        Ok(())
    })
    .await
}

async fn files_are_joined(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let files = sbx.guest_files();
        let content = patterned_content(3_000_000);
        let (first, rest) = content.split_at(1_000_000);
        files.write("a", first).await?;
        files.write("b", rest).await?;
        files.write("all", "former").await?;
        // Nothing is changed by what is refused.
        let refused = files.compose(["a", "b", "none"], "all").await;
        assert!(
            matches!(&refused, Err(Error::Refused(refusal)) if refusal.code == RefusalCode::NotFound),
            "{refused:?}"
        );
        assert_eq!(sbx.files().read_to_string("all").await?, "former");
        let written = files.compose(["a", "b"], "all").await?;
        assert_eq!((written.bytes, written.entry.size), (3_000_000, 3_000_000));
        assert!(sbx.files().read("all").await? == content);
        assert!(files.stat("a").await.is_err() && files.stat("b").await.is_err());
        Ok(())
    })
    .await
}

async fn refusals_have_codes(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let files = sbx.guest_files();
        files.create_dir("d").await?;
        files.write("f", "x").await?;
        for (refused, code) in [
            (files.stat("none").await.map(drop), RefusalCode::NotFound),
            (
                files.create_dir("d").await.map(drop),
                RefusalCode::AlreadyExists,
            ),
            (
                files.create_dir("f/d").await.map(drop),
                RefusalCode::NotADirectory,
            ),
            (
                files.read("d", 0, None).await.map(drop),
                RefusalCode::IsADirectory,
            ),
            (
                files.write("d", "x").await.map(drop),
                RefusalCode::IsADirectory,
            ),
            (
                files.list("f", 1).await.map(drop),
                RefusalCode::NotADirectory,
            ),
        ] {
            match refused {
                Err(Error::Refused(refusal)) => assert_eq!(refusal.code, code, "{refusal}"),
                other => panic!("{code:?}: {other:?}"),
            }
        }
        Ok(())
    })
    .await
}

fn describe(events: &[FileEvent]) -> Vec<(FileEventKind, String)> {
    events
        .iter()
        .map(|event| (event.kind, event.name.to_string()))
        .collect()
}

async fn events_are_exact(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        use FileEventKind::{Created, Removed, Renamed, Written};
        let files = sbx.guest_files();
        files.create_dir("d").await?;
        let mut options = WatchOptions::new("d");
        options.recursive = true;
        let watcher = files.create_watcher(options).await?;
        files.create_dir("d/e").await?;
        let script = "cd d/e && : > f && echo 1 >> f && mv f g && mv g .. && rm ../g";
        sbx.shell(script).output().await?.check()?;
        let mut events = describe(&files.take_events(&watcher).await?);
        // What a shell does to its files beside.
        events.retain(|(kind, _)| *kind != FileEventKind::Attributes);
        let expected = [
            (Created, "e"),
            (Created, "e/f"),
            (Written, "e/f"),
            (Renamed, "e/f"),
            (Created, "e/g"),
            (Renamed, "e/g"),
            (Created, "g"),
            (Removed, "g"),
        ];
        assert_eq!(events, expected.map(|(kind, name)| (kind, name.to_owned())));
        assert_eq!(files.take_events(&watcher).await?, []);
        files.remove_watcher(&watcher).await?;
        assert!(files.take_events(&watcher).await.is_err());
        Ok(())
    })
    .await
}

async fn events_are_streamed_until_the_directory_is_gone(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let files = sbx.guest_files();
        files.create_dir("d").await?;
        let mut options = WatchOptions::new("d");
        options.with_entries = true;
        let mut events = files.watch(options).await?;
        sbx.shell("echo content > d/f && sleep 0.2 && rm -r d")
            .output()
            .await?
            .check()?;
        let mut found = Vec::new();
        let reading = async {
            while let Some(event) = events.next().await? {
                found.push(event);
            }
            Ok::<_, Error>(())
        };
        tokio::time::timeout(Duration::from_secs(30), reading).await??;
        assert_eq!(
            found.first().map(|event| event.kind),
            Some(FileEventKind::Created)
        );
        let last = found.pop().expect("events");
        assert_eq!(describe(&[last]), [(FileEventKind::Removed, String::new())]);
        Ok(())
    })
    .await
}

/// What a command has done before its end is among the events that are taken after it: no wait is needed.
async fn taking_events_waits_for_what_has_happened(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let files = sbx.guest_files();
        files.create_dir("d").await?;
        let watcher = files.create_watcher(WatchOptions::new("d")).await?;
        for round in 0..20 {
            let script = format!("for i in 1 2 3 4 5; do : > d/{round}-$i; done");
            sbx.shell(script).output().await?.check()?;
            let events = describe(&files.take_events(&watcher).await?);
            let created: Vec<_> = events
                .iter()
                .filter(|(kind, _)| *kind == FileEventKind::Created)
                .map(|(_, name)| name.clone())
                .collect();
            let expected: Vec<_> = (1..=5).map(|number| format!("{round}-{number}")).collect();
            assert_eq!(created, expected);
        }
        Ok(())
    })
    .await
}

async fn the_sandbox_reports_its_use_and_environment(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let usage = sbx.usage().await?;
        assert!(usage.cpu_count > 0 && usage.memory_total > 0, "{usage:?}");
        assert!(usage.disk_total >= usage.disk_used, "{usage:?}");
        let variables = sbx.environment().await?;
        assert!(
            variables.keys().any(|name| name.as_bytes() == b"PATH"),
            "{:?}",
            variables.keys()
        );
        Ok(())
    })
    .await
}
