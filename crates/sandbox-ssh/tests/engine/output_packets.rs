//! How much of a command's output arrives at once.

use sandbox_core::{AttachOptions, ExecEvent, ExecRequest, JobId, Process};

use crate::support::InProcessSshd;

/// What `head` writes at once is a multiple of this, and so is what is read of it.
const BLOCK: usize = 1 << 10;
const SIZE: usize = 1 << 20;

async fn check_pieces(mut process: Process) {
    let mut total = 0;
    while let Some(event) = process.next().await {
        if let ExecEvent::Stdout(data) = event.unwrap() {
            total += data.len();
            assert_eq!(
                data.len() % BLOCK,
                0,
                "{} bytes arrived at once",
                data.len()
            );
        }
    }
    assert_eq!(total, SIZE);
}

/// Each read fits into one packet, or else its last byte would take a packet of its own.
#[tokio::test]
async fn what_the_server_reads_at_once_arrives_at_once() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let request = || ExecRequest::from_argv(["head", "-c", &SIZE.to_string(), "/dev/zero"]);
    check_pieces(session.exec(request()).await.unwrap()).await;

    let id = JobId::generate().unwrap();
    session.start_job(&id, request()).await.unwrap();
    let wait = session.attach_job(&id, AttachOptions::wait()).await;
    let end = wait.unwrap().wait().await.unwrap();
    assert!(end.success(), "{end}");
    let log = session.attach_job(&id, AttachOptions::snapshot()).await;
    check_pieces(log.unwrap()).await;
}
