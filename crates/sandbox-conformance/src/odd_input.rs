//! Unusual input: it arrives unchanged, or is refused with an error that names it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use sandbox::{Error, TransferReason};

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::{transfer_reason, with_sandbox};

cases![
    arguments_arrive_unchanged,
    file_names_arrive_unchanged,
    nul_is_refused,
    names_that_are_not_utf_8_are_refused
];

const ODD: [&str; 12] = [
    "two words",
    "it's",
    "\"double\"",
    "new\nline",
    "-n",
    "--",
    "$HOME",
    "`id`",
    "*",
    "\\",
    "ünïcödé",
    " ",
];

async fn arguments_arrive_unchanged(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let out = sbx
            .command("printf")
            .arg("%s|")
            .args(ODD)
            .output()
            .await?
            .check()?;
        assert_eq!(
            out.stdout_lossy(),
            ODD.map(|word| format!("{word}|")).concat()
        );
        let bytes: Vec<u8> = (1..=255).collect();
        let out = sbx
            .command("printf")
            .arg("%s")
            .arg(OsStr::from_bytes(&bytes))
            .output()
            .await?
            .check()?;
        assert_eq!(out.stdout, bytes);
        let out = sbx
            .command("printf")
            .args(["%s-%s", "", ""])
            .output()
            .await?
            .check()?;
        assert_eq!(out.stdout, "-");
        Ok(())
    })
    .await
}

async fn file_names_arrive_unchanged(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        sbx.files().create_dir_all("odd").await?;
        for name in ODD {
            let path = format!("odd/{name}");
            sbx.files().write(path.as_str(), name).await?;
            assert_eq!(sbx.files().read_to_string(path.as_str()).await?, name);
            let out = sbx
                .command("cat")
                .arg("--")
                .arg(&path)
                .output()
                .await?
                .check()?;
            assert_eq!(out.stdout_lossy(), name);
        }
        let mut names: Vec<_> = sbx
            .files()
            .list("odd")
            .await?
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        names.sort();
        let mut expected = ODD.map(str::to_owned).to_vec();
        expected.sort();
        assert_eq!(names, expected);
        Ok(())
    })
    .await
}

async fn nul_is_refused(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        for mistake in [
            sbx.command("echo").arg("a\0b").output().await.map(drop),
            sbx.command("e\0").output().await.map(drop),
            sbx.shell("echo \0").output().await.map(drop),
            sbx.command("echo").env("A", "b\0").output().await.map(drop),
            sbx.command("pwd")
                .current_dir("/\0")
                .spawn()
                .await
                .map(drop),
            sbx.command("").output().await.map(drop),
            sbx.command("echo")
                .arg("a\0b")
                .spawn_detached()
                .await
                .map(drop),
        ] {
            assert!(matches!(mistake, Err(Error::Invalid { .. })), "{mistake:?}");
        }
        assert_eq!(
            transfer_reason(sbx.files().write("a\0b", "x").await),
            TransferReason::BadName
        );
        assert_eq!(
            transfer_reason(sbx.files().read("a\0b").await),
            TransferReason::BadName
        );
        Ok(())
    })
    .await
}

/// The SFTP client carries names as text, so it refuses names that it would change.
async fn names_that_are_not_utf_8_are_refused(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        sbx.shell("mkdir bad; echo x > \"bad/$(printf 'a\\377b')\"")
            .output()
            .await?
            .check()?;
        assert_eq!(
            transfer_reason(sbx.files().read("bad/a\u{fffd}b").await),
            TransferReason::BadName
        );
        assert_eq!(
            transfer_reason(sbx.files().write("bad/a\u{fffd}b", "x").await),
            TransferReason::BadName
        );
        assert_eq!(
            transfer_reason(sbx.files().list("bad").await),
            TransferReason::BadName
        );
        assert_eq!(
            sbx.shell("cat bad/*").output().await?.check()?.stdout,
            "x\n"
        );
        Ok(())
    })
    .await
}
