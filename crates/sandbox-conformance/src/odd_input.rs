//! Unusual input: it arrives unchanged, or is refused with an error that names it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use sandbox::{Error, FilePath, TransferReason};

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::{transfer_reason, with_sandbox};

cases![
    arguments_arrive_unchanged,
    file_names_arrive_unchanged,
    nul_is_refused,
    names_need_not_be_utf_8
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

/// Names are bytes, and U+FFFD is a character like others.
async fn names_need_not_be_utf_8(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        sbx.shell("mkdir odd; echo x > \"odd/$(printf 'caf\\351')\"; ln -s \"$(printf '\\377')\" odd/link")
            .output()
            .await?
            .check()?;
        let files = sbx.files();
        let odd = FilePath::from("odd");
        let latin1 = odd.join(b"caf\xe9");
        assert_eq!(files.read(&latin1).await?, "x\n");
        assert_eq!(files.read_link("odd/link").await?, FilePath::from(b"\xff"));
        files.append(&latin1, "y\n").await?;
        files.write("odd/caf\u{fffd}", "z").await?;
        files.rename(&latin1, odd.join(b"\xfe")).await?;
        files.symlink(b"\xfe", odd.join(b"\xfd")).await?;
        let entries = files.list("odd").await?;
        let names: Vec<&[u8]> = entries.iter().map(|entry| entry.name.as_bytes()).collect();
        assert_eq!(
            names,
            ["caf\u{fffd}".as_bytes(), b"link", b"\xfd", b"\xfe"]
        );
        assert_eq!(files.read(odd.join(b"\xfd")).await?, "x\ny\n");

        let cat = sbx.command("cat").arg(OsStr::from_bytes(b"odd/\xfe"));
        assert_eq!(cat.output().await?.check()?.stdout, "x\ny\n");
        let missing = files.read(b"odd/caf\xe9").await.unwrap_err().to_string();
        assert!(missing.contains(r#""odd/caf\xe9""#), "{missing}");
        files.remove_dir_all("odd").await?;
        assert!(!files.exists("odd").await?);
        Ok(())
    })
    .await
}
