//! Trees that change while they are copied, with files that cannot be read, and the modes and times
//! of their directories.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use sandbox::{TransferReason, TreeReport};

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::with_sandbox;

cases![
    directories_keep_modes_and_times,
    an_existing_top_directory_keeps_its_mode,
    growing_files_are_copied,
    unreadable_files_cost_only_themselves,
    a_tree_does_not_replace_special_files,
    what_is_in_the_way_of_a_directory_costs_only_it,
];

/// Modes and modification times, in seconds, of some directories.
async fn remote_attributes(sbx: &sandbox::Sandbox, names: &[&str]) -> sandbox::Result<Vec<String>> {
    let mut found = Vec::new();
    for name in names {
        let info = sbx.files().stat(*name).await?;
        found.push(describe(info.mode, info.modified));
    }
    Ok(found)
}

fn local_attributes(top: &Path, names: &[&str]) -> std::io::Result<Vec<String>> {
    let describe_one = |name: &&str| {
        let metadata = std::fs::metadata(top.join(name))?;
        let mode = metadata.permissions().mode() & 0o7777;
        Ok(describe(mode, metadata.modified().ok()))
    };
    names.iter().map(describe_one).collect()
}

fn describe(mode: u32, modified: Option<SystemTime>) -> String {
    let since = modified.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    format!("{mode:o} {:?}", since.map(|since| since.as_secs()))
}

async fn directories_keep_modes_and_times(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let tree = directory.path().join("tree");
        let names = ["", "private", "private/deep", "readonly", "readonly/below"];
        let set = |name: &str, mode, seconds| -> Outcome {
            let path = tree.join(name);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            std::fs::File::open(&path)?.set_modified(time)?;
            Ok(())
        };
        for (index, name) in names.iter().enumerate() {
            std::fs::create_dir(tree.join(name))?;
            std::fs::write(tree.join(name).join("file"), vec![7; index * 50_000])?;
        }
        set("private/deep", 0o711, 981_173_101)?;
        set("private", 0o700, 981_173_102)?;
        set("readonly/below", 0o555, 981_173_103)?;
        set("readonly", 0o555, 981_173_104)?;
        set("", 0o750, 981_173_105)?;
        let expected = local_attributes(&tree, &names)?;
        let remote_names: Vec<_> = names.iter().map(|name| format!("tree/{name}")).collect();
        let remote_names: Vec<_> = remote_names.iter().map(String::as_str).collect();
        // A second copy fills the read-only directories again, in a top directory that exists.
        for kept in [0, 1] {
            let report = sbx.upload_dir(&tree, "tree").await?.check()?;
            assert_eq!((report.files, report.directories), (5, 5));
            let found = remote_attributes(&sbx, &remote_names[kept..]).await?;
            assert_eq!(found, expected[kept..]);
        }
        // The second copy has changed the top directory, which keeps its own time.
        let expected = remote_attributes(&sbx, &remote_names).await?;
        let back = directory.path().join("back");
        for kept in [0, 1] {
            let report = sbx.download_dir("tree", &back).await?.check()?;
            assert_eq!((report.files, report.directories), (5, 5));
            assert_eq!(local_attributes(&back, &names[kept..])?, expected[kept..]);
        }
        for top in [&tree, &back] {
            for name in ["readonly", "readonly/below"] {
                let mode = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(top.join(name), mode)?;
            }
        }
        Ok(())
    })
    .await
}

async fn an_existing_top_directory_keeps_its_mode(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let tree = directory.path().join("tree");
        std::fs::create_dir_all(tree.join("shared"))?;
        std::fs::set_permissions(&tree, std::fs::Permissions::from_mode(0o777))?;
        // The group of a shared directory stays that of its content.
        sbx.shell("chmod 700 .; mkdir top; chmod 2750 top")
            .output()
            .await?
            .check()?;
        for top in [".", "top"] {
            sbx.upload_dir(&tree, top).await?.check()?;
        }
        let modes = remote_attributes(&sbx, &[".", "top", "top/shared"]).await?;
        let modes: Vec<_> = modes
            .iter()
            .filter_map(|text| text.split(' ').next())
            .collect();
        assert_eq!(modes, ["700", "2750", "2755"]);
        let out = directory.path().join("out");
        std::fs::create_dir(&out)?;
        std::fs::set_permissions(&out, std::fs::Permissions::from_mode(0o700))?;
        sbx.download_dir("top", &out).await?.check()?;
        assert_eq!(
            std::fs::metadata(&out)?.permissions().mode() & 0o7777,
            0o700
        );
        Ok(())
    })
    .await
}

async fn growing_files_are_copied(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let path = |name: &str| directory.path().join(name);
        // At a pace that any machine copies at: the file would become larger with each slow copy.
        let writing = "mkdir logs; echo result > logs/result; echo begin > ready; \
                       while :; do for _ in 1 2 3 4 5 6 7 8; do echo 'a line of a log'; done; sleep 0.01; done >> logs/app.log";
        let writer = sbx.shell(writing).spawn().await?;
        while !sbx.files().exists("ready").await?
            || sbx.files().stat("logs/app.log").await?.size <= LINE.len() as u64
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for round in 0..3 {
            let single = path(&format!("single-{round}"));
            sbx.download("logs/app.log", &single).await?;
            sbx.transfer()
                .resume(true)
                .download("logs/app.log", &single)
                .await?;
            check_lines(&std::fs::read_to_string(&single)?);
            let tree = path(&format!("tree-{round}"));
            let report = sbx.download_dir("logs", &tree).await?.check()?;
            assert_eq!(report.files, 2);
            check_lines(&std::fs::read_to_string(tree.join("app.log"))?);
            assert_eq!(std::fs::read_to_string(tree.join("result"))?, "result\n");
        }
        drop(writer);

        // The other direction.
        std::fs::create_dir(path("grows"))?;
        let log = path("grows/app.log");
        std::fs::write(&log, LINE.repeat(10_000))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let appended = log.clone();
        let appending = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            let mut file = std::fs::File::options().append(true).open(appended)?;
            while !stopped.load(Ordering::Relaxed) {
                file.write_all(LINE.as_bytes())?;
                std::thread::sleep(Duration::from_micros(100));
            }
            Ok(())
        });
        for _ in 0..3 {
            sbx.upload(&log, "app.log").await?;
            check_lines(&sbx.files().read_to_string("app.log").await?);
            sbx.upload_dir(path("grows"), "grown").await?.check()?;
            check_lines(&sbx.files().read_to_string("grown/app.log").await?);
        }
        stop.store(true, Ordering::Relaxed);
        appending.await??;
        Ok(())
    })
    .await
}

const LINE: &str = "a line of a log\n";

/// Checks that a log is whole up to some moment.
fn check_lines(log: &str) {
    assert!(log.len() > LINE.len());
    assert!(
        log.lines()
            .rev()
            .skip(1)
            .all(|found| found == LINE.trim_end())
    );
}

async fn unreadable_files_cost_only_themselves(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let out = directory.path().join("out");
        let script = "mkdir -p tree/closed tree/open; echo x > tree/closed/f; echo x > tree/no; \
                      echo x > tree/open/f; chmod 0 tree/no tree/closed";
        sbx.shell(script).output().await?.check()?;
        if sbx.shell("cat tree/no").output().await?.status.success() {
            return Ok(()); // Root can read everything.
        }
        let report = sbx.download_dir("tree", &out).await?;
        assert_eq!((report.files, report.failures), (1, 2));
        assert_eq!(failed_paths(&report), ["closed", "no"]);
        assert!(
            report
                .failed
                .iter()
                .all(|failed| failed.reason == TransferReason::PermissionDenied)
        );
        assert_eq!(std::fs::read_to_string(out.join("open/f"))?, "x\n");
        assert!(!out.join("no").exists());
        let error = report.check().unwrap_err().to_string();
        assert!(error.contains("1 more"), "{error}");

        // What is in the way inside the sandbox costs one file, too.
        let up = directory.path().join("up");
        std::fs::create_dir(&up)?;
        std::fs::write(up.join("a"), "x")?;
        std::fs::write(up.join("b"), "x")?;
        sbx.shell("mkdir -p taken/a/below")
            .output()
            .await?
            .check()?;
        let report = sbx.upload_dir(&up, "taken").await?;
        assert_eq!(
            (report.files, failed_paths(&report)),
            (1, vec!["a".to_owned()])
        );
        assert_eq!(sbx.files().read("taken/b").await?, "x");
        sbx.shell("chmod 700 tree/closed").output().await?.check()?;
        std::fs::set_permissions(out.join("closed"), std::fs::Permissions::from_mode(0o700))?;
        Ok(())
    })
    .await
}

fn failed_paths(report: &TreeReport) -> Vec<String> {
    let mut paths: Vec<_> = report
        .failed
        .iter()
        .map(|failed| failed.path.to_string())
        .collect();
    paths.sort();
    paths
}

async fn a_tree_does_not_replace_special_files(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let tree = directory.path().join("tree");
        std::fs::create_dir(&tree)?;
        for name in ["fifo", "file"] {
            std::fs::write(tree.join(name), "x")?;
        }
        sbx.shell("mkdir there; mkfifo there/fifo; echo y > there/victim; ln -s victim there/file")
            .output()
            .await?
            .check()?;
        let report = sbx.upload_dir(&tree, "there").await?;
        assert_eq!(
            (report.files, failed_paths(&report)),
            (1, vec!["fifo".to_owned()])
        );
        let state = "stat -c %F there/fifo there/file; cat there/victim";
        let state = sbx.shell(state).output().await?.check()?;
        assert_eq!(state.stdout, "fifo\nregular file\ny\n");

        let out = directory.path().join("out");
        std::fs::create_dir(&out)?;
        let made = std::process::Command::new("mkfifo")
            .arg(out.join("fifo"))
            .status()?;
        assert!(made.success());
        sbx.upload_dir(&tree, "plain").await?.check()?;
        let report = sbx.download_dir("plain", &out).await?;
        assert_eq!(
            (report.files, failed_paths(&report)),
            (1, vec!["fifo".to_owned()])
        );
        let kind = out.join("fifo").symlink_metadata()?.file_type();
        assert!(std::os::unix::fs::FileTypeExt::is_fifo(&kind));
        Ok(())
    })
    .await
}

/// Both ways, what has the name of a directory stays, and costs only what is in that directory. A
/// link at the target is not followed.
async fn what_is_in_the_way_of_a_directory_costs_only_it(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let tree = directory.path().join("tree");
        for name in ["file/below", "link/below", "open/below"] {
            std::fs::create_dir_all(tree.join(name))?;
            std::fs::write(tree.join(name).join("f"), "x")?;
            std::os::unix::fs::symlink("f", tree.join(name).join("l"))?;
        }
        std::fs::write(tree.join("last"), "x")?;
        let refused = vec!["file".to_owned(), "link".to_owned()];

        let out = directory.path().join("out");
        std::fs::create_dir_all(out.join("elsewhere"))?;
        std::fs::write(out.join("file"), "kept")?;
        std::os::unix::fs::symlink("elsewhere", out.join("link"))?;
        sbx.upload_dir(&tree, "plain").await?.check()?;
        let report = sbx.download_dir("plain", &out).await?;
        assert_eq!(failed_paths(&report), refused);
        assert_eq!(
            (report.files, report.symlinks, report.directories),
            (2, 1, 3)
        );
        assert_eq!(std::fs::read_to_string(out.join("file"))?, "kept");
        assert_eq!(out.join("elsewhere").read_dir()?.count(), 0);
        assert_eq!(std::fs::read_to_string(out.join("open/below/f"))?, "x");

        sbx.shell("mkdir there; echo kept > there/file; ln -s missing there/link")
            .output()
            .await?
            .check()?;
        let report = sbx.upload_dir(&tree, "there").await?;
        assert_eq!(failed_paths(&report), refused);
        assert_eq!(
            (report.files, report.symlinks, report.directories),
            (2, 1, 3)
        );
        let state = "cat there/file there/open/below/f there/last; ls there";
        let state = sbx.shell(state).output().await?.check()?;
        assert_eq!(state.stdout, "kept\nxxfile\nlast\nlink\nopen\n");
        Ok(())
    })
    .await
}
