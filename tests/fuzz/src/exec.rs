//! Commands, streams and jobs on a server that sends any messages in reply.

use sandbox::{AttachOptions, Error, ExecEvent, ExecRequest, ExitStatus, Output, Session};

use crate::exec_reply::CAP;
use crate::world::{World, check_error};

pub(crate) fn target(bytes: &[u8]) {
    World::run(bytes, |case, world| async move {
        let (call, is_sandbox_sshd) = {
            let mut case = case.lock().unwrap();
            let call = case.input.choice(7);
            case.may_stay_silent = matches!(call, 4 | 5);
            (call, case.input.choice(2) == 1)
        };
        let sandbox = world.sandbox(is_sandbox_sshd || call > 3).await;
        let session = sandbox.session();
        let id = "job-1".parse().unwrap();
        match call {
            0 | 1 => match session.output(ExecRequest::from_argv(["x"]), CAP).await {
                Ok(Output {
                    status,
                    stdout,
                    stdout_dropped,
                    ..
                }) => {
                    let case = case.lock().unwrap();
                    case.sent.check_result(&status, &stdout, stdout_dropped)
                }
                Err(error) => {
                    check_error(&error);
                    case.lock().unwrap().sent.check_failure(&error)
                }
            },
            2 | 3 => match read_stream(session.as_ref()).await {
                Ok((status, stdout)) => {
                    let case = case.lock().unwrap();
                    case.sent.check_result(&status, &stdout, 0);
                    assert!(
                        case.sent.stdout.starts_with(&stdout),
                        "output that the server did not send"
                    );
                }
                Err(error) => {
                    check_error(&error);
                    case.lock().unwrap().sent.check_failure(&error)
                }
            },
            4 => drop(session.jobs().await.map_err(|error| check_error(&error))),
            5 => drop(
                session
                    .start_job(&id, ExecRequest::from_argv(["x"]))
                    .await
                    .map_err(|error| check_error(&error)),
            ),
            _ => {
                let attached = session.attach_job(&id, AttachOptions::follow()).await;
                if let Ok(mut process) = attached {
                    while let Some(event) = process.next().await {
                        drop(event.map_err(|error| check_error(&error)));
                    }
                }
            }
        }
    });
}

async fn read_stream(session: &dyn Session) -> Result<(ExitStatus, Vec<u8>), Error> {
    let mut process = session.exec(ExecRequest::from_argv(["x"])).await?;
    let mut stdout = Vec::new();
    let mut exit = None;
    while let Some(event) = process.next().await {
        match event? {
            ExecEvent::Stdout(bytes) => stdout.extend_from_slice(&bytes),
            ExecEvent::Exited(status) => exit = Some(status),
            _ => {}
        }
    }
    Ok((exit.expect("a stream ends with an exit status"), stdout))
}
