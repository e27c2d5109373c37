//! Background jobs.

use std::time::Duration;

use sandbox::{CommandCause, Error, ExecEvent, ExitStatus, RefusalCode, Signal};

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::{wait_until_no_process, with_sandbox};

cases![
    a_job_outlives_its_client,
    a_job_can_be_followed_and_signalled,
    a_job_that_is_missing_is_an_error_of_its_own,
    a_job_that_cannot_start_is_an_error,
    timeout_input_and_terminal_are_refused,
];

async fn a_job_outlives_its_client(backend: TestedBackend) -> Outcome {
    let sbx = backend.sandbox().create().await?;
    let outcome = async {
        let job = sbx
            .shell("echo started; read line < gate; echo $line; exit 5")
            .env("A", "b");
        sbx.shell("mkfifo gate").output().await?.check()?;
        let id = job.spawn_detached().await?.id().clone();

        let other = backend.new_client().connect(sbx.id()).await?;
        let found = other.jobs().await?;
        assert_eq!(
            found.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(),
            [id.as_str()]
        );
        assert_eq!(found[0].exit_code, None);
        other.shell("echo go > gate").output().await?.check()?;
        let job = other.job(id);
        assert_eq!(job.wait().await?, ExitStatus::Code(5));
        assert_eq!(&*job.logs().await?, b"started\ngo\n");
        assert_eq!(other.jobs().await?[0].exit_code, Some(5));
        Ok(())
    }
    .await;
    sbx.delete().await?;
    outcome
}

async fn a_job_can_be_followed_and_signalled(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let job = sbx.shell("echo one; sleep 1000").spawn_detached().await?;
        let mut log = job.follow().await?;
        assert_eq!(
            log.next().await.unwrap()?,
            ExecEvent::Stdout("one\n".into())
        );
        job.signal(Signal::Term).await?;
        assert_eq!(
            log.next().await.unwrap()?,
            ExecEvent::Exited(ExitStatus::Signal(Signal::Term))
        );
        assert_eq!(job.wait().await?, ExitStatus::Signal(Signal::Term));
        let error = job.signal(Signal::Term).await.unwrap_err();
        let ended = CommandCause::AlreadyEnded;
        assert!(
            matches!(&error, Error::Command { cause, .. } if *cause == ended),
            "{error:?}"
        );
        wait_until_no_process(&sbx, "sleep").await
    })
    .await
}

async fn a_job_that_is_missing_is_an_error_of_its_own(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let job = sbx.job("job-missing".parse()?);
        let errors = [
            job.wait().await.unwrap_err(),
            job.logs().await.unwrap_err(),
            job.signal(Signal::Term).await.unwrap_err(),
        ];
        for error in errors {
            assert!(
                matches!(&error, Error::Refused(refusal) if refusal.code == RefusalCode::NotFound),
                "{error:?}"
            );
            assert!(error.to_string().contains("no job job-missing"), "{error}");
        }
        Ok(())
    })
    .await
}

async fn a_job_that_cannot_start_is_an_error(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let error = sbx
            .command("no-such-program")
            .spawn_detached()
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
        assert!(error.to_string().contains("no-such-program"), "{error}");
        assert!(matches!(
            sbx.command("cat").pty(80, 24).spawn_detached().await,
            Err(Error::Unsupported { .. })
        ));
        Ok(())
    })
    .await
}

/// A job cannot have these. They must not be ignored, because the caller relies on them.
async fn timeout_input_and_terminal_are_refused(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        for job in [
            sbx.command("sleep")
                .arg("60")
                .timeout(Duration::from_secs(1)),
            sbx.command("cat").stdin("input"),
            sbx.command("sh").pty(80, 24),
        ] {
            let refused = job.spawn_detached().await;
            assert!(
                matches!(refused, Err(Error::Unsupported { .. })),
                "{refused:?}"
            );
        }
        assert!(sbx.jobs().await?.is_empty(), "nothing may be started");
        Ok(())
    })
    .await
}
