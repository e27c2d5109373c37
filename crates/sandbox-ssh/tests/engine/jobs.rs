//! Jobs of sandbox-sshd.

use sandbox_core::guest::RefusalCode;
use sandbox_core::{
    AttachOptions, CommandCause, Error, ExecEvent, ExecRequest, ExitStatus, JobId, Signal,
};

use crate::support::InProcessSshd;
use crate::support::contract::CAP;
use crate::support::process::read_to_end;

#[tokio::test]
async fn jobs_outlive_their_client() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let id = JobId::generate().unwrap();
    let mut request = ExecRequest::from_shell("echo $WORD; sleep 0.5; echo end; exit 6");
    request.env.set("WORD", "begun").unwrap();
    session.start_job(&id, request).await.unwrap();
    drop(session);

    let session = sshd.session().await;
    let jobs = session.jobs().await.unwrap();
    assert_eq!((jobs.len(), jobs[0].id.as_str()), (1, id.as_str()));
    let output = session
        .attach_job(&id, AttachOptions::follow())
        .await
        .unwrap()
        .output(CAP)
        .await
        .unwrap();
    assert_eq!(output.stdout_lossy(), "begun\nend\n");
    assert_eq!(output.status, ExitStatus::Code(6));
    let wait = session
        .attach_job(&id, AttachOptions::wait())
        .await
        .unwrap();
    assert_eq!(wait.wait().await.unwrap(), ExitStatus::Code(6));
    assert_eq!(session.jobs().await.unwrap()[0].exit_code, Some(6));

    let missing = JobId::generate().unwrap();
    for options in [
        AttachOptions::follow(),
        AttachOptions::snapshot(),
        AttachOptions::wait(),
    ] {
        let process = session.attach_job(&missing, options).await.unwrap();
        let error = read_to_end(process).await.unwrap_err();
        let is_missing =
            matches!(&error, Error::Refused(refusal) if refusal.code == RefusalCode::NotFound);
        assert!(
            is_missing && error.to_string().contains(missing.as_str()),
            "{error:?}"
        );
    }
    let error = session
        .start_job(&missing, ExecRequest::from_argv(["no-such-program"]))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Command {
                cause: CommandCause::NotStarted { .. },
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_left_out_of_a_log_is_reported() {
    let sshd = InProcessSshd::with_config(|config| config.with_job_log_limit(1000));
    let session = sshd.session().await;
    let id = JobId::generate().unwrap();
    let request = ExecRequest::from_shell("seq 10000");
    session.start_job(&id, request).await.unwrap();
    let follow = session.attach_job(&id, AttachOptions::follow());
    let output = follow.await.unwrap().output(CAP).await.unwrap();
    assert!(output.stdout.starts_with(b"1\n2\n") && output.stdout.ends_with(b"9999\n10000\n"));
    let record = session.jobs().await.unwrap().remove(0);
    assert_eq!((record.log_bytes, record.dropped_bytes), (1000, 47_894));
    assert_eq!(output.stdout.len() as u64 + output.stdout_dropped, 48_894);
}

#[tokio::test]
async fn a_running_job_is_attached_and_signalled() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let id = JobId::generate().unwrap();
    session
        .start_job(&id, ExecRequest::from_shell("echo begun; sleep 100"))
        .await
        .unwrap();
    let mut follow = session
        .attach_job(&id, AttachOptions::follow())
        .await
        .unwrap();
    follow.next().await.unwrap().unwrap();
    let mut snapshot = session
        .attach_job(&id, AttachOptions::snapshot())
        .await
        .unwrap();
    let mut output = Vec::new();
    while let Some(event) = snapshot.next().await {
        match event.unwrap() {
            ExecEvent::Stdout(bytes) => output.extend_from_slice(&bytes),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(output, b"begun\n", "and no end, because the job still runs");
    follow.control().signal(Signal::Kill).await.unwrap();
    assert_eq!(
        read_to_end(follow).await.unwrap(),
        ExitStatus::Signal(Signal::Kill)
    );
}
