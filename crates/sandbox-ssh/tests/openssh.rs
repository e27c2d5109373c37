//! Against OpenSSH.

mod support;

contract! {
    support::openssh::start(&[]);
    exit_codes_are_data,
    the_streams_are_told_apart,
    arguments_arrive_as_they_are,
    nul_is_refused,
    a_directory_is_entered,
    variables_arrive_and_are_not_seen,
    input_is_read_to_its_end,
    a_command_that_does_not_read_can_end,
    a_terminal_has_a_size,
    much_output_is_capped_and_flagged,
    a_background_process_does_not_hold_up,
    a_command_runs_into_its_time_out,
    an_unread_stream_holds_up_nothing_else,
    files_go_both_ways,
    names_may_be_odd,
    file_errors_have_reasons,
    files_are_changed,
    bytes_are_added_at_the_end,
    hashes_are_told,
    uploads_are_continued,
    a_port_is_reached,
    cancelled_calls_leak_no_channel,
    cancelled_transfers_leave_nothing,
    many_callers_share,
}

use sandbox_core::{Error, ExecRequest, JobId, TransferReason, UploadRequest};
use support::contract::{no_temporary_files, put, reason, sh};

const CAP: usize = 1 << 20;

#[tokio::test]
async fn what_openssh_cannot_do_is_said() {
    let Some(sshd) = support::openssh::start(&["AcceptEnv ALLOWED_*", "PermitTTY no"]) else { return };
    let session = sshd.session().await;
    let mut request = ExecRequest::shell("echo $ALLOWED_ONE");
    request.env.set("ALLOWED_ONE", "1").unwrap();
    assert_eq!(session.output(request.clone(), CAP).await.unwrap().stdout_lossy(), "1\n");
    // What the server does not take, its shell does; but not under such names.
    for name in ["FOR-BIDDEN", "UID"] {
        let mut request = request.clone();
        request.env.set(name, "secret").unwrap();
        let error = session.output(request, CAP).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Unsupported { .. }), "{text}");
        assert!(text.contains(name) && text.contains("OpenSSH") && !text.contains("secret"), "{text}");
    }

    let mut request = ExecRequest::argv(["touch", "ran"]);
    let size = sandbox_core::PtySize { columns: 80, rows: 24 };
    request.pty = Some(sandbox_core::Pty { term: "dumb".into(), size });
    let error = session.exec(request).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert_eq!(sh(&session, "ls").await, "", "without its terminal, the command is not run");

    let id = JobId::generate().unwrap();
    for error in [
        session.start_job(&id, ExecRequest::argv(["touch", "ran"])).await.unwrap_err(),
        session.jobs().await.unwrap_err(),
        session.attach_job(&id, Default::default()).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("sandbox-sshd"), "{error}");
    }
    assert_eq!(sh(&session, "ls").await, "");
}

#[tokio::test]
async fn a_server_without_sftp_is_explained() {
    let Some(sshd) = support::openssh::start(&["Subsystem other /bin/false"]) else { return };
    let session = sshd.session().await;
    for _ in 0..3 {
        let error = session.stat(".", true).await.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("SFTP"), "{error}");
    }
    // One that is promised and does not run.
    let Some(sshd) = support::openssh::start(&["Subsystem sftp /bin/false"]) else { return };
    let error = sshd.session().await.stat(".", true).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

#[tokio::test]
async fn a_server_for_files_only_runs_no_command() {
    let Some(sshd) = support::openssh::start(&["ForceCommand internal-sftp"]) else { return };
    let session = sshd.session().await;
    put(&session, "file", b"x").await;
    session.output(ExecRequest::argv(["touch", "ran"]), CAP).await.map(drop).ok();
    session.remove_file("ran").await.unwrap_err();
}

#[tokio::test]
async fn a_full_disk_is_told() {
    let Some(sshd) = support::openssh::start(&[]) else { return };
    let session = sshd.session().await;
    // In the server's own mount namespace: it goes with the server.
    sh(&session, "mkdir small && mount -t tmpfs -o size=1m tmpfs small").await;
    put(&session, "small/file", b"former").await;
    let from = Box::new(std::io::Cursor::new(vec![1; 4 << 20]));
    let error = session.upload(UploadRequest::new("small/file"), from).await.unwrap_err();
    assert_eq!(reason(&error), TransferReason::NoSpace, "{error}");
    assert_eq!(sh(&session, "cat small/file").await, "former");
    for _ in 0..100 {
        if sh(&session, "ls -A small").await == "file\n" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("a temporary file is left");
}

#[tokio::test]
async fn permissions_are_told() {
    let Some(sshd) = support::openssh::start(&[]) else { return };
    let session = sshd.session().await;
    let error = session.upload(UploadRequest::new("/sys/sandbox"), Box::new(&b"x"[..])).await.unwrap_err();
    assert_eq!(reason(&error), TransferReason::PermissionDenied, "{error}");
    no_temporary_files(&session).await;
}
