//! Against OpenSSH.

use sandbox_core::{
    Access, Direction, Error, ExecRequest, ExitStatus, JobId, Signal, TransferReason, UploadRequest,
};

use crate::support;
use crate::support::contract::{CAP, no_temporary_files, put, reason, sh};

crate::full_contract!(support::openssh::start(&[]));

#[tokio::test]
async fn missing_features_of_openssh_are_reported() {
    let Some(sshd) = support::openssh::start(&["AcceptEnv ALLOWED_*", "PermitTTY no"]) else {
        return;
    };
    let session = sshd.session().await;
    let mut request = ExecRequest::from_shell("echo $ALLOWED_ONE");
    request.env.set("ALLOWED_ONE", "1").unwrap();
    assert_eq!(
        session
            .output(request.clone(), CAP)
            .await
            .unwrap()
            .stdout_lossy(),
        "1\n"
    );
    // Variables that the server refuses are set by its shell, which cannot set these names.
    for name in ["FOR-BIDDEN", "UID"] {
        let mut request = request.clone();
        request.env.set(name, "secret").unwrap();
        let error = session.output(request, CAP).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Unsupported { .. }), "{text}");
        assert!(
            text.contains(name) && text.contains("OpenSSH") && !text.contains("secret"),
            "{text}"
        );
    }

    let mut request = ExecRequest::from_argv(["touch", "ran"]);
    let size = sandbox_core::PtySize {
        columns: 80,
        rows: 24,
    };
    request.pty = Some(sandbox_core::Pty {
        term: "dumb".into(),
        size,
    });
    let error = session.exec(request).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert_eq!(
        sh(&session, "ls").await,
        "",
        "without its terminal, the command does not run"
    );

    let mut as_root = ExecRequest::from_argv(["touch", "ran"]);
    as_root.user = Some("root".to_owned());
    let id = JobId::generate().unwrap();
    for error in [
        session.exec(as_root).await.unwrap_err(),
        session
            .start_job(&id, ExecRequest::from_argv(["touch", "ran"]))
            .await
            .unwrap_err(),
        session.jobs().await.unwrap_err(),
        session
            .attach_job(&id, Default::default())
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("sandbox-sshd"), "{error}");
    }
    assert_eq!(sh(&session, "ls").await, "");
}

/// OpenSSH does not signal root's commands, so the SDK does.
#[tokio::test]
async fn signals_arrive() {
    use std::os::unix::fs::PermissionsExt;
    let Some(sshd) = support::openssh::start(&[]) else {
        return;
    };
    let begun = ExecRequest::from_shell("echo begun; sleep 60");
    if support::user() == "root" {
        let mut process = sshd.session().await.exec(begun.clone()).await.unwrap();
        process.next().await.unwrap().unwrap();
        process.control().signal(Signal::Term).await.unwrap();
        assert_eq!(
            process.wait().await.unwrap(),
            ExitStatus::Signal(Signal::Term)
        );
    }
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(sshd.directory.path(), open).unwrap();
    let Access {
        id,
        uid,
        host_key,
        client_key,
        endpoint,
        ..
    } = sshd.access.as_ref();
    let access = Access {
        id: id.clone(),
        uid: uid.clone(),
        user: "nobody".into(),
        host_key: host_key.clone(),
        client_key: client_key.clone(),
        endpoint: endpoint.clone(),
    };
    let session = support::session(&sshd.sessions(), &access.into()).await;
    let mut process = session.exec(begun).await.unwrap();
    process.next().await.unwrap().unwrap();
    process.control().signal(Signal::Term).await.unwrap();
    assert_eq!(
        process.wait().await.unwrap(),
        ExitStatus::Signal(Signal::Term)
    );
}

#[tokio::test]
async fn a_terminal_with_variables_needs_stty() {
    let programs = tempfile::tempdir().unwrap();
    let shell = sandbox_testkit::peers::find_program("sh").unwrap();
    std::os::unix::fs::symlink(shell, programs.path().join("sh")).unwrap();
    let path = format!("SetEnv PATH={}", programs.path().display());
    let Some(sshd) = support::openssh::start(&[path.as_str()]) else {
        return;
    };
    let mut request = ExecRequest::from_shell("echo ran");
    request.env.set("SECRET", "secret").unwrap();
    let size = sandbox_core::PtySize {
        columns: 80,
        rows: 24,
    };
    request.pty = Some(sandbox_core::Pty {
        term: "dumb".into(),
        size,
    });
    let output = sshd.session().await.output(request, CAP).await.unwrap();
    let text = output.stdout_lossy();
    assert_eq!(output.status, ExitStatus::Code(126), "{text}");
    assert!(
        text.contains("stty") && !text.contains("ran\r") && !text.contains("secret"),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_without_sftp_is_explained() {
    let Some(sshd) = support::openssh::start(&["Subsystem other /bin/false"]) else {
        return;
    };
    let session = sshd.session().await;
    for _ in 0..3 {
        let error = session.stat(&".".into(), true).await.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("SFTP"), "{error}");
    }
    // A subsystem that is accepted and does not run.
    let Some(sshd) = support::openssh::start(&["Subsystem sftp /bin/false"]) else {
        return;
    };
    let error = sshd
        .session()
        .await
        .stat(&".".into(), true)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

#[tokio::test]
async fn a_server_for_files_only_runs_no_command() {
    let Some(sshd) = support::openssh::start(&["ForceCommand internal-sftp"]) else {
        return;
    };
    let session = sshd.session().await;
    put(&session, "file", b"x").await;
    session
        .output(ExecRequest::from_argv(["touch", "ran"]), CAP)
        .await
        .map(drop)
        .ok();
    session.remove_file(&"ran".into()).await.unwrap_err();
}

/// It passes a command line to a shell, as one argument.
#[tokio::test]
async fn a_command_line_that_is_too_long_is_refused_before_it_is_sent() {
    let Some(sshd) = support::openssh::start(&[]) else {
        return;
    };
    let session = sshd.session().await;
    let echo = |bytes| ExecRequest::from_argv(["echo".to_owned(), "x".repeat(bytes)]);
    let output = session.output(echo(100_000), CAP).await.unwrap();
    assert_eq!(output.stdout.len(), 100_001);
    for bytes in [140_000, 400_000] {
        let error = session.output(echo(bytes), CAP).await.unwrap_err();
        assert!(error.to_string().contains("128 KiB"), "{error}");
    }
    assert_eq!(sh(&session, "echo next").await, "next\n");
}

#[tokio::test]
async fn a_full_disk_is_reported() {
    let Some(sshd) = support::openssh::start(&[]) else {
        return;
    };
    let session = sshd.session().await;
    // In the server's mount namespace, so it is unmounted with the server.
    sh(
        &session,
        "mkdir small && mount -t tmpfs -o size=1m tmpfs small",
    )
    .await;
    put(&session, "small/file", b"former").await;
    let from = Box::new(std::io::Cursor::new(vec![1; 4 << 20]));
    let error = session
        .upload(UploadRequest::new("small/file"), from)
        .await
        .unwrap_err();
    assert_eq!(reason(&error), TransferReason::NoSpace, "{error}");
    assert_eq!(sh(&session, "cat small/file").await, "former");
    for _ in 0..100 {
        if sh(&session, "ls -A small").await == "file\n" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("a temporary file remains");
}

#[tokio::test]
async fn missing_permissions_are_reported() {
    let Some(sshd) = support::openssh::start(&[]) else {
        return;
    };
    let session = sshd.session().await;
    let error = session
        .upload(UploadRequest::new("/sys/sandbox"), Box::new(&b"x"[..]))
        .await
        .unwrap_err();
    assert_eq!(reason(&error), TransferReason::PermissionDenied, "{error}");
    no_temporary_files(&session).await;
}

#[tokio::test]
async fn a_tree_is_no_single_stream() {
    let Some(sshd) = support::openssh::start(&[]) else {
        return;
    };
    let session = sshd.session().await;
    let error = session.open_tree(Direction::Upload).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
}

#[tokio::test]
async fn it_has_no_guest_protocol() {
    let Some(sshd) = support::openssh::start(&[]) else {
        return;
    };
    let session = sshd.session().await;
    let error = session.open_guest().await.unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
}
